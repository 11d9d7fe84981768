package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// surfaceCase is one of the 133 requests that were sent to bare Dagsters 1.10.0 and 1.13.27, and what it did there.
type surfaceCase struct {
	Test       string   `json:"test"`
	Key        string   `json:"key"`
	Method     string   `json:"method"`
	Target     string   `json:"target"`
	Host       *string  `json:"host"`
	Headers    []string `json:"headers"`
	BodyBase64 string   `json:"body_base64"`
	Executed   bool     `json:"bare_executed"`
}

// TestSurface replays every way into Dagster that anyone has thought of. As nobody and as a viewer none of them may change
// anything in Dagster's storage; as an editor, the control, every form that AuthKit leaves open must work.
func TestSurface(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	cases := surfaceCases(t)
	for _, who := range []string{"", "vic"} {
		c := k.anonymous()
		if who != "" {
			c = k.signIn(who)
		}
		before := k.writes()
		for _, test := range cases {
			status, err := c.raw(test)
			if err != nil {
				t.Errorf("%q: %s: %v", who, test.Test, err)
			}
			if after := k.writes(); after != before {
				t.Errorf("%q: %s: Dagster's storage went from %s to %s", who, test.Test, before, after)
				before = after
			}
			// Dagster's own 500 for a debug file of no run is the only one that may come through.
			if status >= 500 && test.Target != "/download_debug/nope" {
				t.Errorf("%q: %s: got %d, want no 5xx", who, test.Test, status)
			}
		}
	}

	var got strings.Builder
	editor := k.signIn("ed")
	for _, test := range cases {
		before := k.writes()
		status, err := editor.raw(test)
		if err != nil {
			t.Errorf("ed: %s: %v", test.Test, err)
		}
		executed := k.hasPartition(test.Key) || k.hasPartition(test.Key+"a") // two aliased mutations have t54a and t54b
		note := ""
		switch {
		case executed && !test.Executed && test.Test == "POST Application/JSON (case) json body":
			note = " (opened: media types have no case, RFC 9110, 8.3.1)"
		case executed && !test.Executed:
			t.Errorf("ed: %s: executed, which bare Dagster does not", test.Test)
		case test.Executed && !executed:
			note = " (closed: bare Dagster executes it)"
		case !executed && k.writes() != before:
			note = " (written)"
		}
		fmt.Fprintf(&got, "%s | %d executed=%t%s\n", test.Test, status, executed, note)
	}
	golden(t, "surface-editor.txt", got.String(), func(want string) string {
		if dagsterBefore(12) { // the page answers for static files that are none
			return noStaticFile.ReplaceAllString(want, "$1 200")
		}
		return want
	})
}

var noStaticFile = regexp.MustCompile(`(?m)^(GET /_next/\S* \|) 404`)

// golden compares with a file of testdata, as adapt changes it for the version of Dagster.
func golden(t *testing.T, name, got string, adapt func(want string) string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update && adapt(got) == got {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(adapt(string(want)), got); diff != "" {
		t.Errorf("%s (-want +got), run with -update if that is meant:\n%s", name, diff)
	}
}

// writes sums up what the requests could leave in Dagster's storage: partition keys, asset events, and results of asset
// checks, which up to 1.10 are no events.
func (k *kit) writes() string {
	k.t.Helper()
	keys := k.query("history/runs/index.db", `SELECT count(*) FROM dynamic_partitions`)
	events := k.query("history/runs/index.db", `SELECT count(*) FROM event_logs`)
	checks := k.query("history/runs/index.db", `SELECT count(*) FROM asset_check_executions`)
	return keys[0] + " partition keys, " + events[0] + " events, " + checks[0] + " checks"
}

func surfaceCases(t *testing.T) []surfaceCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/surface-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []surfaceCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 133 {
		t.Fatalf("got %d requests, want the 133 of the measurement", len(cases))
	}
	return cases
}

// raw sends the request byte for byte, as no HTTP library would, and returns the answer's status: 0 when the server closed
// the connection without one.
func (c *client) raw(test surfaceCase) (int, error) {
	address := strings.TrimPrefix(c.kit.url, "http://")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	body, err := base64.StdEncoding.DecodeString(test.BodyBase64)
	if err != nil {
		return 0, err
	}
	conn, err := net.DialTimeout("tcp", address, 30*time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return 0, err
	}
	host := address
	if test.Host != nil {
		host = strings.ReplaceAll(*test.Host, "PORT", port)
	}
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", test.Method, strings.ReplaceAll(test.Target, "PORT", port), host)
	framed := false
	for _, header := range test.Headers {
		request.WriteString(header + "\r\n")
		lower := strings.ToLower(header)
		framed = framed || strings.HasPrefix(lower, "content-length:") || strings.HasPrefix(lower, "transfer-encoding:")
	}
	if !framed && len(body) > 0 {
		request.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	if cookie := c.cookie(); cookie != "" {
		request.WriteString("Cookie: " + cookie + "\r\n")
	}
	request.WriteString("\r\n")
	if _, err := conn.Write(append([]byte(request.String()), body...)); err != nil {
		return 0, fmt.Errorf("sending: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: test.Method})
	if err != nil {
		return 0, fmt.Errorf("reading the answer: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
