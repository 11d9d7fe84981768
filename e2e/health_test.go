package e2e

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestHealth: what probes, admins, neighbours and strangers are told, from the first moment on.
func TestHealth(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{})
	ready := k.mark("hold")
	k.run(options{})
	t.Cleanup(k.stop)
	k.waitLive()
	t.Run("while Dagster starts", func(t *testing.T) { healthBefore(t, k) })
	ready()
	k.waitReady()
	t.Run("when it is ready", func(t *testing.T) { healthAfter(t, k) })
	t.Run("who sees what", func(t *testing.T) { healthFor(t, k) })
	t.Run("metrics", func(t *testing.T) { metricsOf(t, k) })
	t.Run("when it hangs", func(t *testing.T) { healthHanging(t, k) })
}

// healthHanging stops the webserver, which neither ends nor answers then.
func healthHanging(t *testing.T, k *kit) {
	status := func(path string) int {
		resp, _ := k.anonymous().do("GET", path, "")
		return resp.StatusCode
	}
	pid := k.health().Dagster.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/auth/health?type=ready", "/server_info"} {
		k.eventually(time.Minute, path+" tells of it", func() bool { return status(path) == http.StatusServiceUnavailable })
	}
	if got := status("/auth/health?type=live"); got != http.StatusOK {
		t.Errorf("live: got %d, want 200: AuthKit itself is well", got)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/auth/health?type=ready", "/server_info"} {
		k.eventually(time.Minute, path+" is well again", func() bool { return status(path) == http.StatusOK })
	}
}

// healthBefore looks while Dagster is held in its start.
func healthBefore(t *testing.T, k *kit) {
	nobody := k.anonymous()
	viewer := k.signIn("vic") // signing in works already
	for _, test := range []struct {
		name, path string
		c          *client
		want       int
	}{
		{"live", "/auth/health?type=live", nobody, 200},
		{"ready", "/auth/health?type=ready", nobody, 503},
		{"health", "/auth/health", nobody, 503},
		{"the probe of Dagster's chart", "/server_info", nobody, 503},
		{"its older name", "/dagit_info", nobody, 503},
		{"a viewer's query", "/graphql?query=%7Bversion%7D", viewer, 503},
		{"nobody's query", "/graphql?query=%7Bversion%7D", nobody, 401},
		{"who am I", "/auth/me", viewer, 200},
	} {
		resp, body := test.c.do("GET", test.path, "")
		if resp.StatusCode != test.want {
			t.Errorf("%s: got %d, want %d\n%s", test.name, resp.StatusCode, test.want, body)
		}
		if test.want == 503 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", test.name)
		}
	}
	resp, body := viewer.page("/runs")
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "http-equiv") {
		t.Errorf("a page: got %d, want 503 with a page that reloads itself\n%s", resp.StatusCode, body)
	}
	if h := k.health(); h.Dagster.Ready || h.Dagster.State != "starting" || h.Status == "ok" {
		t.Errorf("health: got %+v, want a Dagster that starts", h)
	}
}

func healthAfter(t *testing.T, k *kit) {
	nobody := k.anonymous()
	for _, path := range []string{"/auth/health", "/auth/health?type=ready", "/auth/health?type=live"} {
		if resp, body := nobody.do("GET", path, ""); resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %d and Cache-Control %q, want 200 and no-store\n%s", path, resp.StatusCode, resp.Header.Get("Cache-Control"), body)
		}
		if resp, body := nobody.do("HEAD", path, ""); resp.StatusCode != http.StatusOK || body != "" {
			t.Errorf("HEAD %s: got %d, want 200", path, resp.StatusCode)
		}
	}
	for _, path := range []string{"/server_info", "/dagit_info"} {
		if resp, body := nobody.do("GET", path, ""); resp.StatusCode != http.StatusOK || body != "{}" {
			t.Errorf("%s: got %d %q, want 200 {}", path, resp.StatusCode, body)
		}
	}
	if resp, _ := nobody.do("GET", "/auth/health?type=other", ""); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown type: got %d, want 400", resp.StatusCode)
	}
}

// healthFor: the insides are for this machine and for admins. A proxy may stand on this machine too, so what came through
// one is a stranger's.
func healthFor(t *testing.T, k *kit) {
	far := []string{"X-Forwarded-For", "203.0.113.9"}
	for _, test := range []struct {
		name    string
		c       *client
		headers []string
		full    bool
	}{
		{"this machine", k.anonymous(), nil, true},
		{"through a proxy", k.anonymous(), far, false},
		{"through a proxy that says Forwarded", k.anonymous(), []string{"Forwarded", "for=203.0.113.9"}, false},
		{"through a proxy that says Via", k.anonymous(), []string{"Via", "1.1 proxy"}, false},
		{"through nginx as many have it", k.anonymous(), []string{"X-Real-IP", "203.0.113.9"}, false},
		{"a viewer through a proxy", k.signIn("vic"), far, false},
		{"an admin through a proxy", k.signIn("ada"), far, true},
	} {
		resp, body := test.c.do("GET", "/auth/health", "", test.headers...)
		var told map[string]any
		if err := json.Unmarshal([]byte(body), &told); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %d, %v\n%s", test.name, resp.StatusCode, err, body)
		}
		if !test.full {
			if len(told) != 1 || told["status"] != "ok" {
				t.Errorf("%s: got %s, want the status alone", test.name, body)
			}
			continue
		}
		dagster, _ := told["dagster"].(map[string]any)
		for _, key := range []string{"status", "version", "uptime_seconds", "database", "backend"} {
			if told[key] == nil || told[key] == "" {
				t.Errorf("%s: no %s in %s", test.name, key, body)
			}
		}
		for _, key := range []string{"ready", "state", "pid", "restarts", "dagster_version"} {
			if dagster[key] == nil || dagster[key] == "" {
				t.Errorf("%s: no dagster.%s in %s", test.name, key, body)
			}
		}
	}
}

// metricsOf: numbers for whoever watches the service, and nothing that names anybody.
func metricsOf(t *testing.T, k *kit) {
	viewer, editor := k.signIn("vic"), k.signIn("ed")
	k.anonymous().login("somebody-else", "a-secret-guess")
	viewer.addPartition("measured-vic")
	editor.addPartition("measured-ed")
	viewer.page("/assets/a-secret-asset")
	viewer.do("GET", "/logs/a-secret-run/x/out", "")
	conn, _, err := viewer.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	// Not talk: it ends with a read that times out, which closes the socket.
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(initFrame)); err != nil {
		t.Fatal(err)
	}
	if _, answer, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(answer), "connection_ack") {
		t.Fatalf("the WebSocket answered %s, %v", answer, err)
	}
	resp, text := k.anonymous().do("GET", "/auth/metrics", "")
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("got %d of type %q, want 200 and text", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	wanted := []string{
		`dagster_authkit_requests_total\{method="POST",route="graphql",status="200"\} [1-9]`,
		`dagster_authkit_request_duration_seconds_count\{route="graphql"\} [1-9]`,
		`dagster_authkit_decisions_total\{outcome="denied",role="viewer"\} 1\b`,
		`dagster_authkit_decisions_total\{outcome="allowed",role="editor"\} [1-9]`,
		`dagster_authkit_sign_ins_total\{outcome="failure"\} 1\b`,
		`dagster_authkit_sign_ins_total\{outcome="success"\} [1-9]`,
		`dagster_authkit_sessions [1-9]`,
		`dagster_authkit_websockets 1\b`,
		`dagster_authkit_child_up 1\b`,
		`dagster_authkit_child_restarts_total 0\b`,
		`dagster_authkit_build_info\{.*version=.*\} 1\b`,
		`dagster_authkit_audit_lines_dropped_total 0\b`,
	}
	missing := func() bool {
		_, text = k.anonymous().do("GET", "/auth/metrics", "")
		return slices.ContainsFunc(wanted, func(want string) bool { return !regexp.MustCompile(`(?m)^` + want).MatchString(text) })
	}
	// A request is counted once it is over, which its client does not wait for.
	for deadline := time.Now().Add(time.Minute); missing() && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	for _, want := range wanted {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(text) {
			t.Errorf("no line like %s in\n%s", want, text)
		}
	}
	for _, secret := range []string{`"vic"`, `"ed"`, `"ada"`, "somebody-else", "a-secret", "measured", "defs.py", "127.0.0.1"} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics hold %s", secret)
		}
	}
	if resp, body := k.anonymous().do("GET", "/auth/metrics", "", "X-Forwarded-For", "127.0.0.1"); resp.StatusCode != http.StatusForbidden || strings.Contains(body, "dagster_authkit_requests") {
		t.Errorf("through a proxy: got %d, want 403", resp.StatusCode)
	}
	if resp, _ := k.signIn("ada").do("GET", "/auth/metrics", "", "X-Forwarded-For", "127.0.0.1"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("an admin through a proxy: got %d, want 403", resp.StatusCode)
	}
}

// TestMetricsToken: with a token it alone counts, from near and from far.
func TestMetricsToken(t *testing.T) {
	t.Parallel()
	const token = "c2NyYXBlcnMtb25seQ"
	k := startBefore(t, nowhere, options{noUsers: true, noWait: true, env: []string{"DAGSTER_AUTH_METRICS_TOKEN=" + token}})
	for _, test := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"none", nil, 403},
		{"another", []string{"Authorization", "Bearer c2NyYXBlcnMtb25seR"}, 403},
		{"the beginning of it", []string{"Authorization", "Bearer c2NyYX"}, 403},
		{"empty", []string{"Authorization", "Bearer "}, 403},
		{"as a password", []string{"Authorization", "Basic " + token}, 403},
		{"it", []string{"Authorization", "Bearer " + token}, 200},
		{"it, from far", []string{"Authorization", "Bearer " + token, "X-Forwarded-For", "203.0.113.9"}, 200},
	} {
		resp, body := k.anonymous().do("GET", "/auth/metrics", "", test.headers...)
		if resp.StatusCode != test.want || strings.Contains(body, "dagster_authkit_child_up 0") != (test.want == 200) {
			t.Errorf("%s: got %d, want %d", test.name, resp.StatusCode, test.want)
		}
	}
	if resp, _ := k.anonymous().do("GET", "/auth/metrics?token="+token, ""); resp.StatusCode != http.StatusForbidden {
		t.Errorf("in the address, where logs would keep it: got %d, want 403", resp.StatusCode)
	}
}
