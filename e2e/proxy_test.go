package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nonces stand in Dagster's page and its CSP and are new with each answer.
var nonces = regexp.MustCompile(`[0-9a-f]{32}`)

// TestProxyHeaders is about what AuthKit changes on the way to Dagster and back, and what it leaves alone.
func TestProxyHeaders(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	t.Run("Dagster's own page", func(t *testing.T) { pageHeaders(t, k) })
	t.Run("what pipelines wrote", func(t *testing.T) { sandboxedContent(t, k) })
	t.Run("other sites", func(t *testing.T) { otherSites(t, k) })
	t.Run("untrusted peers", func(t *testing.T) { untrustedPeers(t, k) })
	t.Run("identities", func(t *testing.T) { identityHeaders(t, k) })
	t.Run("a large download", func(t *testing.T) { largeDownload(t, k) })
}

// pageHeaders compares with what the child itself answers: only frame-ancestors is added.
func pageHeaders(t *testing.T, k *kit) {
	bare, err := http.Get(k.childAddress() + "/runs")
	if err != nil {
		t.Fatal(err)
	}
	bare.Body.Close()
	viewer := k.signIn("vic")
	resp, body := viewer.page("/runs")
	got := nonces.ReplaceAllString(resp.Header.Get("Content-Security-Policy"), "NONCE")
	want := nonces.ReplaceAllString(bare.Header.Get("Content-Security-Policy"), "NONCE") + "; frame-ancestors 'self'"
	want = strings.Replace(want, ";; ", "; ", 1)
	if got != want || len(resp.Header.Values("Content-Security-Policy")) != 1 {
		t.Errorf("CSP: got %q, want %q", resp.Header.Values("Content-Security-Policy"), want)
	}
	for _, name := range []string{"X-Content-Type-Options", "Referrer-Policy", "Cache-Control", "Content-Type"} {
		if got, want := resp.Header.Get(name), bare.Header.Get(name); got != want || want == "" {
			t.Errorf("%s: got %q, want Dagster's own %q", name, got, want)
		}
	}
	nonce := nonces.FindString(resp.Header.Get("Content-Security-Policy"))
	script := regexp.MustCompile(`<script[^>]*src="/auth/static/menu\.[^"]*\.js"[^>]*>`).FindString(body)
	if script == "" || !strings.Contains(script, `nonce="`+nonce+`"`) {
		t.Errorf("the menu's script is %q, want the nonce %q of this answer", script, nonce)
	}
	plain, whole := viewer.do("GET", "/runs", "", "Accept", "text/html", "Accept-Encoding", "identity")
	if got := plain.Header.Get("Content-Length"); got != strconv.Itoa(len(whole)) || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("Content-Length: got %q of a page of %d bytes, %s", got, len(whole), plain.Header.Get("Content-Encoding"))
	}
	if packed, part := viewer.do("GET", "/runs", "", "Accept", "text/html", "Accept-Encoding", "zstd"); packed.Header.Get("Content-Encoding") != "zstd" || len(part) >= len(whole) {
		t.Errorf("a page for who takes zstd: got Content-Encoding %q, %d bytes of %d", packed.Header.Get("Content-Encoding"), len(part), len(whole))
	}
	if resp, _ := viewer.page("/auth/logout"); !strings.Contains(resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("a page of ours: got CSP %q, want that nobody may frame it", resp.Header.Get("Content-Security-Policy"))
	}
}

// sandboxedContent: notebooks and logs come from pipelines, and must not act as if they were Dagster's UI.
func sandboxedContent(t *testing.T, k *kit) {
	folder := filepath.Join(k.home, "storage", "evil")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	page := `<script>fetch("/graphql")</script>`
	for _, name := range []string{"log.html", "log.out", "log.svg"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	viewer := k.signIn("vic")
	for path, content := range map[string]string{
		"/logs/evil/log/html": page, "/logs/evil/log/out": page, "/logs/evil/log/svg": page, "/l%6fgs/evil/log/html": page,
		"/notebook?path=x.ipynb&repoLocName=defs.py": "", "/dagit/notebook?path=x.ipynb&repoLocName=defs.py": "",
		"/%6eotebook?path=x.ipynb&repoLocName=defs.py": "",
	} {
		resp, body := viewer.page(path)
		if policies := resp.Header.Values("Content-Security-Policy"); !slices.Contains(policies, "sandbox allow-scripts") {
			t.Errorf("%s: got %d with CSP %q, want a sandbox", path, resp.StatusCode, policies)
		}
		if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: got X-Content-Type-Options %q, want nosniff", path, got)
		}
		if strings.Contains(body, "/auth/static/") {
			t.Errorf("%s: the menu was put into what is not Dagster's page:\n%s", path, body)
		}
		if content != "" && body != content {
			t.Errorf("%s: got %q, want the file as it is", path, body)
		}
	}
	// The control: Dagster's page is in no sandbox.
	if resp, _ := viewer.page("/notebooks"); strings.Contains(resp.Header.Get("Content-Security-Policy"), "sandbox") {
		t.Error("Dagster's own page is in a sandbox")
	}
}

// otherSites: what a browser says about where a request comes from. Every forged request carries a good session.
func otherSites(t *testing.T, k *kit) {
	editor := k.signIn("ed")
	mutation := func(key string) string {
		return fmt.Sprintf(`{"query": %q}`, mutationFor(key))
	}
	const evil = "https://evil.example"
	for i, test := range []struct {
		name         string
		method, path string
		headers      []string
		want         int
	}{
		{"a mutation from another site", "POST", "/graphql", []string{"Origin", evil}, 403},
		{"a mutation from nowhere", "POST", "/graphql", []string{"Origin", "null"}, 403},
		{"a mutation from another site without Origin", "POST", "/graphql", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a mutation from a sibling", "POST", "/graphql", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"a mutation that lies about Origin only", "POST", "/graphql", []string{"Origin", k.url, "Sec-Fetch-Site", "cross-site"}, 403},
		{"the control, same origin", "POST", "/graphql", []string{"Origin", k.url, "Sec-Fetch-Site", "same-origin"}, 200},
		{"the control, a program", "POST", "/graphql", nil, 200},
		{"a report from another site", "POST", "/report_asset_materialization/forged", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a report from another site by Origin", "POST", "/report_asset_materialization/forged", []string{"Origin", evil}, 403},
		{"signing in from another site", "POST", "/auth/login", []string{"Origin", evil}, 403},
		{"a beat from another site", "POST", "/auth/beat", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"signing out from another site", "POST", "/auth/logout", []string{"Sec-Fetch-Site", "cross-site", "Origin", evil}, 403},
		{"a query by GET from another site", "GET", "/graphql?query=%7Bversion%7D", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a query by GET from a sibling", "GET", "/graphql?query=%7Bversion%7D", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"a query by GET, the path escaped", "GET", "/gr%61phql?query=%7Bversion%7D", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a query by GET, same origin", "GET", "/graphql?query=%7Bversion%7D", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"a query by GET, typed in", "GET", "/graphql?query=%7Bversion%7D", []string{"Sec-Fetch-Site", "none"}, 200},
		{"a query by GET, a program", "GET", "/graphql?query=%7Bversion%7D", nil, 200},
		{"a link from another site", "GET", "/runs", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Accept", "text/html"}, 200},
	} {
		key := fmt.Sprintf("site-%d", i)
		body := ""
		if test.method == "POST" {
			body = mutation(key)
		}
		resp, text := editor.do(test.method, test.path, body, append([]string{"Content-Type", "application/json"}, test.headers...)...)
		if resp.StatusCode != test.want {
			t.Errorf("%s: got %d, want %d\n%s", test.name, resp.StatusCode, test.want, text)
		}
		if made := k.hasPartition(key); made != (test.want == 200 && test.method == "POST") {
			t.Errorf("%s: partition made: %t", test.name, made)
		}
	}
	reported := func(key string) bool {
		return len(k.query("history/runs/index.db", `SELECT event FROM event_logs WHERE asset_key = ?`, `["`+key+`"]`)) > 0
	}
	if editor.do("POST", "/report_asset_materialization/wanted", ""); reported("forged") || !reported("wanted") {
		t.Errorf("asset reports: forged one stored: %t, the control stored: %t", reported("forged"), reported("wanted"))
	}
	if resp, _ := editor.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("after the forged sign-out: got %d, want still signed in", resp.StatusCode)
	}
}

// untrustedPeers: whoever is not a trusted proxy can't choose their address, scheme or host.
func untrustedPeers(t *testing.T, k *kit) {
	c := k.anonymous()
	lies := []string{
		"X-Forwarded-For", "203.0.113.9", "X-Real-IP", "203.0.113.9", "Forwarded", "for=203.0.113.9;proto=https",
		"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example",
	}
	form := url.Values{"username": {"larry"}, "password": {passwords["larry"]}}.Encode()
	resp, _ := c.do("POST", "/auth/login", form, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, lies...)...)
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing in: got %d, want 303", resp.StatusCode)
	}
	cookies := resp.Cookies()
	if len(cookies) != 1 || cookies[0].Secure || cookies[0].Name != "dagster_authkit" {
		t.Errorf("got the cookies %v, want one that is not Secure", cookies)
	}
	k.eventually(time.Minute, "the sign-in is in the trail", func() bool {
		return strings.Contains(k.stdout.String(), `"username":"larry","status":"SUCCESS","ip":"127.0.0.1"`)
	})
	if strings.Contains(k.stdout.String(), "203.0.113.9") {
		t.Errorf("a forged address is in the audit trail:\n%s", k.stdout)
	}
	headers := append([]string{"Content-Type", "application/json", "Origin", "https://evil.example"}, lies...)
	if resp, _ := c.do("POST", "/graphql", `{"query":"{version}"}`, headers...); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a forged X-Forwarded-Host beside a foreign Origin: got %d, want 403", resp.StatusCode)
	}
}

// recorder keeps the headers of each request that reaches it on its way to Dagster, but for AuthKit's own questions: the
// tests' requests carry X-Kept.
type recorder struct {
	next http.Handler

	mu   sync.Mutex
	seen []http.Header
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	header := req.Header.Clone()
	header.Set("Host", req.Host)
	if header.Get("X-Kept") != "" {
		r.seen = append(r.seen, header)
	}
	r.mu.Unlock()
	r.next.ServeHTTP(w, req)
}

func (r *recorder) take() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// identityHeaders looks at what reaches Dagster, by a server between the two that writes it down.
func identityHeaders(t *testing.T, k *kit) {
	between := &recorder{next: remoteTo(t, k.childAddress())}
	server := httptest.NewServer(between)
	defer server.Close()
	front := startBefore(t, server.URL, options{from: k.elsewhere()})
	viewer := front.signIn("vic")
	forged := []string{
		"Remote-User", "Remote_User", "REMOTE-USER", "X-Forwarded-User", "X_Forwarded_User", "X-Forwarded-Email",
		"X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Forwarded-Prefix", "X-Forwarded-Access-Token", "Forwarded", "X-Real-Ip", "X-Auth-Request-User", "X_Auth_Request_Email",
		"X-Auth-Request-Groups", "X-WebAuth-User", "X-Authentik-Username", "X-Remote-User", "X-Original-Url", "Tailscale-User-Login",
		"Cf-Access-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion", "X-Ms-Client-Principal", "Proxy",
	}
	headers := []string{
		"Cookie", "theirs=1; __Host-dagster_authkit=x; other=2", "Authorization", "Basic c29tZWJvZHk6ZWxzZQ==",
		// Hop-by-hop names are dropped by proxies (RFC 9110, 7.6.1); a client must not get rid of ours so.
		"Connection", "close, X-Forwarded-User, X-Forwarded-For",
		"X-Kept", "kept", "Idempotency-Key", "kept too",
	}
	for _, name := range forged {
		headers = append(headers, name, "forged")
	}
	between.take()
	for _, request := range [][3]string{
		{"POST", "/graphql", `{"query":"{version}"}`},
		{"GET", "/graphql?query=%7Bversion%7D", ""},
		{"GET", "/runs", ""},
		{"GET", "/server_info", ""},
		{"GET", "/logs/none/x/out", ""},
	} {
		sent := append([]string{"Content-Type", "application/json"}, headers...)
		viewer.do(request[0], request[1], request[2], sent...)
		seen := between.take()
		if len(seen) != 1 {
			t.Errorf("%s %s: %d requests reached Dagster, want 1", request[0], request[1], len(seen))
			continue
		}
		checkForwarded(t, front, request[1], seen[0])
	}
	// The control: a request as nobody carries nothing to Dagster, because it never gets there.
	front.anonymous().do("GET", "/runs", "", headers...)
	if seen := between.take(); len(seen) != 0 {
		t.Errorf("as nobody: %d requests reached Dagster, want none", len(seen))
	}
	conn, _, err := viewer.socket("/graphql", http.Header{"Remote-User": {"forged"}, "X-Forwarded-User": {"forged"}, "X-Kept": {"kept"}}, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseNow()
	seen := between.take()
	if len(seen) != 1 {
		t.Fatalf("the WebSocket: %d requests reached Dagster, want 1", len(seen))
	}
	checkForwarded(t, front, "the WebSocket", seen[0])
}

// checkForwarded: of all that names somebody, only what AuthKit wrote arrives.
func checkForwarded(t *testing.T, k *kit, what string, got http.Header) {
	t.Helper()
	address := strings.TrimPrefix(k.url, "http://")
	for name, want := range map[string]string{
		"X-Forwarded-User": "vic", "X-Forwarded-Email": "vic@example.com", "X-Forwarded-Groups": "viewer",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": address,
	} {
		if values := got[textproto.CanonicalMIMEHeaderKey(name)]; !cmp.Equal(values, []string{want}) {
			t.Errorf("%s: %s: got %q, want %q", what, name, values, want)
		}
	}
	for name, values := range got {
		for _, value := range values {
			if value == "forged" || strings.Contains(value, "dagster_authkit") {
				t.Errorf("%s: the client's %s: %s reached Dagster", what, name, value)
			}
		}
	}
	if what == "the WebSocket" {
		return
	}
	if got.Get("X-Kept") != "kept" || got.Get("Idempotency-Key") != "kept too" {
		t.Errorf("%s: headers that name nobody are gone: %v", what, got)
	}
	if cookie := strings.ReplaceAll(got.Get("Cookie"), " ", ""); cookie != "theirs=1;other=2" {
		t.Errorf("%s: got the cookies %q, want those of others", what, got.Get("Cookie"))
	}
	// These did not sign anybody in to AuthKit; they may be for a server between it and Dagster.
	if got.Get("Authorization") != "Basic c29tZWJvZHk6ZWxzZQ==" {
		t.Errorf("%s: got Authorization %q, want the client's", what, got.Get("Authorization"))
	}
}

// largeDownload: 200 MB pass through AuthKit without staying in its memory.
func largeDownload(t *testing.T, k *kit) {
	const megabytes = 200
	folder := filepath.Join(k.home, "storage", "run", "compute_logs")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	sum, size := writeLarge(t, filepath.Join(folder, "large.out"), megabytes)
	viewer := k.signIn("vic")
	before := k.peakMemory()
	req, err := http.NewRequestWithContext(context.Background(), "GET", k.url+"/logs/run/compute_logs/large/out", nil)
	if err != nil {
		t.Fatal(err)
	}
	patient := *viewer.http
	patient.Timeout = 5 * time.Minute
	resp, err := patient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := sha256.New()
	n, err := io.Copy(got, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || n != size || hex.EncodeToString(got.Sum(nil)) != sum {
		t.Errorf("got %d, %d bytes, %v; want 200 and the %d bytes that were written", resp.StatusCode, n, err, size)
	}
	after := k.peakMemory()
	t.Logf("peak memory %d kB before, %d kB after", before, after)
	// Two argon2 hashes at once take 38 MiB of it; the rest is the program, SQLite and Go's slack.
	if after > 150<<10 {
		t.Errorf("AuthKit's peak memory: got %d kB after %d MB, want under 150 MB", after, megabytes)
	}
	resp, body := viewer.do("GET", "/logs/run/compute_logs/large/out", "", "Range", "bytes=0-9")
	if resp.StatusCode != http.StatusPartialContent || len(body) != 10 {
		t.Errorf("a range: got %d and %d bytes, want 206 and 10", resp.StatusCode, len(body))
	}
}

// writeLarge writes lines that are all different, so that no part can stand for another.
func writeLarge(t *testing.T, path string, megabytes int) (sum string, size int64) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	hashed := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(file, hashed), 1<<20)
	for line := 0; size < int64(megabytes)<<20; line++ {
		n, err := fmt.Fprintf(out, "%012d the log of a pipeline that has a lot to say about what it does\n", line)
		if err != nil {
			t.Fatal(err)
		}
		size += int64(n)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hashed.Sum(nil)), size
}

// peakMemory is the most that AuthKit ever had resident, in kB.
func (k *kit) peakMemory() int {
	k.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", k.cmd.Process.Pid))
	if err != nil {
		k.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kilobytes, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			if err != nil {
				k.t.Fatal(err)
			}
			return kilobytes
		}
	}
	k.t.Fatalf("no VmHWM in\n%s", status)
	return 0
}

// TestPathPrefix: everything below /team, nothing of it elsewhere, and what people type leads there.
func TestPathPrefix(t *testing.T) {
	t.Parallel()
	k := start(t, options{prefix: "/team"})
	root := *k
	root.url = strings.TrimSuffix(k.url, "/team")
	nobody := root.anonymous()
	for _, test := range []struct {
		path, location string
		status         int
	}{
		{"/", "/team/", 307},
		{"/team", "/team/", 307},
		{"/team/", "/team/auth/login", 303},
		{"/team/runs?x=1", "/team/auth/login?next=%2Fteam%2Fruns%3Fx%3D1", 303},
		{"/runs", "", 404},
		{"/teams/runs", "", 404},
		{"/auth/login", "", 404},
		{"/graphql", "", 404},
		{"/team/auth/login", "", 200},
		{"/team/auth/nothing", "", 404},
	} {
		resp, _ := nobody.page(test.path)
		if got := resp.Header.Get("Location"); resp.StatusCode != test.status || got != test.location {
			t.Errorf("%s: got %d to %q, want %d to %q", test.path, resp.StatusCode, got, test.status, test.location)
		}
	}
	for next, want := range map[string]string{
		"/team/runs?x=1": "/team/runs?x=1", "/other": "/team/", "//evil.example/team/": "/team/", "https://evil.example/team/": "/team/", "/team/../x": "/team/",
	} {
		form := url.Values{"username": {"vic"}, "password": {passwords["vic"]}, "next": {next}}
		resp, _ := k.anonymous().do("POST", "/auth/login", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("next=%s: got %d to %q, want 303 to %q", next, resp.StatusCode, got, want)
		}
		if cookies := resp.Cookies(); len(cookies) != 1 || cookies[0].Path != "/team/" || cookies[0].Name != "dagster_authkit" {
			t.Errorf("next=%s: got the cookies %v, want one at /team/", next, cookies)
		}
	}
	belowPrefix(t, k)
}

// belowPrefix is a working day under /team.
func belowPrefix(t *testing.T, k *kit) {
	t.Helper()
	viewer, editor := k.signIn("vic"), k.signIn("ed")
	resp, body := viewer.page("/assets/a%2Fb?view=x")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"pathPrefix": "/team"`) || !strings.Contains(body, `src="/team/auth/static/menu.`) {
		t.Errorf("a page: got %d, want Dagster's below /team with the menu's script\n%s", resp.StatusCode, body)
	}
	for _, pattern := range []string{`/team/_next/[^"]+\.js`, `/team/auth/static/menu\.[^"]+\.js`} {
		file := regexp.MustCompile(pattern).FindString(body)
		if resp, _ := viewer.do("GET", strings.TrimPrefix(file, "/team"), ""); file == "" || resp.StatusCode != http.StatusOK {
			t.Errorf("the script %q: got %d, want 200", file, resp.StatusCode)
		}
	}
	if got := viewer.addPartition("below-vic"); got.typename("addDynamicPartition") != "UnauthorizedError" || k.hasPartition("below-vic") {
		t.Errorf("a viewer's mutation: %s", got.Body)
	}
	if got := editor.addPartition("below-ed"); !k.hasPartition("below-ed") {
		t.Errorf("an editor's mutation: %s", got.Body)
	}
	conn, _, err := viewer.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(talk(t, conn, 3, initFrame, startFrame(t, map[string]any{"query": missingRun})), " "); got != "complete connection_ack data" {
		t.Errorf("a subscription: got %q", got)
	}
	if resp, body := k.anonymous().do("GET", "/server_info", ""); resp.StatusCode != http.StatusOK || body != "{}" {
		t.Errorf("/team/server_info of nobody: got %d %q, want 200 {}", resp.StatusCode, body)
	}
	resp, _ = viewer.do("POST", "/auth/logout", "")
	if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != "/team/auth/logout" || viewer.cookie() != "" {
		t.Errorf("signing out: got %d to %q and cookie %q, want 303 to /team/auth/logout and none", resp.StatusCode, got, viewer.cookie())
	}
}
