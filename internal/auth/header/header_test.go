package header

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/store"
)

// counted is the real store, which counts the calls that may write.
type counted struct {
	*store.Store
	upserts atomic.Int32
}

func (c *counted) UpsertUser(ctx context.Context, user identity.User) (identity.User, error) {
	c.upserts.Add(1)
	return c.Store.UpsertUser(ctx, user)
}

func users(t *testing.T) *counted {
	t.Helper()
	rows, err := store.Open(t.Context(), store.Options{URL: filepath.Join(t.TempDir(), "auth.db"), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	})
	return &counted{Store: rows}
}

func rules(t *testing.T) *auth.RoleRules {
	t.Helper()
	roles, err := policy.NewRoles(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := auth.NewRoleRules(auth.RoleRulesOptions{Roles: roles, Rules: []identity.GroupRule{
		{Group: "viewers", Role: "viewer"},
		{Group: "admins", Role: "admin"},
		{Group: "cn=admins,ou=groups,dc=x", Role: "admin"},
		{Group: "ml", Role: "editor", Location: "ml"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// plainBackend believes 127.0.0.1 and reads Authelia's headers.
func plainBackend(t *testing.T, rows Users) *Backend {
	t.Helper()
	b, err := New(Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Rules: rules(t), Users: rows, Lasting: time.Minute,
		Plain: Plain{User: "Remote-User", Groups: "Remote-Groups", Email: "Remote-Email", Name: "Remote-Name"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sent is a request as net/http gives it: names in their canonical form, and several values where a header was sent twice.
func sent(t *testing.T, peer string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = peer
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

const proxy = "127.0.0.1:4711"

func TestPlainHeaders(t *testing.T) {
	t.Parallel()
	b := plainBackend(t, users(t))
	long := strings.Repeat("x", 65)
	for name, tc := range map[string]struct {
		peer    string
		headers []string
		who     string // ID and role
		reason  string // why it was refused
	}{
		"the control":                    {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers"}, "header:vic viewer", ""},
		"another case":                   {proxy, []string{"REMOTE-user", "Vic", "remote-groups", "Viewers"}, "header:vic viewer", ""},
		"an IPv4 peer written as IPv6":   {"[::ffff:127.0.0.1]:1", []string{"Remote-User", "vic", "Remote-Groups", "viewers"}, "header:vic viewer", ""},
		"all of them":                    {proxy, []string{"Remote-User", "ada", "Remote-Groups", "viewers,admins", "Remote-Email", "ada@x", "Remote-Name", "Ada Lovelace"}, "header:ada admin", ""},
		"blanks at the ends of groups":   {proxy, []string{"Remote-User", "vic", "Remote-Groups", " viewers , x "}, "header:vic viewer", ""},
		"an empty email address":         {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote-Email", ""}, "header:vic viewer", ""},
		"nobody":                         {proxy, nil, "", ""},
		"groups of nobody":               {proxy, []string{"Remote-Groups", "admins"}, "", ""},
		"nobody, from elsewhere":         {"127.0.0.2:1", nil, "", ""},
		"from elsewhere":                 {"127.0.0.2:1", []string{"Remote-User", "ada", "Remote-Groups", "admins"}, "", "UNTRUSTED_PROXY"},
		"from elsewhere, forwarded":      {"127.0.0.2:1", []string{"Remote-User", "ada", "Remote-Groups", "admins", "X-Forwarded-For", "127.0.0.1", "X-Real-Ip", "127.0.0.1", "Forwarded", "for=127.0.0.1"}, "", "UNTRUSTED_PROXY"},
		"from elsewhere, underscores":    {"127.0.0.2:1", []string{"Remote_User", "ada"}, "", "UNTRUSTED_PROXY"},
		"from an unknown place":          {"@", []string{"Remote-User", "ada"}, "", "UNTRUSTED_PROXY"},
		"twice":                          {proxy, []string{"Remote-User", "vic", "Remote-User", "ada", "Remote-Groups", "viewers"}, "", "HEADER_SENT_TWICE"},
		"twice the same":                 {proxy, []string{"Remote-User", "vic", "remote-user", "vic", "Remote-Groups", "viewers"}, "", "HEADER_SENT_TWICE"},
		"groups twice":                   {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote-Groups", "admins"}, "", "HEADER_SENT_TWICE"},
		"underscores beside":             {proxy, []string{"Remote-User", "vic", "Remote_User", "ada", "Remote-Groups", "viewers"}, "", "HEADER_SPELLED_OTHERWISE"},
		"underscores instead":            {proxy, []string{"Remote_User", "ada", "Remote-Groups", "admins"}, "", "HEADER_SPELLED_OTHERWISE"},
		"underscores in groups":          {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote_Groups", "admins"}, "", "HEADER_SPELLED_OTHERWISE"},
		"dots":                           {proxy, []string{"Remote-User", "vic", "Remote.User", "ada", "Remote-Groups", "viewers"}, "", "HEADER_SPELLED_OTHERWISE"},
		"empty":                          {proxy, []string{"Remote-User", "", "Remote-Groups", "admins"}, "", "HEADER_EMPTY"},
		"blank":                          {proxy, []string{"Remote-User", " \t", "Remote-Groups", "admins"}, "", "HEADER_EMPTY"},
		"two joined":                     {proxy, []string{"Remote-User", "vic, ada", "Remote-Groups", "viewers"}, "", "NAME_NOT_TAKEN"},
		"a control character":            {proxy, []string{"Remote-User", "vi\x01c", "Remote-Groups", "viewers"}, "", "NAME_NOT_TAKEN"},
		"a tab":                          {proxy, []string{"Remote-User", "vi\tc", "Remote-Groups", "viewers"}, "", "NAME_NOT_TAKEN"},
		"no UTF-8":                       {proxy, []string{"Remote-User", "vi\xe9", "Remote-Groups", "viewers"}, "", "NAME_NOT_TAKEN"},
		"text that turns":                {proxy, []string{"Remote-User", "vi\u202ec", "Remote-Groups", "viewers"}, "", "NAME_NOT_TAKEN"},
		"too long":                       {proxy, []string{"Remote-User", long, "Remote-Groups", "viewers"}, "", "NAME_NOT_TAKEN"},
		"as long as may be":              {proxy, []string{"Remote-User", long[1:], "Remote-Groups", "viewers"}, "header:" + long[1:] + " viewer", ""},
		"a control in the email address": {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote-Email", "a\x7f"}, "", "NAME_NOT_TAKEN"},
		"an invisible character in it":   {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote-Email", "a\u200bda@x"}, "", "NAME_NOT_TAKEN"},
		"text that turns in it":          {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote-Email", "\u202eada@x"}, "", "NAME_NOT_TAKEN"},
		"two addresses":                  {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote-Email", "a@x, b@x"}, "", "NAME_NOT_TAKEN"},
		"too long a full name":           {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers", "Remote-Name", strings.Repeat("x", 255)}, "", "NAME_NOT_TAKEN"},
		"too many groups":                {proxy, []string{"Remote-User", "vic", "Remote-Groups", "viewers" + manyGroups(1000)}, "", "GROUPS_UNCLEAR"},
		"too long groups":                {proxy, []string{"Remote-User", "vic", "Remote-Groups", strings.Repeat("x", 16385)}, "", "GROUPS_UNCLEAR"},
		"no role":                        {proxy, []string{"Remote-User", "nora", "Remote-Groups", "guests"}, "", "no role"},
		"a role in a code location":      {proxy, []string{"Remote-User", "mel", "Remote-Groups", "ml"}, "header:mel viewer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found, err := b.Present(sent(t, tc.peer, tc.headers...))
			who, reason := "", ""
			if found {
				who = got.ID + " " + string(got.Role)
			}
			if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
				reason = refused.Reason
				if !errors.Is(err, auth.ErrInvalid) || strings.Contains(refused.Message, "header") || strings.Contains(refused.Message, "127.") {
					t.Errorf("the refusal %q is no ErrInvalid, or tells its reader of insides", refused.Message)
				}
			} else if _, roleless := errors.AsType[*auth.NoRoleError](err); roleless {
				reason = "no role"
			} else if err != nil {
				t.Fatal(err)
			}
			if who != tc.who || reason != tc.reason {
				t.Errorf("got %q, refused for %q (%v), want %q and %q", who, reason, err, tc.who, tc.reason)
			}
		})
	}
}

// manyGroups are n names of two letters, with commas before them.
func manyGroups(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("," + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)))
	}
	return b.String()
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		separator, text string
		want            []string // nil: refused
	}{
		{"", "", []string{}},
		{"", "a", []string{"a"}},
		{"", "a,b, c", []string{"a", "b", "c"}},
		{"", "a,,a", []string{"a"}},
		{"", "a;b", []string{"a", "b"}},
		{"", "a|b", []string{"a", "b"}},
		{"", "data admins", []string{"data admins"}}, // not two: one of them could be "admins"
		{"", `["a","b c","d,e"]`, []string{"a", "b c", "d,e"}},
		{"", "cn=a,ou=g,dc=x", []string{"cn=a,ou=g,dc=x"}},
		{"", "CN=a,DC=x;CN=b,DC=x", []string{"CN=a,DC=x", "CN=b,DC=x"}},
		{"", "cn=a,ou=g|cn=b,ou=g", []string{"cn=a,ou=g", "cn=b,ou=g"}},
		{"", "a,b;c", nil},
		{"", "a|b;c", nil},
		{"", "cn=a,ou=g|cn=b;cn=c", nil},
		{"", `cn=a\;cn=admins,ou=g`, nil},
		{"", `["a",1]`, nil},
		{"", `["a"`, nil},
		{"", `["a"]["b"]`, nil},
		{"", "[a,b]", nil},
		{"", "a,b\xff", nil},
		{"", "a,b\x02", nil},
		{"comma", "a;b,c d", []string{"a;b", "c d"}},
		{"semicolon", "cn=a,ou=g;b|c", []string{"cn=a,ou=g", "b|c"}},
		{"pipe", "a|b,c", []string{"a", "b,c"}},
		{"space", "a  b", []string{"a", "b"}},
		{"json", `["a"]`, []string{"a"}},
		{"json", "a", nil},
	} {
		got, err := splitter(tc.separator)(tc.text)
		if tc.want == nil {
			if err == nil {
				t.Errorf("%q by %q: got %q, want an error", tc.text, tc.separator, got)
			}
			continue
		}
		if err != nil || strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
			t.Errorf("%q by %q: got %q and error %v, want %q", tc.text, tc.separator, got, err, tc.want)
		}
	}
}

// TestSteadyState: what was said before costs no write and no question but for the version, whatever else changes.
func TestSteadyState(t *testing.T) {
	t.Parallel()
	rows := users(t)
	b := plainBackend(t, rows)
	come := func(groups string) identity.User {
		t.Helper()
		got, found, err := b.Present(sent(t, proxy, "Remote-User", "mel", "Remote-Groups", groups, "Remote-Email", "mel@x", "Remote-Name", "Mel"))
		if err != nil || !found {
			t.Fatalf("Present: found %t, error %v", found, err)
		}
		return *got.SignIn
	}
	version := func() int64 {
		t.Helper()
		v, err := rows.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := come("ml,others")
	if diff := cmp.Diff([]identity.Grant{{Location: "ml", Role: "editor"}}, first.Grants); diff != "" || first.Email != "mel@x" || first.FullName != "Mel" {
		t.Errorf("got %+v, whose grants (-want +got):\n%s", first, diff)
	}
	come("ml,others") // the first one moved the version
	before, upserts := version(), rows.upserts.Load()
	come("ml,others")
	come("ml,others")
	if version() != before || rows.upserts.Load() != upserts {
		t.Errorf("the same word again: the version moved from %d to %d, %d upserts, want none", before, version(), rows.upserts.Load()-upserts)
	}
	// Somebody else changes: the account is looked at again, and nothing is written.
	if _, err := rows.UpsertUser(t.Context(), identity.User{Backend: "header", Subject: "x", Name: "x", Role: "viewer"}); err != nil {
		t.Fatal(err)
	}
	before, upserts = version(), rows.upserts.Load()
	come("ml,others")
	if version() != before || rows.upserts.Load() != upserts+1 {
		t.Errorf("after another's change: version %d after %d, %d upserts, want one that writes nothing", version(), before, rows.upserts.Load()-upserts)
	}
	// What is said changes, and then back.
	if got := come("viewers"); len(got.Grants) > 0 || version() == before {
		t.Errorf("out of the group: got the grants %v", got.Grants)
	}
	if got := come("ml,others"); len(got.Grants) != 1 {
		t.Errorf("in the group again: got the grants %v, want one", got.Grants)
	}
}

func TestDisabledAndGone(t *testing.T) {
	t.Parallel()
	rows := users(t)
	b := plainBackend(t, rows)
	r := sent(t, proxy, "Remote-User", "Vic", "Remote-Groups", "viewers")
	got, _, err := b.Present(r)
	if err != nil {
		t.Fatal(err)
	}
	if user, err := got.Look(t.Context()); err != nil || user.ID() != "header:vic" || user.Disabled {
		t.Fatalf("Look: got %+v and error %v", user, err)
	}
	if err := rows.SetDisabled(t.Context(), got.SignIn.RowID, true, false, audit.Event{Type: "USER_DISABLED"}); err != nil {
		t.Fatal(err)
	}
	if user, err := got.Look(t.Context()); err != nil || !user.Disabled {
		t.Errorf("Look at a disabled user: got %+v and error %v", user, err)
	}
	for _, name := range []string{"Vic", "vic", "VIC"} {
		_, found, err := b.Present(sent(t, proxy, "Remote-User", name, "Remote-Groups", "viewers"))
		refused, ok := errors.AsType[*auth.RefusedError](err)
		if found || !ok || refused.Reason != "DISABLED" {
			t.Errorf("%s, who is disabled: found %t, error %v", name, found, err)
		}
	}
	if err := rows.DeleteUser(t.Context(), got.SignIn.RowID, false, audit.Event{Type: "USER_DELETED"}); err != nil {
		t.Fatal(err)
	}
	if _, err := got.Look(t.Context()); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("Look at a deleted user: got error %v, want ErrNotFound", err)
	}
}

// TestLasting: a connection ends some time after the proxy's word for it, as nobody tells of signing out there.
func TestLasting(t *testing.T) {
	t.Parallel()
	rows := users(t)
	b := plainBackend(t, rows)
	got, _, err := b.Present(sent(t, proxy, "Remote-User", "vic", "Remote-Groups", "viewers"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.look(got.SignIn.Subject, time.Now().Add(-time.Nanosecond))(t.Context()); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("after its time: got error %v, want ErrNotFound", err)
	}
	if _, err := b.look(got.SignIn.Subject, time.Now().Add(time.Hour))(t.Context()); err != nil {
		t.Errorf("before it: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Options{TrustAll: true, Rules: rules(t), Users: users(t), Lasting: time.Second, Plain: Plain{User: "Remote-User"}}
	if _, err := New(good); err != nil {
		t.Fatalf("the control: %v", err)
	}
	for name, spoil := range map[string]func(o *Options){
		"nobody is trusted": func(o *Options) { o.TrustAll = false },
		"no header":         func(o *Options) { o.Plain.User = "" },
		"a separator":       func(o *Options) { o.Plain.Separator = ";" },
		"no keys": func(o *Options) {
			o.Token = Token{Header: "X", Issuer: "i", Audience: "a", UserClaim: "email", Client: http.DefaultClient}
		},
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
