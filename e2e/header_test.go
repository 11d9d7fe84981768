package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// headerEnv is the backend header in front of which only 127.0.0.1 stands.
func headerEnv(more ...string) []string {
	return append([]string{
		"DAGSTER_AUTH_BACKEND=header", "DAGSTER_AUTH_PROXY_TRUSTED_IPS=127.0.0.1", "DAGSTER_AUTH_PROXY_PRESET=authelia",
		"DAGSTER_AUTH_PROXY_GROUP_PATTERN={role}", "DAGSTER_AUTH_CONTACT=#data-platform", "DAGSTER_AUTH_PROXY_LOGOUT_URL=https://auth.example.com/logout",
	}, more...)
}

// me is who AuthKit takes the client for, as "NAME ROLE BACKEND", or "nobody".
func (c *client) me(headers ...string) string {
	c.t.Helper()
	resp, body := c.do("GET", "/auth/me", "", headers...)
	if resp.StatusCode != http.StatusOK {
		return "nobody"
	}
	var who struct{ Username, Role, Backend string }
	if err := json.Unmarshal([]byte(body), &who); err != nil {
		c.t.Fatalf("who am I: %v\n%s", err, body)
	}
	return who.Username + " " + who.Role + " " + who.Backend
}

// TestBehindNginx: people who are signed in at a proxy are who it says, with each request and no cookie of ours, and may do what
// their groups there give them.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: headerEnv(), noUsers: true})
	front := startNginx(t, k)
	vic, larry, nora := k.by(front.guarded, "vic"), k.by(front.guarded, "larry"), k.by(front.guarded, "nora")

	if got := vic.me(); got != "vic viewer header" {
		t.Errorf("vic is %q, want vic viewer header", got)
	}
	if resp, body := vic.page("/runs"); resp.StatusCode != http.StatusOK || !strings.Contains(body, "/auth/static/menu.") || len(resp.Cookies()) > 0 {
		t.Errorf("a page: got %d and the cookies %v, want Dagster's with the menu and none", resp.StatusCode, resp.Cookies())
	}
	const launch = `mutation { launchRun(executionParams: {` + myJob + `}) { __typename ... on UnauthorizedError { message } } }`
	if got := vic.graphql(launch, nil); got.typename("launchRun") != "UnauthorizedError" || len(k.runs()) > 0 {
		t.Errorf("a viewer launches: got %s and the runs %v", got.Body, k.runs())
	}
	if got := larry.graphql(launch, nil); got.typename("launchRun") != "LaunchRunSuccess" || len(k.runs()) != 1 {
		t.Errorf("a launcher launches: got %s and the runs %v, want one", got.Body, k.runs())
	}
	if tags := k.query("history/runs.db", `SELECT value FROM run_tags WHERE key = 'user'`); !slices.Equal(tags, []string{"larry@example.com"}) {
		t.Errorf("the run says that %q launched it, want larry@example.com", tags)
	}
	if resp, body := nora.page("/"); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "<code>guests</code>") || !strings.Contains(body, "#data-platform") {
		t.Errorf("without a role: got %d, want 403 and a page with her groups and whom to ask\n%s", resp.StatusCode, body)
	}
	if resp, body := nora.do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "NO_ROLE") {
		t.Errorf("a program without a role: got %d %s, want 403 NO_ROLE", resp.StatusCode, body)
	}
	if resp, _ := k.by(front.guarded, "").page("/"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: nginx let them pass: %d", resp.StatusCode)
	}
	k.checkHeaderTrail(t)
	k.checkHeaderSignOut(t, larry)
	k.checkUnnamed(t, front)

	// An admin's word here counts at the next request, whatever the proxy says, in any spelling of the name.
	k.cli("", "disable-user", "larry")
	for _, request := range [][2]string{{"GET", "/auth/me"}, {"GET", "/runs"}, {"POST", "/graphql"}} {
		if resp, _ := larry.do(request[0], request[1], ""); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v by a disabled user: got %d, want 401", request, resp.StatusCode)
		}
	}
	if got := k.anonymous().me("Remote-User", "LARRY", "Remote-Groups", "admins"); got != "nobody" {
		t.Errorf("a disabled user in capitals is %q, want nobody", got)
	}
	k.cli("", "enable-user", "larry")
	if got := larry.me(); got != "larry launcher header" {
		t.Errorf("enabled again: larry is %q", got)
	}
	// A grant from here adds to the role from there.
	k.cli("", "grant", "vic", "editor", "--location", "defs.py")
	if got := vic.addPartition("granted"); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" || !k.hasPartition("granted") {
		t.Errorf("vic with a grant: %s", got.Body)
	}
}

// checkHeaderTrail: accounts and the trail know those who came.
func (k *kit) checkHeaderTrail(t *testing.T) {
	t.Helper()
	if list := k.cli("", "list-users"); !strings.Contains(list, "header") || !strings.Contains(list, "larry") {
		t.Errorf("list-users does not know who came:\n%s", list)
	}
	k.tells(`"username":"vic","status":"SUCCESS"`, `"username":"larry","status":"SUCCESS"`, `"username":"nora","status":"FAILURE"`)
	signIns := map[string]int{}
	for line := range strings.Lines(k.stdout.String()) {
		var event struct {
			EventType, Username, Status, Identity, Reason string
		}
		text := strings.NewReplacer(`"event_type"`, `"EventType"`).Replace(line)
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			t.Fatalf("no JSON on stdout: %s", line)
		}
		if event.EventType == "LOGIN_ATTEMPT" {
			signIns[event.Username+" "+event.Status+event.Reason+" "+event.Identity]++
		}
	}
	for want, n := range map[string]int{"vic SUCCESS header:vic": 1, "larry SUCCESS header:larry": 1, "nora FAILURENO_ROLE header:nora": 1} {
		if signIns[want] != n {
			t.Errorf("the trail has %d times %q, want %d: %v", signIns[want], want, n, signIns)
		}
	}
}

// checkHeaderSignOut: signing out leads to where it can be done, which the page's policy lets the form do.
func (k *kit) checkHeaderSignOut(t *testing.T, c *client) {
	t.Helper()
	if resp, _ := c.do("POST", "/auth/logout", ""); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "https://auth.example.com/logout" {
		t.Errorf("signing out: got %d to %q, want 303 to the proxy's", resp.StatusCode, resp.Header.Get("Location"))
	}
	resp, body := c.page("/auth/logout")
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(body, "<form") || !strings.Contains(policy, "form-action 'self' https://auth.example.com;") {
		t.Errorf("the sign-out page: got the policy %q and\n%s", policy, body)
	}
	if resp, _ := c.page("/auth/login?next=/runs"); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/runs" {
		t.Errorf("the sign-in page: got %d to %q, want to go on to /runs", resp.StatusCode, resp.Header.Get("Location"))
	}
	if resp, _ := c.do("POST", "/auth/logout", "", "Origin", "https://evil.example"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("signing out from another site: got %d, want 403", resp.StatusCode)
	}
}

// checkUnnamed: whom no proxy names is told so in one page, and led nowhere.
func (k *kit) checkUnnamed(t *testing.T, front nginx) {
	t.Helper()
	for name, c := range map[string]*client{"by a proxy": k.by(front.open, ""), "directly": k.anonymous()} {
		for _, path := range []string{"/", "/runs", "/auth/login", "/auth/login?next=%2Fruns", "/auth/logout"} {
			resp, body := c.page(path)
			if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "did not say who you are") || !strings.Contains(body, "#data-platform") || strings.Contains(body, "<form") {
				t.Errorf("%s, %s: got %d, want 401 and a page that explains\n%s", name, path, resp.StatusCode, body)
			}
		}
		if resp, body := c.do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "UNAUTHENTICATED") {
			t.Errorf("%s, a program: got %d %s, want 401", name, resp.StatusCode, body)
		}
		if resp, _ := c.login("vic", "viewer-of-things"); resp.StatusCode != http.StatusUnauthorized || c.cookie() != "" {
			t.Errorf("%s, a password: got %d and the cookie %q, want 401 and none", name, resp.StatusCode, c.cookie())
		}
	}
	if resp, body := k.anonymous().do("GET", "/server_info", ""); resp.StatusCode != http.StatusOK || body != "{}" {
		t.Errorf("a probe: got %d %s, want 200 {}", resp.StatusCode, body)
	}
}

// raw sends the bytes from a local address and gives the status of the answer, 0 when there is none.
func raw(t *testing.T, from, to, text string) int {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(to, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestSpoofedHeaders: what somebody says of themselves counts for nothing, by its effect in Dagster's storage: each request
// would make a partition if AuthKit took it for an editor's.
func TestSpoofedHeaders(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: headerEnv(), noUsers: true})
	front := startNginx(t, k)
	const trusted, stranger = "127.0.0.1", "127.0.0.2"
	attempts := 0
	try := func(from, to string, headers ...string) int {
		attempts++
		body := mutationFor(fmt.Sprintf("spoofed-%d", attempts))
		document, err := json.Marshal(map[string]string{"query": body})
		if err != nil {
			t.Fatal(err)
		}
		text := "POST /graphql HTTP/1.1\r\nHost: " + strings.TrimPrefix(to, "http://") + "\r\nContent-Type: application/json\r\nConnection: close\r\n" +
			fmt.Sprintf("Content-Length: %d\r\n", len(document))
		for _, header := range headers {
			text += header + "\r\n"
		}
		return raw(t, from, to, text+"\r\n"+string(document))
	}
	for name, tc := range map[string]struct {
		from, to string
		headers  []string
		want     int
	}{
		"from an untrusted address":                {stranger, k.url, []string{"Remote-User: ada", "Remote-Groups: admins"}, 401},
		"from one that says it is forwarded":       {stranger, k.url, []string{"Remote-User: ada", "Remote-Groups: admins", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1"}, 401},
		"in capitals":                              {stranger, k.url, []string{"REMOTE-USER: ada", "REMOTE-GROUPS: admins"}, 401},
		"with underscores":                         {stranger, k.url, []string{"Remote_User: ada", "Remote_Groups: admins"}, 401},
		"groups beside nobody":                     {trusted, k.url, []string{"Remote-Groups: admins"}, 401},
		"with underscores, from the proxy":         {trusted, k.url, []string{"Remote_User: ada", "Remote_Groups: admins"}, 401},
		"with underscores beside the proxy's":      {trusted, k.url, []string{"Remote-User: vic", "Remote-Groups: viewers", "Remote_User: ada"}, 401},
		"groups with underscores":                  {trusted, k.url, []string{"Remote-User: vic", "Remote-Groups: viewers", "REMOTE_GROUPS: admins"}, 401},
		"twice":                                    {trusted, k.url, []string{"Remote-User: vic", "Remote-User: ada", "Remote-Groups: admins"}, 401},
		"twice in two cases":                       {trusted, k.url, []string{"Remote-User: vic", "remote-user: ada", "Remote-Groups: admins"}, 401},
		"groups twice":                             {trusted, k.url, []string{"Remote-User: vic", "Remote-Groups: viewers", "Remote-Groups: admins"}, 401},
		"empty":                                    {trusted, k.url, []string{"Remote-User: ", "Remote-Groups: admins"}, 401},
		"a blank before the colon":                 {trusted, k.url, []string{"Remote-User : ada", "Remote-Groups: admins"}, 400},
		"a line that goes on":                      {trusted, k.url, []string{"X-Other: x", " Remote-User: ada", "Remote-Groups: admins"}, 401},
		"a carriage return in another":             {trusted, k.url, []string{"X-Other: x\rRemote-User: ada", "Remote-Groups: admins"}, 400},
		"as a trailer":                             {trusted, k.url, []string{"Trailer: Remote-User", "Remote-Groups: admins"}, 401},
		"a control character":                      {trusted, k.url, []string{"Remote-User: a\x01da", "Remote-Groups: admins"}, 400},
		"through nginx by nobody":                  {trusted, front.guarded, []string{"Remote-User: ada", "Remote-Groups: admins"}, 401},
		"through nginx by a viewer":                {trusted, front.guarded, []string{"Cookie: login=vic", "Remote-User: ada", "Remote-Groups: admins"}, 200},
		"the same, with underscores":               {trusted, front.guarded, []string{"Cookie: login=vic", "Remote_User: ada", "Remote_Groups: admins"}, 200},
		"the same, that nginx lets pass":           {trusted, front.underscores, []string{"Cookie: login=vic", "Remote_User: ada", "Remote_Groups: admins"}, 401},
		"the same, the header named as hop by hop": {trusted, front.guarded, []string{"Cookie: login=vic", "Remote-Groups: admins", "Connection: Remote-User, Remote-Groups"}, 200},
		"through an nginx that asks nobody":        {trusted, front.open, []string{"Cookie: login=ada", "Remote-User: ada", "Remote-Groups: admins"}, 401},
	} {
		if got := try(tc.from, tc.to, tc.headers...); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
	if made := k.partitions(); len(made) > 0 {
		t.Errorf("somebody made the partitions %v", made)
	}
	// The controls: the proxy's own word, and through nginx an editor's sign-in.
	for name, tc := range map[string]struct {
		to      string
		headers []string
	}{
		"directly, from the proxy's address": {k.url, []string{"Remote-User: ed", "Remote-Groups: editors"}},
		"in another case":                    {k.url, []string{"rEMOTE-uSER: ed", "remote-groups: editors"}},
		"through nginx":                      {front.guarded, []string{"Cookie: login=ed"}},
		"through the other nginx":            {front.underscores, []string{"Cookie: login=ed"}},
	} {
		before := len(k.partitions())
		if got := try(trusted, tc.to, tc.headers...); got != http.StatusOK || len(k.partitions()) != before+1 {
			t.Errorf("the control %s: got %d and the partitions %v", name, got, k.partitions())
		}
	}
	k.tells(`"reason":"UNTRUSTED_PROXY"`, `"reason":"HEADER_SENT_TWICE"`)
}

// TestHeaderWebSocket: a socket of somebody whom the proxy names lives through nginx, and ends when they may not be here any more.
func TestHeaderWebSocket(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: headerEnv(), noUsers: true})
	front := startNginx(t, k)
	vic := k.by(front.guarded, "vic")
	bystander, _, err := vic.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	if got := talk(t, bystander, 3, initFrame, startFrame(t, map[string]any{"query": missingRun})); strings.Join(got, " ") != "complete connection_ack data" {
		t.Errorf("a subscription through nginx: got %v", got)
	}
	bystander, _, err = vic.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	if _, resp, err := k.by(front.guarded, "nora").socket("/graphql", nil, "graphql-ws"); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a socket without a role: got %v and answer %v, want 403", err, resp)
	}
	if _, resp, err := k.by(front.guarded, "vic").socket("/graphql", http.Header{"Origin": {"https://evil.example"}}, "graphql-ws"); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a socket from another site: got %v and answer %v, want 403", err, resp)
	}
	for _, change := range []struct {
		name string
		make func()
	}{
		{"other groups at the proxy", func() { k.anonymous().me("Remote-User", "larry", "Remote-Groups", "viewers") }},
		{"a grant", func() { k.cli("", "grant", "larry", "editor", "--location", "elsewhere") }},
		{"a disabled user", func() { k.cli("", "disable-user", "larry") }},
		{"a deleted account", func() { k.cli("", "delete-user", "larry", "--yes") }},
	} {
		if change.name == "a deleted account" {
			k.cli("", "enable-user", "larry") // after the change before
		}
		conn, _, err := k.by(front.guarded, "larry").socket("/graphql", nil, "graphql-ws")
		if err != nil {
			t.Fatalf("%s: %v", change.name, err)
		}
		closed := make(chan error, 1)
		go func() {
			_, _, err := conn.Read(context.Background())
			closed <- err
		}()
		change.make()
		select {
		case err := <-closed:
			if status := websocket.CloseStatus(err); status != 4401 {
				t.Errorf("%s: the socket closed with %d (%v), want 4401", change.name, status, err)
			}
		case <-time.After(slowly):
			t.Errorf("%s: the socket is still open", change.name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), slowly)
	defer cancel()
	if err := bystander.Write(ctx, websocket.MessageText, []byte(initFrame)); err != nil {
		t.Errorf("the bystander's socket: %v", err)
	}
	if _, message, err := bystander.Read(ctx); err != nil || !strings.Contains(string(message), "connection_ack") {
		t.Errorf("the bystander's socket: got %s and %v, want an answer", message, err)
	}
}

// TestHeaderBesideLocal: with header,sqlite the form is there for whom no proxy names, and a proxy's word counts before a cookie.
func TestHeaderBesideLocal(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: headerEnv("DAGSTER_AUTH_BACKEND=header,sqlite")})
	ada := k.signIn("ada")
	if got := ada.me(); got != "ada admin local" {
		t.Errorf("signed in by the form: ada is %q", got)
	}
	named := []string{"Remote-User", "ada", "Remote-Groups", "viewers"}
	if got := ada.me(named...); got != "ada viewer header" {
		t.Errorf("named by the proxy beside her cookie: ada is %q, want the other account of that name", got)
	}
	if got := ada.graphql(mutationFor("by-cookie"), nil); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
		t.Errorf("by her cookie alone: %s", got.Body)
	}
	document := fmt.Sprintf(`{"query":%q}`, strings.Join(strings.Fields(mutationFor("by-name")), " "))
	if _, body := ada.do("POST", "/graphql", document, append([]string{"Content-Type", "application/json"}, named...)...); k.hasPartition("by-name") {
		t.Errorf("a viewer whom the proxy names beside an admin's cookie made a partition: %s", body)
	}
	// A word that can't be taken is not put right by a cookie.
	if got := ada.me("Remote-User", "ada", "Remote_User", "ada"); got != "nobody" {
		t.Errorf("named in two ways beside her cookie: ada is %q, want nobody", got)
	}
	if got := ada.me(); got != "ada admin local" {
		t.Errorf("afterwards, by her cookie: ada is %q", got)
	}
	// A name is no link: disabling the one is not disabling the other.
	k.cli("", "disable-user", "local:ada", "--force")
	if got, other := ada.me(), k.anonymous().me(named...); got != "nobody" || other != "ada viewer header" {
		t.Errorf("the local ada is disabled: by cookie %q, by the proxy %q", got, other)
	}
	if resp, _ := k.anonymous().page("/"); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/auth/login" {
		t.Errorf("nobody: got %d to %q, want the form", resp.StatusCode, resp.Header.Get("Location"))
	}
}

// TestHeaderNeedsProxies: nobody is trusted by default, and trusting everybody is said at each start.
func TestHeaderNeedsProxies(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true, env: []string{"DAGSTER_AUTH_BACKEND=proxy", "DAGSTER_AUTH_DEFAULT_ROLE=viewer"}})
	out, code := k.cliCode("", "-f", "defs.py", "-p", "0")
	if code != 2 || strings.Count(strings.TrimSpace(out), "\n") != 0 || !strings.Contains(out, "DAGSTER_AUTH_TRUSTED_PROXIES") {
		t.Errorf("without proxies: exit code %d, want 2 and one line\n%s", code, out)
	}
	k.env = append(k.env, "DAGSTER_AUTH_PROXY_TRUST_ALL=true")
	k.run(options{})
	t.Cleanup(k.stop)
	k.waitReady()
	if !strings.Contains(k.stderr.String(), "NOT SAFE: DAGSTER_AUTH_PROXY_TRUST_ALL") {
		t.Errorf("trusting everybody is not warned of:\n%s", k.stderr)
	}
	if got := raw(t, "127.0.0.2", k.url, "GET /auth/me HTTP/1.1\r\nHost: x\r\nRemote-User: vic\r\nConnection: close\r\n\r\n"); got != http.StatusOK {
		t.Errorf("from anywhere: got %d, want 200", got)
	}
}

// TestHeadersThatAreReadNeverReachDagster: not from the proxy, as AuthKit says who asks in its own words, and not from a client that
// is signed in otherwise.
func TestHeadersThatAreReadNeverReachDagster(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	between := &recorder{next: remoteTo(t, k.childAddress())}
	server := httptest.NewServer(between)
	defer server.Close()
	front := startBefore(t, server.URL, options{from: k.elsewhere(headerEnv(
		"DAGSTER_AUTH_BACKEND=header,sqlite", "DAGSTER_AUTH_PROXY_USER_HEADER=Corp-Login", "DAGSTER_AUTH_PROXY_GROUPS_HEADER=Corp-Teams")...)})
	for name, send := range map[string]func(){
		"named by the proxy": func() {
			front.anonymous().do("GET", "/runs", "", "X-Kept", "1", "Corp-Login", "larry", "Corp-Teams", "launchers")
		},
		"signed in by the form": func() {
			front.signIn("vic").do("GET", "/runs", "", "X-Kept", "1", "Corp-Teams", "admins", "Remote-Name", "x")
		},
	} {
		between.take()
		send()
		seen := between.take()
		if len(seen) != 1 {
			t.Errorf("%s: %d requests reached Dagster, want one", name, len(seen))
			continue
		}
		for header := range seen[0] {
			if key := strings.ToLower(header); strings.HasPrefix(key, "corp-") || strings.HasPrefix(key, "remote-") {
				t.Errorf("%s: Dagster was sent %s: %q", name, header, seen[0][header])
			}
		}
		if user := seen[0].Get("X-Forwarded-User"); user != map[string]string{"named by the proxy": "larry", "signed in by the form": "vic"}[name] {
			t.Errorf("%s: Dagster was told of %q", name, user)
		}
	}
}
