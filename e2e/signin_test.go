package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNobody(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	nobody := k.anonymous()
	for path, want := range map[string]string{"/": "/auth/login", "/runs?status=x": "/auth/login?next=%2Fruns%3Fstatus%3Dx"} {
		resp, _ := nobody.page(path)
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("%s: got %d to %q, want 303 to %q", path, resp.StatusCode, got, want)
		}
	}
	for _, request := range [][2]string{{"POST", "/graphql"}, {"GET", "/graphql?query=%7Bversion%7D"}, {"GET", "/_next/static/x.js"}, {"GET", "/logs/x"}, {"POST", "/report_asset_check/x"}, {"GET", "/runs"}} {
		resp, body := nobody.do(request[0], request[1], "")
		var got answer
		if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: got %d, want 401 JSON\n%s", request, resp.StatusCode, body)
			continue
		}
		if got.Errors[0].Extensions["code"] != "UNAUTHENTICATED" {
			t.Errorf("%v: got code %v, want UNAUTHENTICATED", request, got.Errors[0].Extensions["code"])
		}
	}
	for _, path := range []string{"/server_info", "/dagit_info"} {
		if resp, body := nobody.do("GET", path, ""); resp.StatusCode != http.StatusOK || body != "{}" {
			t.Errorf("%s: got %d %q, want 200 {}", path, resp.StatusCode, body)
		}
	}
	// The controls.
	viewer := k.signIn("vic")
	if resp, body := viewer.page("/runs"); resp.StatusCode != http.StatusOK || !strings.Contains(body, "initialization-data") {
		t.Errorf("a viewer's page: got %d, want Dagster's own\n%s", resp.StatusCode, body)
	}
	if resp, body := viewer.do("GET", "/server_info", ""); !strings.Contains(body, "dagster_version") {
		t.Errorf("a viewer's /server_info: got %d %q, want Dagster's own", resp.StatusCode, body)
	}
}

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	c := k.anonymous()
	resp, body := c.login("vic", "not her password")
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, `role="alert"`) || c.cookie() != "" {
		t.Errorf("a wrong password: got %d and cookie %q, want 401 with the form and none\n%s", resp.StatusCode, c.cookie(), body)
	}
	resp, _ = c.do("POST", "/auth/login", "username=VIC&password="+passwords["vic"]+"&next=%2Fruns%3Fx%3D1", "Content-Type", "application/x-www-form-urlencoded")
	if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != "/runs?x=1" {
		t.Fatalf("signing in: got %d to %q, want 303 to /runs?x=1", resp.StatusCode, got)
	}
	cookies := resp.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "dagster_authkit" || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Secure || cookies[0].Path != "/" {
		t.Errorf("got the cookies %v, want one dagster_authkit, HttpOnly, Lax, Path=/", cookies)
	}
	var me struct{ Username, Email, Role, Backend string }
	_, body = c.do("GET", "/auth/me", "")
	if err := json.Unmarshal([]byte(body), &me); err != nil || me.Username != "vic" || me.Role != "viewer" || me.Email != "vic@example.com" || me.Backend != "local" {
		t.Errorf("who am I: got %s", body)
	}
	old := c.cookie()
	if resp, _ := c.do("POST", "/auth/logout", ""); resp.StatusCode != http.StatusSeeOther || c.cookie() != "" {
		t.Errorf("signing out: got %d and cookie %q, want 303 and none", resp.StatusCode, c.cookie())
	}
	thief := k.anonymous()
	if resp, _ := thief.do("GET", "/auth/me", "", "Cookie", old); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the cookie after signing out: got %d, want 401", resp.StatusCode)
	}
}

// TestChangesHoldAtOnce: what an admin changes from another process holds on the next request of an open session.
func TestChangesHoldAtOnce(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	ed := k.signIn("ed")
	if got := ed.addPartition("as-editor"); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
		t.Fatalf("as an editor: %s", got.Body)
	}
	k.cli("", "change-role", "ed", "viewer")
	if got := ed.addPartition("as-viewer"); got.typename("addDynamicPartition") != "UnauthorizedError" || k.hasPartition("as-viewer") {
		t.Errorf("after the role change: got %s, partition made: %t", got.Body, k.hasPartition("as-viewer"))
	}
	for name, change := range map[string]func(){
		"new password": func() { k.cli("another-password-1\n", "change-password", "ed", "--password-stdin") },
		"disabled":     func() { k.cli("", "disable-user", "larry") },
		"deleted":      func() { k.cli("", "delete-user", "vic", "--yes") },
	} {
		who := map[string]string{"new password": "ed", "disabled": "larry", "deleted": "vic"}[name]
		c := k.signIn(who)
		change()
		resp, _ := c.do("GET", "/auth/me", "")
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %d, want 401", name, resp.StatusCode)
		}
		if resp, _ := c.do("GET", "/", "", "Accept", "text/html"); resp.StatusCode != http.StatusSeeOther || c.cookie() != "" {
			t.Errorf("%s: a page: got %d and cookie %q, want the form and the stale cookie cleared", name, resp.StatusCode, c.cookie())
		}
		if resp, _ := k.anonymous().login(who, passwords[who]); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: signing in with the old password: got %d, want 401", name, resp.StatusCode)
		}
	}
}

func TestSignInsAreLimited(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: []string{"DAGSTER_AUTH_TRUSTED_PROXIES=127.0.0.1/32"}})
	attempt := func(from, name, password string) int {
		c := k.anonymous()
		resp, _ := c.do("POST", "/auth/login", "username="+name+"&password="+password,
			"Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", from)
		if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		return resp.StatusCode
	}
	for i := range 5 {
		if got := attempt("192.0.2.1", "vic", "wrong-password"); got != http.StatusUnauthorized {
			t.Errorf("failure %d: got %d, want 401", i+1, got)
		}
	}
	if got := attempt("192.0.2.1", "vic", passwords["vic"]); got != http.StatusTooManyRequests {
		t.Errorf("the sixth, with the right password: got %d, want 429", got)
	}
	if got := attempt("192.0.2.1", "nobody-of-that-name", "wrong-password"); got != http.StatusUnauthorized {
		t.Errorf("another account at that address: got %d, want 401", got)
	}
	if got := attempt("192.0.2.2", "vic", passwords["vic"]); got != http.StatusSeeOther {
		t.Errorf("the owner from elsewhere: got %d, want 303", got)
	}
	for range 6 {
		attempt("192.0.2.3", "nobody-of-that-name", "wrong-password")
	}
	if got := attempt("192.0.2.3", "nobody-of-that-name", "wrong-password"); got != http.StatusTooManyRequests {
		t.Errorf("an unknown account: got %d, want 429 as for a known one", got)
	}
	k.cli("", "unlock", "vic")
	if got := attempt("192.0.2.1", "vic", passwords["vic"]); got != http.StatusSeeOther {
		t.Errorf("after unlock: got %d, want 303", got)
	}
}

// TestParallelGuesses: attempts count before the password is looked at, so that guessing at the same time gains nothing.
func TestParallelGuesses(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	codes := make(chan int, 40)
	for range 40 {
		go func() {
			c := k.anonymous()
			req, err := http.NewRequest("POST", k.url+"/auth/login", strings.NewReader("username=vic&password=a-wrong-guess"))
			if err != nil {
				codes <- 0
				return
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			resp, err := c.http.Do(req)
			if err != nil {
				codes <- 0
				return
			}
			resp.Body.Close()
			codes <- resp.StatusCode
		}()
	}
	got := map[int]int{}
	for range 40 {
		got[<-codes]++
	}
	if want := map[int]int{http.StatusUnauthorized: 5, http.StatusTooManyRequests: 35}; !cmp.Equal(got, want) {
		t.Errorf("40 guesses at once: got %v, want %v", got, want)
	}
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	env := []string{"DAGSTER_AUTH_ADMIN_USER=root", "DAGSTER_AUTH_ADMIN_PASSWORD=changeme"}
	k := start(t, options{noUsers: true, env: env})
	c := k.anonymous()
	if resp, _ := c.login("root", "changeme"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the bootstrap admin: got %d, want 303", resp.StatusCode)
	}
	if stderr := k.stderr.String(); strings.Contains(stderr, "changeme") || !strings.Contains(stderr, "password") {
		t.Errorf("stderr must warn of the weak password and not show it:\n%s", stderr)
	}
	k.cli("", "delete-user", "root", "--yes", "--force")
	k.stop()
	again := start(t, options{from: k})
	if resp, _ := again.anonymous().login("root", "changeme"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the deleted admin after a restart: got %d, want 401", resp.StatusCode)
	}
	if _, body := again.anonymous().page("/auth/login"); !strings.Contains(body, "add-user") {
		t.Errorf("the login page with no user does not say how to make one:\n%s", body)
	}
}

// TestAuditLines: stdout holds one JSON object a line and nothing else, in the shapes that the Python AuthKit's users know.
func TestAuditLines(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	viewer, editor := k.signIn("vic"), k.signIn("ed")
	k.anonymous().login("vic\n{\"event_type\":\"FORGED\"}", "wrong-password")
	viewer.addPartition("audited")
	editor.addPartition("audited")
	if resp, _ := viewer.do("GET", "/graphql?query=mutation%7BreloadWorkspace%7B__typename%7D%7D", ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a mutation by GET: got %d, want 405", resp.StatusCode)
	}
	var events []map[string]any
	k.eventually(time.Minute, "all events are on stdout", func() bool {
		events = nil
		scanner := bufio.NewScanner(strings.NewReader(k.stdout.String()))
		for scanner.Scan() {
			var event map[string]any
			if err := json.Unmarshal(scanner.Bytes(), &event); err != nil {
				t.Fatalf("a line on stdout that is not JSON: %q", scanner.Text())
			}
			events = append(events, event)
		}
		return len(events) >= 7
	})
	find := func(want map[string]any) map[string]any {
		t.Helper()
		for _, event := range events {
			matches := true
			for key, value := range want {
				matches = matches && cmp.Equal(event[key], value)
			}
			if matches {
				return event
			}
		}
		t.Errorf("no event with %v in\n%s", want, k.stdout)
		return nil
	}
	find(map[string]any{"event_type": "LOGIN_ATTEMPT", "username": "vic", "status": "SUCCESS", "ip": "127.0.0.1"})
	find(map[string]any{"event_type": "LOGIN_ATTEMPT", "status": "FAILURE"})
	find(map[string]any{
		"event_type": "ACCESS_CONTROL", "username": "vic", "action": "POST", "resource": "/graphql", "status": "DENIED",
		"roles": []any{"viewer"}, "reason": "EDITOR_REQUIRED_FOR_MUTATIONS", "mutations": []any{"addDynamicPartition"},
		"operation_name": "Add", "code_location": []any{"defs.py"}, "partitions": []any{"audited"},
	})
	find(map[string]any{
		"event_type": "ACCESS_CONTROL", "username": "vic", "action": "GET", "status": "DENIED",
		"reason": "POST_REQUIRED_FOR_MUTATIONS", "mutations": []any{"reloadWorkspace"},
	})
	allowed := find(map[string]any{"event_type": "ACCESS_CONTROL", "username": "ed", "status": "ALLOWED"})
	find(map[string]any{"event_type": "ACCESS_OUTCOME", "username": "ed", "request_id": allowed["request_id"], "outcome": "AddDynamicPartitionSuccess"})
	for _, event := range events {
		if event["event_type"] == "FORGED" {
			t.Error("a user name forged an event")
		}
		if _, err := time.Parse(time.RFC3339, event["timestamp"].(string)); err != nil || event["request_id"] == "" {
			t.Errorf("event without a good timestamp and request_id: %v", event)
		}
	}
}

// TestNoSecretLeaks looks for every password and cookie of a busy minute in everything that was written.
func TestNoSecretLeaks(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: []string{"DAGSTER_AUTH_LOG_LEVEL=trace"}})
	viewer := k.signIn("vic")
	k.anonymous().login("vic", "a-mistyped-password")
	viewer.page("/runs?token=not-ours")
	viewer.addPartition("x")
	viewer.do("POST", "/graphql", `{"query":"{`, "Content-Type", "application/json")
	_, token, _ := strings.Cut(viewer.cookie(), "=")
	k.stop()
	written := map[string]string{"stdout": k.stdout.String(), "stderr": k.stderr.String()}
	files, err := filepath.Glob(k.dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if raw, err := os.ReadFile(file); err == nil && !strings.HasSuffix(file, ".secret") {
			written[filepath.Base(file)] = string(raw)
		}
	}
	if !strings.Contains(written["auth.db"], "vic") {
		t.Fatal("the control: the database does not even hold the user's name")
	}
	for name, text := range written {
		for _, secret := range []string{passwords["vic"], "a-mistyped-password", token} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds the secret %q", name, secret)
			}
		}
	}
	for _, file := range []string{"auth.db", "auth.db.secret"} {
		info, err := os.Stat(filepath.Join(k.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", file, info.Mode().Perm())
		}
	}
}

// TestSessionsOfAnotherBackend: whoever tried AuthKit with the dummy backend is nobody once it is real, with the same
// database and secret.
func TestSessionsOfAnotherBackend(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	local := k.signIn("ada")
	k.stop()
	real := k.env
	k.env = append(slices.Clone(real), "DAGSTER_AUTH_BACKEND=dummy")
	dummy := start(t, options{from: k})
	admin := dummy.anonymous()
	if resp, _ := admin.login("admin", "admin"); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("the dummy admin: got %d, want 303", resp.StatusCode)
	}
	if resp, _ := local.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a local session under the dummy backend: got %d, want 401", resp.StatusCode)
	}
	dummy.stop()
	k.env = real
	start(t, options{from: k})
	if resp, body := admin.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the dummy admin's session under local users: got %d, want 401\n%s", resp.StatusCode, body)
	}
}

// TestWithheldBody: a request that was opened before its sender lost the account is judged when its body has come.
func TestWithheldBody(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	editor := k.signIn("ed")
	body := `{"query":"mutation { addDynamicPartition(repositorySelector: {repositoryLocationName: \"defs.py\", repositoryName: \"__repository__\"}, partitionsDefName: \"dyn\", partitionKey: \"withheld\") { __typename } }"}`
	requests := map[string]string{"/graphql": body, "/report_asset_materialization/my_asset": "{}"}
	conns := map[string]net.Conn{}
	for path, content := range requests {
		conn, err := net.Dial("tcp", strings.TrimPrefix(k.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
			path, strings.TrimPrefix(k.url, "http://"), editor.cookie(), len(content))
		conns[path] = conn
	}
	time.Sleep(500 * time.Millisecond) // the headers are read, and the session with them
	before := k.writes()
	k.cli("", "delete-user", "ed", "--yes")
	for path, content := range requests {
		if _, err := io.WriteString(conns[path], content); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conns[path]), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %d, want 401", path, resp.StatusCode)
		}
	}
	if after := k.writes(); after != before {
		t.Errorf("Dagster's storage went from %s to %s", before, after)
	}
}
