package audit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/audit"
)

var moment = time.Date(2026, 1, 25, 11, 30, 0, 987_000_000, time.FixedZone("CET", 3600))

// The first two expected lines are those of the original, as issue 3 quotes them, with what was added after them.
func TestEventJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		event audit.Event
		want  string
	}{
		{
			"sign-in as the original wrote it",
			audit.Event{
				Type: audit.EventLoginAttempt, Username: "alice", Status: audit.StatusSuccess, IP: "192.168.1.10",
				Timestamp: moment,
			},
			`{"event_type":"LOGIN_ATTEMPT","username":"alice","status":"SUCCESS","ip":"192.168.1.10","timestamp":"2026-01-25T10:30:00Z"}`,
		},
		{
			"access as the original wrote it",
			audit.Event{
				Type: audit.EventAccessControl, Username: "viewer", Action: "POST", Resource: "/graphql",
				Status: audit.StatusDenied, Roles: []string{"viewer"}, Reason: "EDITOR_REQUIRED_FOR_MUTATIONS",
			},
			`{"event_type":"ACCESS_CONTROL","username":"viewer","action":"POST","resource":"/graphql","status":"DENIED","roles":["viewer"],"reason":"EDITOR_REQUIRED_FOR_MUTATIONS"}`,
		},
		{
			"failed sign-in with everything added",
			audit.Event{
				Type: audit.EventLoginAttempt, Username: "alice", Status: audit.StatusFailure, IP: "::1", Timestamp: moment,
				Reason: "INVALID_CREDENTIALS", RequestID: "r1",
			},
			`{"event_type":"LOGIN_ATTEMPT","username":"alice","status":"FAILURE","ip":"::1","timestamp":"2026-01-25T10:30:00Z","reason":"INVALID_CREDENTIALS","request_id":"r1"}`,
		},
		{
			"access with everything added",
			audit.Event{
				Type: audit.EventAccessOutcome, Username: "ed", Action: "POST", Resource: "/graphql?a=1&b=<2>",
				Status: audit.StatusAllowed, Roles: []string{"editor"}, RequestID: "r2", IP: "10.0.0.1", Timestamp: moment,
				PerformedBy: "cli:root", Identity: "local:ed", Session: "00ff", Mutations: []string{"wipeAssets"},
				OperationName: "Wipe", Outcome: "OK",
				Targets: map[string][]string{"run_ids": {"b", "a"}, "assets": {"x/y"}},
			},
			`{"event_type":"ACCESS_OUTCOME","username":"ed","action":"POST","resource":"/graphql?a=1&b=<2>","status":"ALLOWED","roles":["editor"],"request_id":"r2","ip":"10.0.0.1","timestamp":"2026-01-25T10:30:00Z","performed_by":"cli:root","identity":"local:ed","session":"00ff","mutations":["wipeAssets"],"operation_name":"Wipe","outcome":"OK","assets":["x/y"],"run_ids":["b","a"]}`,
		},
		{
			"a target does not take a key of the event",
			audit.Event{Type: audit.EventAccessControl, Username: "ed", Targets: map[string][]string{"status": {"SUCCESS"}}},
			`{"event_type":"ACCESS_CONTROL","username":"ed","target_status":["SUCCESS"]}`,
		},
		{
			"nobody is an empty name, not an absent one",
			audit.Event{Type: audit.EventRateLimited, IP: "10.0.0.1"},
			`{"event_type":"RATE_LIMITED","username":"","ip":"10.0.0.1"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.event.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("event as JSON (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventJSONIsHarmless(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, sent, want string }{
		{"plain text is untouched", "Łukasz 日本 🚀", "Łukasz 日本 🚀"},
		{"line breaks", "a\r\nb\vc\fd\te", "a\r\nb\vc\fd\te"},
		{"forged second line", "a\"}\n{\"event_type\":\"LOGIN_ATTEMPT\"", "a\"}\n{\"event_type\":\"LOGIN_ATTEMPT\""},
		{"line separators", "a\u2028b\u2029c\u0085d", "a\u2028b\u2029c\u0085d"},
		{"terminal commands", "\x1b[2J\u009b2J\x7f\a", "\x1b[2J\u009b2J\x7f\a"},
		{"direction marks", "user\u202etxt.exe\u2066\u200b", "user\u202etxt.exe\u2066\u200b"},
		{"format character beyond the BMP", "a\U000E0001b", "a\U000E0001b"},
		{"U+0000", "a\x00b", "a\uFFFDb"},
		{"lone surrogate in bytes", "a\xed\xa0\x80b", "a\uFFFD\uFFFD\uFFFDb"},
		{"lone surrogate as JSON decodes it", "a\uFFFDb", "a\uFFFDb"},
		{"invalid UTF-8", "a\xff\xc0\xafb", "a\uFFFD\uFFFD\uFFFDb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			event := audit.Event{Type: audit.EventAccessControl, Username: c.sent, Targets: map[string][]string{"job": {c.sent}}}
			line, err := event.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range string(line) {
				if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
					t.Errorf("%q holds %U unescaped", line, r)
				}
			}
			var got struct {
				Username string   `json:"username"`
				Job      []string `json:"job"`
			}
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatalf("%q is not JSON: %v", line, err)
			}
			if got.Username != c.want || len(got.Job) != 1 || got.Job[0] != c.want {
				t.Errorf("%q reads back as %+q and %+q, want %+q", line, got.Username, got.Job, c.want)
			}
			if diff := cmp.Diff(event.Clean(), event.Clean().Clean()); diff != "" {
				t.Errorf("cleaning twice is not cleaning once (-once +twice):\n%s", diff)
			}
		})
	}
}

func TestEventIsCut(t *testing.T) {
	t.Parallel()
	many := make([]string, 150)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	kinds := map[string][]string{}
	for _, name := range many {
		kinds["kind"+name] = many
	}
	sent := audit.Event{
		Username: strings.Repeat("a", 1023) + "é", OperationName: strings.Repeat("x", 1024), Resource: strings.Repeat("\x00", 5000),
		Roles: many, Mutations: []string{strings.Repeat("日", 1<<20)}, Targets: kinds,
	}
	got := sent.Clean()
	if want := strings.Repeat("a", 1023); got.Username != want {
		t.Errorf("username of %d bytes, want it cut before the character that does not fit", len(got.Username))
	}
	if got.OperationName != sent.OperationName {
		t.Error("a string of exactly 1 KiB was cut")
	}
	if len(got.Resource) != 1023 || !utf8.ValidString(got.Resource) {
		t.Errorf("resource of %d bytes, want 341 replacement characters of three", len(got.Resource))
	}
	if len(got.Mutations[0]) != 1023 || len(sent.Mutations[0]) != 3<<20 {
		t.Errorf("mutation of %d bytes, want 1023, and the caller's list untouched", len(got.Mutations[0]))
	}
	if diff := cmp.Diff(many[:100], got.Roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if len(got.Targets) != 20 || len(got.Targets["kind0"]) != 100 {
		t.Errorf("got %d kinds of targets and %d of the first, want 20 and 100", len(got.Targets), len(got.Targets["kind0"]))
	}
}
