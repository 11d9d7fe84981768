package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestTokens is what programs do with tokens, and what nobody gets by one.
func TestTokens(t *testing.T) {
	t.Parallel()
	// The tests' own address is that of a proxy, so that each of them can come from another.
	k := start(t, options{env: []string{"DAGSTER_AUTH_TRUSTED_PROXIES=127.0.0.1/32", "DAGSTER_AUTH_LOG_LEVEL=trace"}})
	tokens := map[string]string{}
	for name := range roles {
		tokens[name] = k.token(name, "of the tests")
	}
	t.Run("Dagster's client", func(t *testing.T) { dagsterClient(t, k, tokens) })
	t.Run("curl", func(t *testing.T) { curl(t, k, tokens) })
	t.Run("its owner's role at most", func(t *testing.T) { ownersRole(t, k) })
	t.Run("beside a cookie", func(t *testing.T) { besideACookie(t, k, tokens) })
	t.Run("other sites", func(t *testing.T) { tokensAndOrigins(t, k, tokens) })
	t.Run("bad ones", func(t *testing.T) { badTokens(t, k, tokens) })
	t.Run("typed as a name", func(t *testing.T) { typedTokens(t, k, tokens) })
	t.Run("many bad ones", func(t *testing.T) { manyBadTokens(t, k, tokens) })
	t.Run("an end", func(t *testing.T) { tokensEnd(t, k) })
	t.Run("WebSockets", func(t *testing.T) { tokenSockets(t, k) })
	t.Run("Dagster sees none", func(t *testing.T) { unseenTokens(t, k, tokens) })
	k.t = t
	k.secretless(tokens["vic"], tokens["larry"], tokens["ed"], tokens["ada"])
}

// typedTokens: a token that is pasted into the form for a name and a password, whole or in part or with something beside it, is
// nobody's name and is written down nowhere, as is looked for at the end. The attempts count as those of any other name do.
func typedTokens(t *testing.T, k *kit, tokens map[string]string) {
	address := []string{"X-Forwarded-For", "198.51.100.77", "Content-Type", "application/x-www-form-urlencoded"}
	try := func(name string) (int, string) {
		form := url.Values{"username": {name}, "password": {"x"}}
		resp, body := k.anonymous().do("POST", "/auth/login", form.Encode(), address...)
		return resp.StatusCode, body
	}
	token := tokens["vic"]
	refused := 0
	for _, name := range []string{token, " " + token + "\t", "vic " + token, token[:40], token + token, strings.ToUpper(token), strings.Repeat("x", 40) + token, token, token, token, token} {
		status, body := try(name)
		if status == http.StatusTooManyRequests {
			refused++
		} else if status != http.StatusUnauthorized {
			t.Errorf("a name with a token in it: got %d, want 401 or 429", status)
		}
		if strings.Contains(body, token[4:40]) {
			t.Errorf("the page has the token:\n%s", body)
		}
	}
	if refused == 0 {
		t.Error("no attempt was one too many")
	}
	if status, _ := try("mistyped-name"); status != http.StatusTooManyRequests && status != http.StatusUnauthorized {
		t.Errorf("the control: got %d", status)
	}
	const typed = "SELECT count(*) FROM audit_events WHERE event ->> 'ip' = '198.51.100.77' AND "
	if n := k.count(typed + "event_type = 'LOGIN_ATTEMPT' AND username LIKE '%dak\\_***%' ESCAPE '\\'"); n < 3 {
		t.Errorf("the trail has %d attempts by a token, want them with dak_*** in its place", n)
	}
	if n := k.count(typed + "event_type = 'RATE_LIMITED'"); n != 1 {
		t.Errorf("the trail has %d rows for attempts that were too many, want one", n)
	}
	if got := k.signIn("ada").graphql("mutation "+token+" { "+token+": setNuxSeen }", nil); got.Status != http.StatusOK {
		t.Errorf("a mutation with a token for its names: got %d: %s", got.Status, got.Body)
	}
	if n := k.count("SELECT count(*) FROM audit_events WHERE event ->> 'operation_name' = 'dak_***'"); n == 0 {
		t.Error("the trail does not have a mutation that is called like a token, want it with dak_*** in its place")
	}
	if out, code := k.cliCode("", "create-token", "--user", "vic", "--name", token); code != 1 || strings.Contains(out, token) {
		t.Errorf("a token that is named like another: exit code %d, want 1\n%s", code, strings.ReplaceAll(out, token, "TOKEN"))
	}
	// The counters hold names in small letters.
	if n := k.count("SELECT count(*) FROM login_attempts WHERE account LIKE ?", "%"+strings.ToLower(token[4:30])+"%"); n != 0 {
		t.Errorf("%d counters have the token", n)
	}
	if n := k.count("SELECT count(*) FROM login_attempts WHERE account = 'dak_***'"); n == 0 {
		t.Error("the control: no counter has what stands for a token")
	}
}

// launch runs the Python client, and returns what it printed.
func launch(t *testing.T, k *kit, header, value string) (string, error) {
	t.Helper()
	u, err := url.Parse(k.url)
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("testdata/client.py")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(venv, "bin", "python"), script, u.Port(), u.Path, header, value)
	cmd.Dir, cmd.Env = k.dir, k.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func dagsterClient(t *testing.T, k *kit, tokens map[string]string) {
	k.cli("", "add-service", "ci", "--role", "launcher")
	ci := k.token("ci", "nightly")
	for _, test := range []struct{ name, header, value, user string }{
		{"a bearer", "Authorization", "Bearer " + tokens["larry"], "larry@example.com"},
		{"Dagster's header", "Dagster-Cloud-Api-Token", ci, "ci"},
	} {
		before := len(k.runs())
		out, err := launch(t, k, test.header, test.value)
		words := strings.Fields(out)
		if err != nil || len(k.runs()) != before+1 || len(words) < 2 || words[0] != "launched" {
			t.Fatalf("%s: %v, %d new runs\n%s", test.name, err, len(k.runs())-before, out)
		}
		run := words[1]
		if tags := strings.Join(k.tags(run, "user", "from"), ", "); tags != "from the client, user "+test.user {
			t.Errorf("%s: the run's tags are %q", test.name, tags)
		}
		k.eventually(3*time.Minute, "the run is done", func() bool { return k.runStatus(run) == "SUCCESS" })
	}
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(k.cli("", "list-tokens", "ci", "--output", "json")), &list); err != nil || len(list) != 1 {
		t.Fatalf("list-tokens: %v, %v", list, err)
	}
	row := `SELECT count(*) FROM audit_events WHERE event_type = 'ACCESS_CONTROL' AND event LIKE '%"identity":"service:ci","token":"' || ? || '","token_name":"nightly"%'`
	if n := k.count(row, list[0].ID); n != 1 {
		t.Errorf("the trail has %d launches with the token %s, want 1", n, list[0].ID)
	}

	k.cli("", "revoke-token", "--user", "ci", "--name", "nightly")
	before := len(k.runs())
	for name, value := range map[string]string{"revoked": ci, "a viewer's": tokens["vic"], "none": "x"} {
		out, err := launch(t, k, "Dagster-Cloud-Api-Token", value)
		if err == nil || !strings.Contains(out, "refused") || len(k.runs()) != before {
			t.Errorf("%s: %v, %d new runs\n%s", name, err, len(k.runs())-before, out)
		}
	}
}

func curl(t *testing.T, k *kit, tokens map[string]string) {
	get := func(path string, flags ...string) (status, body string) {
		t.Helper()
		out, err := exec.Command("curl", append(flags, "-s", "-i", "-H", "X-Forwarded-For: 192.0.2.1", k.url+path)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		head, body, _ := strings.Cut(string(out), "\r\n\r\n")
		if strings.Contains(head, "Set-Cookie: ") && !strings.Contains(head, "Set-Cookie: dagster_authkit=; Path=/; Expires=Thu, 01 Jan 1970") {
			t.Errorf("curl %q got a cookie:\n%s", flags, head)
		}
		return strings.Fields(head)[1], body
	}
	for _, header := range []string{"Authorization: Bearer " + tokens["vic"], "authorization: bearer " + tokens["vic"], "Dagster-Cloud-Api-Token: " + tokens["vic"]} {
		if status, body := get("/graphql", "-H", header, "-H", "Content-Type: application/json", "-d", `{"query":"{version}"}`); status != "200" || !strings.Contains(body, `"version"`) {
			t.Errorf("%s: %s %s", header[:20], status, body)
		}
		if status, _ := get("/runs", "-H", header, "-H", "Accept: text/html"); status != "200" {
			t.Errorf("a page: %s", status)
		}
		status, body := get("/auth/me", "-H", header)
		var me struct{ Username, Role, Backend string }
		if err := json.Unmarshal([]byte(body), &me); err != nil || status != "200" || me.Username != "vic" || me.Role != "viewer" || me.Backend != "local" {
			t.Errorf("/auth/me: %s %s", status, body)
		}
	}
	for name, flags := range map[string][]string{
		"no token": nil, "in the address": {"-u", "vic:" + tokens["vic"]}, "in a cookie": {"-b", "dagster_authkit=" + tokens["vic"]},
	} {
		if status, body := get("/graphql?query=%7Bversion%7D&token="+tokens["vic"]+"&access_token="+tokens["vic"], flags...); status != "401" || strings.Contains(body, `"version"`) {
			t.Errorf("%s: %s %s", name, status, body)
		}
	}
}

// ownersRole changes the owner's role and looks at what a token does that asks for more.
func ownersRole(t *testing.T, k *kit) {
	k.cli("a-person-of-this-test\n", "add-user", "olga", "--role", "editor", "--password-stdin")
	most := k.bearer(k.token("olga", "most", "--role", "admin"))
	least := k.bearer(k.token("olga", "least", "--role", "launcher"))
	if !most.may("olga-1") || least.may("olga-2") {
		t.Error("of an editor: the token that asks for admin has to be an editor's, and that of a launcher no editor's")
	}
	if unknown := most.graphql(`mutation { setAutoMaterializePaused(paused: true) setMutationThatIsNot }`, nil); !strings.Contains(unknown.Body, "Admin") {
		t.Errorf("an editor's token for what needs an admin: %s", unknown.Body)
	}
	k.cli("", "change-role", "olga", "viewer")
	if most.may("olga-3") {
		t.Error("of a viewer: the token that asks for admin made a partition")
	}
	if got := most.graphql("{version}", nil); got.Status != http.StatusOK {
		t.Errorf("reading as a viewer: %d %s", got.Status, got.Body)
	}
	k.cli("", "disable-user", "olga")
	if got := most.graphql("{version}", nil); got.Status != http.StatusUnauthorized {
		t.Errorf("of somebody disabled: %d %s", got.Status, got.Body)
	}
	k.cli("", "enable-user", "olga")
	k.cli("", "change-role", "olga", "editor")
	if !most.may("olga-4") {
		t.Error("the control, an editor again: no partition was made")
	}
	k.cli("", "delete-user", "olga", "--yes")
	if got := most.graphql("{version}", nil); got.Status != http.StatusUnauthorized || most.may("olga-5") {
		t.Errorf("of somebody deleted: %d %s", got.Status, got.Body)
	}
}

// besideACookie sends both: the token counts, and a bad one is not made good by a cookie.
func besideACookie(t *testing.T, k *kit, tokens map[string]string) {
	const from = "192.0.2.2"
	ada, vic := k.signIn("ada"), k.signIn("vic")
	me := func(cookie, token string) (int, string) {
		t.Helper()
		resp, body := k.bearer(token).do("GET", "/auth/me", "", "Cookie", cookie, "X-Forwarded-For", from)
		if len(resp.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("an answer to a token has the cookies %q", resp.Header.Values("Set-Cookie"))
		}
		var who struct{ Username string }
		_ = json.Unmarshal([]byte(body), &who)
		return resp.StatusCode, who.Username
	}
	for _, test := range []struct {
		name, cookie, token string
		status              int
		who                 string
	}{
		{"an admin's cookie, a viewer's token", ada.cookie(), tokens["vic"], 200, "vic"},
		{"a viewer's cookie, an admin's token", vic.cookie(), tokens["ada"], 200, "ada"},
		{"a cookie of nobody's", "dagster_authkit=x", tokens["ada"], 200, "ada"},
		{"a mistyped token", ada.cookie(), tokens["ada"][:52] + "-", 401, ""},
		{"a token that was made up", ada.cookie(), "dak_00000000000000000000000000000000000000000003jZRME", 401, ""},
		{"a cut token", ada.cookie(), tokens["ada"][:40], 401, ""},
	} {
		if status, who := me(test.cookie, test.token); status != test.status || who != test.who {
			t.Errorf("%s: got %d %q, want %d %q", test.name, status, who, test.status, test.who)
		}
	}
	for i, token := range []string{tokens["vic"], tokens["ada"][:52] + "-"} {
		c := k.bearer(token)
		c.do("POST", "/graphql", `{"query":`+fmt.Sprintf("%q", mutationFor(fmt.Sprintf("cookie-%d", i)))+`}`, "Content-Type", "application/json", "Cookie", ada.cookie(), "X-Forwarded-For", from)
		if k.hasPartition(fmt.Sprintf("cookie-%d", i)) {
			t.Errorf("an admin's cookie did what token %d may not", i)
		}
	}
	if resp, _ := ada.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("the control: the cookie alone gets %d", resp.StatusCode)
	}
}

// tokensAndOrigins: no foreign page can send a token in somebody's name, but it can a cookie.
func tokensAndOrigins(t *testing.T, k *kit, tokens map[string]string) {
	ed := k.bearer(tokens["ed"])
	foreign := []string{"Content-Type", "application/json", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}
	post := func(c *client, key string, more ...string) int {
		t.Helper()
		resp, _ := c.do("POST", "/graphql", `{"query":`+fmt.Sprintf("%q", strings.Join(strings.Fields(mutationFor(key)), " "))+`}`, append(more, foreign...)...)
		return resp.StatusCode
	}
	if status := post(ed, "origin-token"); status != http.StatusOK || !k.hasPartition("origin-token") {
		t.Errorf("a token from elsewhere: %d", status)
	}
	cookie := k.signIn("ed").cookie()
	if status := post(ed, "origin-both", "Cookie", cookie); status != http.StatusForbidden || k.hasPartition("origin-both") {
		t.Errorf("a token and a cookie from elsewhere: %d, want 403", status)
	}
	if status := post(k.signIn("ed"), "origin-cookie"); status != http.StatusForbidden || k.hasPartition("origin-cookie") {
		t.Errorf("a cookie from elsewhere: %d, want 403", status)
	}
	if status := post(k.program("Authorization", "Bearer eyJhbGciOiJ"), "origin-other", "Cookie", cookie); status != http.StatusForbidden {
		t.Errorf("another bearer and a cookie from elsewhere: %d, want 403", status)
	}
}

// badTokens are told apart from nobody: 401 in JSON whatever is asked for, and no page to sign in.
func badTokens(t *testing.T, k *kit, tokens map[string]string) {
	good := tokens["ada"]
	for i, headers := range [][]string{
		{"Authorization", "Bearer " + good[:52]},
		{"Authorization", "Bearer " + good + "0"},
		{"Authorization", "Bearer " + strings.ToUpper(good[:10]) + good[10:], "Dagster-Cloud-Api-Token", good[:50]},
		{"Authorization", "Basic " + good},
		{"Authorization", good},
		{"Authorization", "Bearer  " + good},
		{"Authorization", "Bearer\t" + good},
		{"Authorization", "Bearer " + good + ",Bearer " + tokens["vic"]},
		{"Authorization", "Bearer " + good, "Authorization", "Bearer " + tokens["vic"]},
		{"Authorization", "Bearer " + good, "Dagster-Cloud-Api-Token", tokens["vic"]},
		{"Dagster-Cloud-Api-Token", good, "Dagster-Cloud-Api-Token", tokens["vic"]},
		{"Dagster-Cloud-Api-Token", "Bearer " + good},
		{"Dagster-Cloud-Api-Token", good[:30] + " " + good[30:]},
	} {
		for _, request := range [][]string{{"GET", "/runs", "Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, {"GET", "/auth/me"}, {"GET", "/server_info"}} {
			all := append(append([]string{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i+1)}, request[2:]...), headers...)
			resp, body := k.program("X-Kept", "kept").do(request[0], request[1], "", all...)
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Content-Type") != "application/json" || len(resp.Header.Values("Set-Cookie")) > 0 ||
				!strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer ") || !strings.Contains(body, "UNAUTHENTICATED") || strings.Contains(body, good[4:20]) {
				t.Errorf("%d %s: got %d %v\n%s", i, request[1], resp.StatusCode, resp.Header, body)
			}
		}
	}
	// The controls: the good one in each of the two, and somebody who has none is shown the way in.
	for _, headers := range [][]string{{"Authorization", "Bearer " + good}, {"Dagster-Cloud-Api-Token", good}, {"Authorization", "Bearer " + good, "Dagster-Cloud-Api-Token", good}} {
		if resp, _ := k.program("X-Kept", "kept").do("GET", "/runs", "", append(headers, "Accept", "text/html")...); resp.StatusCode != http.StatusOK {
			t.Errorf("the control %q: %d", headers[0], resp.StatusCode)
		}
	}
	if resp, _ := k.anonymous().page("/runs"); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the control, nobody: %d, want 303", resp.StatusCode)
	}
}

// manyBadTokens come from one address, which is told to wait; its good ones are taken, and other addresses are not concerned.
func manyBadTokens(t *testing.T, k *kit, tokens map[string]string) {
	try := func(address, token string) *http.Response {
		t.Helper()
		resp, _ := k.bearer(token).do("GET", "/auth/me", "", "X-Forwarded-For", address)
		return resp
	}
	counts := map[int]int{}
	for range 200 {
		resp := try("203.0.113.1", "dak_00000000000000000000000000000000000000000003jZRME")
		counts[resp.StatusCode]++
		if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
			t.Fatal("429 without Retry-After")
		}
	}
	if counts[401] < 20 || counts[429] < 100 || counts[401]+counts[429] != 200 {
		t.Errorf("200 bad tokens: %v", counts)
	}
	if resp := try("203.0.113.1", tokens["vic"]); resp.StatusCode != http.StatusOK {
		t.Errorf("a good token from there: %d", resp.StatusCode)
	}
	if resp := try("203.0.113.2", "dak_00000000000000000000000000000000000000000003jZRME"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad token from elsewhere: %d", resp.StatusCode)
	}
	rows := k.count(`SELECT count(*) FROM audit_events WHERE event_type IN ('TOKEN_REFUSED', 'RATE_LIMITED') AND ip = '203.0.113.1'`)
	if limited := k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'RATE_LIMITED' AND ip = '203.0.113.1'`); limited < 1 || rows > 60 {
		t.Errorf("the trail has %d rows of it, %d of the limit", rows, limited)
	}
}

// lifetimes of tokens whose ends are waited for: where one is over before it was used, the next is longer.
var lifetimes = []string{"3s", "10s", "30s", "60s"}

// tokensEnd lets one expire.
func tokensEnd(t *testing.T, k *kit) {
	long := k.bearer(k.token("vic", "long", "--expires", "1h"))
	var short *client
	var name string
	for _, lifetime := range lifetimes {
		name = "short " + lifetime
		short = k.bearer(k.token("vic", name, "--expires", lifetime))
		resp, _ := short.do("GET", "/auth/me", "")
		if resp.StatusCode == http.StatusOK {
			break
		}
		if lifetime == lifetimes[len(lifetimes)-1] {
			t.Fatalf("before its end: %d", resp.StatusCode)
		}
	}
	k.eventually(3*time.Minute, "it has expired", func() bool {
		resp, _ := short.do("GET", "/auth/me", "", "X-Forwarded-For", "192.0.2.3")
		return resp.StatusCode != http.StatusOK
	})
	if resp, _ := long.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("the control, one that lasts: %d", resp.StatusCode)
	}
	k.eventually(4*time.Minute, "the trail says so", func() bool {
		return k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'TOKEN_EXPIRED' AND username = 'vic' AND event LIKE '%"token_name":"' || ? || '"%'`, name) == 1
	})
	k.tells(`"event_type":"TOKEN_EXPIRED"`)
}

// tokenSocketEnds: a WebSocket does not outlive the token that it was opened with.
func tokenSocketEnds(t *testing.T, k *kit, open func(token string) (*websocket.Conn, error)) {
	t.Helper()
	for _, lifetime := range lifetimes {
		conn, err := open(k.token("sid", "its end after "+lifetime, "--expires", lifetime))
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != 4401 {
			t.Errorf("its end: it closed with %v, want 4401", err)
		}
		return
	}
	t.Error("no token lasted until its WebSocket was open")
}

// tokenSockets: a change in another process closes a token's WebSockets.
func tokenSockets(t *testing.T, k *kit) {
	k.cli("a-person-of-this-test\n", "add-user", "sid", "--role", "editor", "--password-stdin")
	open := func(token string) (*websocket.Conn, error) {
		t.Helper()
		conn, _, err := k.anonymous().socket("/graphql", http.Header{"Authorization": {"Bearer " + token}, "Origin": {"https://evil.example"}}, "graphql-ws")
		return conn, err
	}
	by, err := open(k.token("vic", "bystander"))
	if err != nil {
		t.Fatal(err)
	}
	tokenSocketEnds(t, k, open)
	for _, test := range []struct {
		name   string
		flags  []string
		change [2][]string // and what undoes it
	}{
		{"revoke-token", nil, [2][]string{{"revoke-token", "--user", "sid", "--name", "revoke-token"}}},
		{"another role", nil, [2][]string{{"change-role", "sid", "launcher"}, {"change-role", "sid", "editor"}}},
		{"a grant", []string{"--location", "defs.py"}, [2][]string{{"grant", "sid", "admin", "--location", "defs.py"}, {"revoke-grant", "sid", "--location", "defs.py"}}},
		{"disable-user", nil, [2][]string{{"disable-user", "sid"}, {"enable-user", "sid"}}},
		{"delete-user", nil, [2][]string{{"delete-user", "sid", "--yes"}}},
	} {
		token := k.token("sid", test.name, test.flags...)
		conn, err := open(token)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := talk(t, conn, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
			t.Errorf("%s: it answered %v before", test.name, got)
		}
		if conn, err = open(token); err != nil { // a read that was given up closes the one before
			t.Fatalf("%s: %v", test.name, err)
		}
		closed := make(chan error, 1)
		go func() {
			_, _, err := conn.Read(context.Background())
			closed <- err
		}()
		k.cli("", test.change[0]...)
		select {
		case err := <-closed:
			if status := websocket.CloseStatus(err); status != 4401 {
				t.Errorf("%s: it closed with %d (%v), want 4401", test.name, status, err)
			}
		case <-time.After(slowly):
			t.Errorf("%s: it is still open", test.name)
		}
		if test.change[1] != nil {
			k.cli("", test.change[1]...)
		}
	}
	if got := talk(t, by, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
		t.Errorf("the bystander's answered %v, want connection_ack", got)
	}
	for name, header := range map[string]http.Header{"a bad token": {"Authorization": {"Bearer dak_x"}}, "the query": {}} {
		if _, resp, err := k.anonymous().socket("/graphql?token="+k.token("vic", name), header, "graphql-ws"); err == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v, want 401", name, err)
		}
	}
}

// unseenTokens looks at what reaches Dagster, by a server between the two that writes it down.
func unseenTokens(t *testing.T, k *kit, tokens map[string]string) {
	between := &recorder{next: remoteTo(t, k.childAddress())}
	server := httptest.NewServer(between)
	defer server.Close()
	front := startBefore(t, server.URL, options{from: k.elsewhere()})
	for name, c := range map[string]*client{
		"a bearer": front.bearer(tokens["ed"]), "Dagster's header": front.program("Dagster-Cloud-Api-Token", tokens["ed"]),
	} {
		// A mutation, as a query that others may join goes with nobody's headers.
		c.do("POST", "/graphql", `{"query":"mutation { setNuxSeen }"}`, "Content-Type", "application/json", "X-Kept", "kept")
		c.do("GET", "/runs", "", "X-Kept", "kept", "Dagster_Cloud_Api_Token", tokens["ed"])
		if _, _, err := front.anonymous().socket("/graphql", http.Header{"X-Kept": {"kept"}, "Authorization": {"Bearer " + tokens["ed"]}}, "graphql-ws"); err != nil {
			t.Fatal(err)
		}
		seen := between.take()
		if len(seen) != 3 {
			t.Errorf("%s: %d requests reached Dagster, want 3", name, len(seen))
		}
		for _, header := range seen {
			if text := fmt.Sprint(header); strings.Contains(text, tokens["ed"][4:20]) || header.Get("X-Forwarded-User") != "ed" {
				t.Errorf("%s: Dagster saw %s", name, text)
			}
		}
	}
	// The control: credentials that are not ours go on.
	front.signIn("ed").do("GET", "/runs", "", "X-Kept", "kept", "Authorization", "Basic c29tZWJvZHk6ZWxzZQ==")
	if seen := between.take(); len(seen) != 1 || seen[0].Get("Authorization") == "" {
		t.Errorf("the control: Dagster saw %v", seen)
	}
}

// TestTokenInOneLocation: a token for a code location does there what its owner may, and reads elsewhere.
func TestTokenInOneLocation(t *testing.T) {
	t.Parallel()
	k := startLocations(t, options{})
	ed := k.signIn("ed")
	k.settled(ed)
	a, b := placeOf(t, ed, "loc_a.py"), placeOf(t, ed, "loc_b.py")
	k.cli("a-person-of-this-test\n", "add-user", "greta", "--role", "viewer", "--password-stdin")
	k.cli("", "grant", "greta", "launcher", "--location", "loc_a.py")
	k.cli("", "grant", "greta", "editor", "--location", "loc_b.py")
	for _, test := range []struct {
		name, owner string
		flags       []string
		inA, inB    bool
		everywhere  bool
	}{
		{"an editor's", "ed", nil, true, true, true},
		{"an editor's, in a", "ed", []string{"--location", "loc_a.py"}, true, false, false},
		{"an editor's, as a viewer in a", "ed", []string{"--location", "loc_a.py", "--role", "viewer"}, false, false, false},
		{"an editor's, as a launcher", "ed", []string{"--role", "launcher"}, true, true, false},
		{"an admin's, in b", "ada", []string{"--location", "loc_b.py"}, false, true, false},
		{"a viewer's with grants", "greta", nil, true, true, false},
		{"a viewer's with grants, as an admin in a", "greta", []string{"--location", "loc_a.py", "--role", "admin"}, true, false, false},
		{"a viewer's with grants, in b", "greta", []string{"--location", "loc_b.py"}, false, true, false},
		{"a viewer's with grants, as a viewer", "greta", []string{"--role", "viewer"}, false, false, false},
		{"a viewer's with grants, elsewhere", "greta", []string{"--location", "defs.py", "--role", "admin"}, false, false, false},
		{"a viewer's, in a", "vic", []string{"--location", "loc_a.py", "--role", "admin"}, false, false, false},
	} {
		c := k.bearer(k.token(test.owner, test.name, test.flags...))
		for _, one := range []struct {
			place place
			want  bool
		}{{a, test.inA}, {b, test.inB}} {
			before := len(k.runs())
			refused, got := c.try(one.place.launch(nil), "literals")
			if made := len(k.runs()) - before; refused == one.want || made == 1 != one.want {
				t.Errorf("%s: in %s: refused %v, %d runs made, want %v\n%s", test.name, one.place.file, refused, made, one.want, got.Body)
			}
		}
		if got := c.graphql(`mutation { reloadWorkspace { __typename } }`, nil); (got.typename("reloadWorkspace") == "Workspace") != test.everywhere {
			t.Errorf("%s: reloading everything: %s, want %v", test.name, got.Body, test.everywhere)
		}
		if got := c.graphql(`{ runsOrError { ... on Runs { results { runId } } } }`, nil); got.Status != http.StatusOK || !strings.Contains(got.Body, "results") {
			t.Errorf("%s: reading: %s", test.name, got.Body)
		}
	}
}

// TestServiceToken is the one token that the environment may hold, as the Python AuthKit has it.
func TestServiceToken(t *testing.T) {
	t.Parallel()
	const secret, metrics = "a-service-token-of-this-test-0123456789", "a-token-of-a-collector"
	k := start(t, options{env: []string{
		"DAGSTER_AUTH_SERVICE_TOKEN=" + secret, "DAGSTER_AUTH_SERVICE_TOKEN_ROLE=LAUNCHER", "DAGSTER_AUTH_METRICS_TOKEN=" + metrics,
	}})
	before := len(k.runs())
	if out, err := launch(t, k, "Dagster-Cloud-Api-Token", secret); err != nil || len(k.runs()) != before+1 {
		t.Fatalf("%v, %d new runs\n%s", err, len(k.runs())-before, out)
	}
	if tags := k.tags(k.runs()[0], "user"); fmt.Sprint(tags) != "[user service-token]" {
		t.Errorf("the run's tags are %v", tags)
	}
	for name, value := range map[string]string{"a wrong one": secret[:38] + "x", "more": secret + "0", "less": secret[:38], "nothing": ""} {
		c := k.program("Dagster-Cloud-Api-Token", value)
		if got := c.graphql("{version}", nil); got.Status != http.StatusUnauthorized || strings.Contains(got.Body, `"version"`) {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
	right := k.program("Dagster-Cloud-Api-Token", secret)
	if right.may("static") {
		t.Error("a launcher's token made a partition")
	}
	if got := right.graphql("{version}", nil); got.Status != http.StatusOK {
		t.Errorf("the control: %d %s", got.Status, got.Body)
	}
	if _, body := right.page("/auth/logout"); !strings.Contains(body, "A token says") || strings.Contains(body, "<form") || strings.Contains(body, "proxy") {
		t.Errorf("the sign-out page of a program speaks of a session or a proxy:\n%s", body)
	}
	// Tokens of create-token are taken in the same header, and the collector's bearer is no token of a program.
	if got := k.program("Dagster-Cloud-Api-Token", k.token("vic", "other")).graphql("{version}", nil); got.Status != http.StatusOK {
		t.Errorf("another token: %d %s", got.Status, got.Body)
	}
	if resp, body := k.bearer(metrics).do("GET", "/auth/metrics", ""); resp.StatusCode != http.StatusOK || !strings.Contains(body, "dagster_authkit_") {
		t.Errorf("metrics: %d", resp.StatusCode)
	}
	if resp, _ := k.bearer(metrics).do("GET", "/auth/me", ""); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("the collector's bearer elsewhere: %d, want 401 as for nobody", resp.StatusCode)
	}
	conn, _, err := k.anonymous().socket("/graphql", http.Header{"Dagster-Cloud-Api-Token": {secret}}, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	if got := talk(t, conn, 1, initFrame); len(got) != 1 || got[0] != "connection_ack" {
		t.Errorf("a WebSocket answered %v", got)
	}
	for place, text := range map[string]string{"stdout": k.stdout.String(), "stderr": k.stderr.String()} {
		if strings.Contains(text, secret) {
			t.Errorf("the token is in %s", place)
		}
	}
}
