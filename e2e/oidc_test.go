package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// account is who AuthKit takes the client for; nobody is nameless. "Not now", as when the machine stood still and the provider is to
// be asked first, is no answer.
func (c *client) account() (me struct{ Username, Email, Role, Backend string }) {
	c.t.Helper()
	var resp *http.Response
	var body string
	c.kit.eventually(time.Minute, "AuthKit says who it is", func() bool {
		resp, body = c.do("GET", "/auth/me", "")
		return resp.StatusCode != http.StatusServiceUnavailable
	})
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &me); err != nil {
			c.t.Errorf("who am I: %v\n%s", err, body)
		}
	}
	return me
}

// session is the client's session cookie, without those that the provider has set on the same host.
func (c *client) session() string {
	c.t.Helper()
	for pair := range strings.SplitSeq(c.cookie(), "; ") {
		if strings.HasPrefix(pair, "dagster_authkit=") {
			return pair
		}
	}
	return ""
}

// TestOIDC signs people in at a real provider, and tries what attackers would.
func TestOIDC(t *testing.T) {
	t.Parallel()
	k, p := startOIDC(t, options{}, nil, "DAGSTER_AUTH_OIDC_ALLOWED_DOMAINS=example.com", "DAGSTER_AUTH_REFRESH_INTERVAL=20s")
	for name, test := range map[string]func(*testing.T, *kit, *realProvider){
		"SignIn": oidcSignIn, "StolenState": oidcStolenState, "Replays": oidcReplays, "Fixation": oidcFixation, "Next": oidcNext,
		"WhoMayEnter": oidcWhoMayEnter, "ParallelTabs": oidcParallelTabs, "BackChannelLogout": oidcBackChannel,
		"RefusedNotices": oidcRefusedNotices, "SignOut": oidcSignOut, "Gone": oidcGone, "Disabled": oidcDisabled, "Local": oidcLocal,
	} {
		t.Run(name, func(t *testing.T) {
			mine := *k
			mine.t = t
			test(t, &mine, p)
		})
	}
	if said := k.stdout.String() + k.stderr.String(); strings.Contains(said, clientSecret) || strings.Contains(said, "code=") || strings.Contains(said, "eyJ") {
		t.Error("a secret, a code or a token is in the log")
	}
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(k.db + suffix)
		if err == nil && (strings.Contains(string(data), "eyJ") || strings.Contains(string(data), clientSecret)) {
			t.Errorf("a token or the secret is in the database%s in clear", suffix)
		}
	}
}

func oidcSignIn(t *testing.T, k *kit, p *realProvider) {
	c := k.anonymous()
	_, body := c.page("/auth/login?next=%2Fassets")
	if !strings.Contains(body, `href="/auth/oidc/sso/login?next=%2fassets"`) || !strings.Contains(body, "Sign in with Company SSO") || !strings.Contains(body, `name="password"`) {
		t.Errorf("the sign-in page has no button and form:\n%s", body)
	}
	resp, _ := c.page("/auth/oidc/sso/login?next=%2Fassets")
	cookies := resp.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Path != "/auth/" || cookies[0].MaxAge != 600 {
		t.Errorf("the ticket's cookie is %v", cookies)
	}
	resp, _ = c.visit("GET", c.depart("sso", "/assets", "ada-1"), "")
	if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != "/assets" {
		t.Fatalf("got %d to %q, want 303 to /assets", resp.StatusCode, got)
	}
	if me := c.account(); me.Username != "ada" || me.Role != "admin" || me.Email != "ada@example.com" || me.Backend != "oidc" {
		t.Errorf("who am I: got %+v", me)
	}
	if got := c.addPartition("oidc"); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
		t.Errorf("an admin's mutation: got %s", got.Body)
	}
	if vic := k.signInAs("vic-1"); vic.account().Role != "viewer" || vic.addPartition("no").typename("addDynamicPartition") != "UnauthorizedError" {
		t.Errorf("a viewer is %+v, and may do too much", vic.account())
	}
	k.tells(`"identity":"oidc:` + p.url + `|ada-1"`) // by issuer and subject
}

// oidcStolenState: whoever lures somebody to the end of another's sign-in signs nobody in.
func oidcStolenState(t *testing.T, k *kit, _ *realProvider) {
	attacker, victim := k.anonymous(), k.anonymous()
	callback := attacker.depart("sso", "/", "vic-1")
	if resp, body := victim.visit("GET", callback, ""); resp.StatusCode != http.StatusBadRequest || victim.session() != "" || !strings.Contains(body, "Begin again") {
		t.Errorf("in another browser: got %d and the cookie %q", resp.StatusCode, victim.session())
	}
	// With a sign-in of their own going on, too.
	victim.depart("sso", "/", "ada-1")
	if resp, _ := victim.visit("GET", callback, ""); resp.StatusCode != http.StatusBadRequest || victim.account().Username != "" {
		t.Errorf("in another browser that is signing in: got %d as %q", resp.StatusCode, victim.account().Username)
	}
	if resp, _ := attacker.visit("GET", callback, ""); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the control, in the same browser: got %d", resp.StatusCode)
	}
}

func oidcReplays(t *testing.T, k *kit, _ *realProvider) {
	c := k.anonymous()
	callback := c.depart("sso", "/", "vic-1")
	u, _ := url.Parse(callback)
	saved := c.http.Jar.Cookies(u) // as an attacker who reads this browser's cookies would
	if resp, _ := c.visit("GET", callback, ""); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("the control: got %d", resp.StatusCode)
	}
	if resp, _ := c.visit("GET", callback, ""); resp.StatusCode != http.StatusBadRequest || c.account().Username != "vic" {
		t.Errorf("the callback again: got %d as %q, want 400, and vic still signed in", resp.StatusCode, c.account().Username)
	}
	again := k.anonymous()
	again.http.Jar.SetCookies(u, saved)
	if resp, _ := again.visit("GET", callback, ""); resp.StatusCode != http.StatusBadRequest || again.account().Username != "" {
		t.Errorf("the callback with its ticket again: got %d as %q", resp.StatusCode, again.account().Username)
	}
	// A used code in a new sign-in.
	fresh, _ := url.Parse(again.depart("sso", "/", "vic-1"))
	query := fresh.Query()
	query.Set("code", u.Query().Get("code"))
	fresh.RawQuery = query.Encode()
	if resp, _ := again.visit("GET", fresh.String(), ""); resp.StatusCode != http.StatusBadRequest || again.account().Username != "" {
		t.Errorf("a used code: got %d as %q", resp.StatusCode, again.account().Username)
	}
	// The provider's error is a page of ours, without a word of what stands in the address.
	other := k.anonymous()
	denied, _ := url.Parse(other.depart("sso", "/", "vic-1"))
	query = denied.Query()
	query.Del("code")
	query.Set("error", "access_denied")
	query.Set("error_description", "<script>alert(1)</script>Call 555-1234")
	denied.RawQuery = query.Encode()
	resp, body := other.visit("GET", denied.String(), "")
	if resp.StatusCode != http.StatusForbidden || strings.Contains(body, "555-1234") || !strings.Contains(body, "cancelled") {
		t.Errorf("access_denied: got %d\n%s", resp.StatusCode, body)
	}
}

// oidcFixation: a session that was planted before is worth nothing after.
func oidcFixation(t *testing.T, k *kit, _ *realProvider) {
	attacker := k.signInAs("vic-1")
	planted := attacker.session()
	victim := k.anonymous()
	u, _ := url.Parse(k.url + "/")
	for _, cookie := range attacker.http.Jar.Cookies(u) {
		if cookie.Name == "dagster_authkit" {
			victim.http.Jar.SetCookies(u, []*http.Cookie{cookie})
		}
	}
	if resp, _ := victim.visit("GET", victim.depart("sso", "/", "ada-1"), ""); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("got %d", resp.StatusCode)
	}
	if victim.session() == planted || victim.account().Username != "ada" || attacker.account().Username != "" {
		t.Errorf("after signing in the victim is %q and the attacker %q", victim.account().Username, attacker.account().Username)
	}
}

func oidcNext(t *testing.T, k *kit, _ *realProvider) {
	for next, want := range map[string]string{
		"/runs?x=1": "/runs?x=1", "https://evil.com/": "/", "//evil.com/": "/", `/\evil.com`: "/", "javascript:alert(1)": "/", "/auth/logout": "/",
		"/\tevil": "/", "/runs/" + strings.Repeat("x", 3000): "/",
	} {
		c := k.anonymous()
		if resp, _ := c.visit("GET", c.depart("sso", next, "vic-1"), ""); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != want {
			t.Errorf("%.40q: got %d to %q, want %q", next, resp.StatusCode, resp.Header.Get("Location"), want)
		}
	}
}

func oidcWhoMayEnter(t *testing.T, k *kit, p *realProvider) {
	for sub, want := range map[string]string{"nora-1": "strangers", "eve-1": "not verified", "mallory": "none of the domains"} {
		c := k.anonymous()
		resp, body := c.visit("GET", c.depart("sso", "/", sub), "")
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, want) || c.session() != "" {
			t.Errorf("%s: got %d and the cookie %q, want 403 and %q\n%s", sub, resp.StatusCode, c.session(), want, body)
		}
	}
	k.tells("NO_ROLE", "EMAIL_NOT_VERIFIED", "EMAIL_DOMAIN")
	// What needs no account anywhere does not fill the trail.
	denied := func() int64 { return k.count(`SELECT count(*) FROM audit_events WHERE event LIKE '%ACCESS_DENIED%'`) }
	written := denied()
	for range 5 {
		c := k.anonymous()
		resp, _ := c.page("/auth/oidc/sso/login")
		leaves, err := url.Parse(resp.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		back := url.Values{"state": {leaves.Query().Get("state")}, "iss": {p.url}, "error": {"access_denied"}}
		if resp, _ := c.page("/auth/oidc/sso/callback?" + back.Encode()); resp.StatusCode != http.StatusForbidden {
			t.Errorf("access_denied: got %d, want 403", resp.StatusCode)
		}
	}
	if now := denied(); now > written+1 {
		t.Errorf("five refusals that anybody can bring about made %d events, want one at most", now-written)
	}
}

// oidcParallelTabs: each tab comes to where it wanted, in any order, and none logs another out.
func oidcParallelTabs(t *testing.T, k *kit, _ *realProvider) {
	c := k.anonymous()
	first, second := c.depart("sso", "/runs", "vic-1"), c.depart("sso", "/assets", "vic-1")
	for callback, want := range map[string]string{second: "/assets", first: "/runs"} {
		if resp, _ := c.visit("GET", callback, ""); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != want || c.account().Username != "vic" {
			t.Errorf("got %d to %q as %q, want %q as vic", resp.StatusCode, resp.Header.Get("Location"), c.account().Username, want)
		}
	}
	// Many that were begun and left don't fill the browser's headers, and the last one still works.
	var last string
	for range 12 {
		last = c.depart("sso", "/runs/"+strings.Repeat("x", 900), "vic-1")
	}
	u, _ := url.Parse(last)
	size, tickets := 0, 0
	for _, cookie := range c.http.Jar.Cookies(u) {
		if strings.HasPrefix(cookie.Name, "dagster_authkit_signin_") {
			size, tickets = size+len(cookie.Value), tickets+1
		}
	}
	if tickets == 0 || tickets > 5 || size > 6<<10 {
		t.Errorf("the browser holds %d tickets of %d bytes", tickets, size)
	}
	if resp, _ := c.visit("GET", last, ""); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("the last of many: got %d", resp.StatusCode)
	}
	// At the same time, from two tabs that share one browser's cookies.
	callbacks := []string{c.depart("sso", "/runs", "vic-1"), c.depart("sso", "/assets", "vic-1")}
	var both sync.WaitGroup
	for _, callback := range callbacks {
		both.Go(func() {
			if resp, _ := c.visit("GET", callback, ""); resp.StatusCode != http.StatusSeeOther {
				t.Errorf("at the same time: got %d", resp.StatusCode)
			}
		})
	}
	both.Wait()
	if c.account().Username != "vic" {
		t.Error("two sign-ins at the same time signed the browser out")
	}
}

// oidcBackChannel: who signs out at the provider is out here at once, open WebSockets included, and nobody else.
func oidcBackChannel(t *testing.T, k *kit, p *realProvider) {
	c, elsewhere := k.signInAs("vic-1"), k.signInAs("vic-1")
	conn, _, err := c.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(context.Background())
		closed <- err
	}()
	c.signOutAtProvider(p)
	select {
	case err := <-closed:
		if status := websocket.CloseStatus(err); status != 4401 {
			t.Errorf("the socket closed with %d (%v), want 4401", status, err)
		}
	case <-time.After(slowly):
		t.Error("the socket is still open")
	}
	if c.account().Username != "" {
		t.Error("the session is still there")
	}
	if elsewhere.account().Username != "vic" {
		t.Error("the same person's session of another browser, which is another one at the provider, ended too")
	}
	k.tells("SIGNED_OUT_AT_PROVIDER")
}

// signOutAtProvider goes through the provider's own page.
func (c *client) signOutAtProvider(p *realProvider) {
	c.t.Helper()
	_, body := c.visit("GET", p.url+"/session/end", "")
	_, token, found := strings.Cut(body, `name="xsrf" value="`)
	if !found {
		c.t.Fatalf("the provider's page has no form:\n%s", body)
	}
	token, _, _ = strings.Cut(token, `"`)
	if resp, body := c.visit("POST", p.url+"/session/end/confirm", url.Values{"xsrf": {token}, "logout": {"yes"}}.Encode()); resp.StatusCode >= 400 {
		c.t.Fatalf("signing out at the provider: got %d\n%s", resp.StatusCode, body)
	}
}

func oidcRefusedNotices(t *testing.T, k *kit, _ *realProvider) {
	c := k.signInAs("vic-1")
	for name, form := range map[string]string{
		"nothing": "", "no token": "logout_token=", "no JWT": "logout_token=x.y.z", "two": "logout_token=a&logout_token=b",
		"unsigned": "logout_token=eyJhbGciOiJub25lIn0.eyJzdWIiOiJ2aWMtMSJ9.", "large": "logout_token=" + strings.Repeat("x", 100_000),
	} {
		resp, body := k.anonymous().do("POST", "/auth/oidc/sso/backchannel-logout", form, "Content-Type", "application/x-www-form-urlencoded")
		if resp.StatusCode != http.StatusBadRequest || body != `{"error":"invalid_request"}` {
			t.Errorf("%s: got %d %s, want 400", name, resp.StatusCode, body)
		}
	}
	for path, want := range map[string]int{
		"/auth/oidc/nobody/login": 404, "/auth/oidc/sso": 404, "/auth/oidc/sso/": 404, "/auth/oidc/": 404, "/auth/oidc/sso/other": 404,
		"/auth/oidc/sso/backchannel-logout": 405, "/auth/oidc/sso/callback": 400,
	} {
		if resp, _ := c.page(path); resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, resp.StatusCode, want)
		}
	}
	if c.account().Username != "vic" {
		t.Error("a notice of nobody's ended a session")
	}
}

// oidcSignOut: signing out here leads to the provider, with the session that ends there.
func oidcSignOut(t *testing.T, k *kit, p *realProvider) {
	c := k.signInAs("vic-1")
	resp, body := c.visit("POST", k.url+"/auth/logout", "")
	_, address, found := strings.Cut(body, `content="0;url=`)
	address, _, _ = strings.Cut(address, `"`)
	if resp.StatusCode != http.StatusOK || !found || c.session() != "" || !strings.HasPrefix(address, p.url+"/session/end?") {
		t.Fatalf("got %d and the cookie %q\n%s", resp.StatusCode, c.session(), body)
	}
	resp, body = c.visit("GET", strings.ReplaceAll(address, "&amp;", "&"), "")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "xsrf") {
		t.Errorf("the provider's page: got %d\n%s", resp.StatusCode, body)
	}
}

// oidcGone: who is gone at the provider, or in no group any more, is out at the next refresh.
func oidcGone(t *testing.T, k *kit, p *realProvider) {
	p.person("temp-1", map[string]any{"preferred_username": "temp", "email": "temp@example.com", "email_verified": true, "groups": []string{"data-admins"}})
	stays, c := k.signInAs("ada-1"), k.signInAs("temp-1")
	if c.account().Role != "admin" {
		t.Fatalf("got %+v", c.account())
	}
	p.person("temp-1", map[string]any{"preferred_username": "temp", "email": "temp@example.com", "email_verified": true, "groups": []string{"analysts"}})
	k.eventually(3*time.Minute, "the new groups count", func() bool { return c.account().Role == "viewer" })
	p.person("temp-1", nil)
	k.eventually(3*time.Minute, "the session is over", func() bool { return c.account().Username == "" })
	if stays.account().Username != "ada" {
		t.Error("somebody else was signed out")
	}
}

func oidcDisabled(t *testing.T, k *kit, p *realProvider) {
	p.person("dora-1", map[string]any{"preferred_username": "dora", "email": "dora@example.com", "email_verified": true, "groups": []string{"analysts"}})
	c := k.signInAs("dora-1")
	k.cli("", "disable-user", "dora")
	if c.account().Username != "" {
		t.Error("a disabled user is still signed in")
	}
	resp, body := c.visit("GET", c.depart("sso", "/", "dora-1"), "")
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "disabled") || c.account().Username != "" {
		t.Errorf("a disabled user signs in: got %d\n%s", resp.StatusCode, body)
	}
}

// oidcLocal: the local users beside it are other people, whatever they are called.
func oidcLocal(t *testing.T, k *kit, _ *realProvider) {
	local, elsewhere := k.signIn("ada"), k.signInAs("ada-1")
	if local.account().Backend != "local" || elsewhere.account().Backend != "oidc" {
		t.Errorf("got %+v and %+v", local.account(), elsewhere.account())
	}
	k.cli("", "change-role", "local:vic", "editor") // the local one, as the provider's has no role of ours to change
	if vic := k.signInAs("vic-1"); vic.account().Role != "viewer" {
		t.Errorf("a local account's role went to the provider's %+v", vic.account())
	}
	k.cli("", "change-role", "local:vic", "viewer")
}

// TestOIDCDown: the provider being down keeps nobody else out, at our start either.
func TestOIDCDown(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{})
	address := "http://127.0.0.1:1" // nobody's
	k.env = append(k.env, "DAGSTER_AUTH_BACKEND=oidc,sqlite", "DAGSTER_AUTH_EXTERNAL_URL="+k.url, "DAGSTER_AUTH_OIDC_ISSUER="+address, "DAGSTER_AUTH_OIDC_CLIENT_ID=dagster")
	k.run(options{})
	t.Cleanup(k.stop)
	k.waitReady()
	if me := k.signIn("ada").account(); me.Username != "ada" {
		t.Errorf("a local user: got %+v", me)
	}
	resp, body := k.anonymous().page("/auth/oidc/sso/login")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || strings.Contains(body, address) {
		t.Errorf("got %d, want 503 with Retry-After\n%s", resp.StatusCode, body)
	}
	if out, code := k.cliCode("", "check-oidc"); code != 1 || !strings.Contains(out, "FAILED") {
		t.Errorf("check-oidc: got %d, want 1\n%s", code, out)
	}
}

// TestCheckOIDC: step by step, without secrets.
func TestCheckOIDC(t *testing.T) {
	t.Parallel()
	k, p := startOIDC(t, options{noWait: true, noUsers: true}, nil)
	out := k.cli("", "check-oidc")
	for _, want := range []string{k.url + "/auth/oidc/sso/callback", k.url + "/auth/oidc/sso/backchannel-logout", k.url + "/auth/logout", p.url + "/token", "RSA 2048", "knows client ID and secret"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	k.env = append(k.env, "DAGSTER_AUTH_OIDC_CLIENT_SECRET=wrong-secret")
	out, code := k.cliCode("", "check-oidc")
	if code != 1 || !strings.Contains(out, "FAILED") || strings.Contains(out, "wrong-secret") {
		t.Errorf("with a wrong secret: got %d\n%s", code, out)
	}
}

// BenchmarkOIDCSignIn is a whole sign-in through the real provider, by one browser after another.
func BenchmarkOIDCSignIn(b *testing.B) {
	k, _ := startOIDC(b, options{noUsers: true}, nil, "DAGSTER_AUTH_LOG_LEVEL=info", "DAGSTER_AUTH_RATE_LIMIT=false")
	b.ResetTimer()
	for b.Loop() {
		k.signInAs("vic-1")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sign-ins/s")
}

// TestOIDCTwoProviders: the same sub at two providers is two people, and what one of them says is worth nothing at the other's
// address.
func TestOIDCTwoProviders(t *testing.T) {
	t.Parallel()
	k := prepare(t, options{noUsers: true})
	first, second := startProvider(t, k, nil), startProvider(t, k, nil)
	file := filepath.Join(k.dir, "authkit.yaml")
	text := "backend: oidc\nexternal_url: " + k.url + "\ndefault_role: viewer\nproviders:\n"
	for id, p := range map[string]*realProvider{"sso": first, "second": second} {
		text += "  - {id: " + id + ", issuer: " + p.url + ", client_id: dagster, client_secret: " + clientSecret + ", groups_claim: groups}\n"
	}
	text += "groups:\n  - {group: data-admins, provider: sso, role: admin}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k.env = append(k.env, "DAGSTER_AUTH_CONFIG="+file)
	k.run(options{})
	t.Cleanup(k.stop)
	k.eventually(time.Minute, "AuthKit answers", func() bool { return k.answers("/auth/login") })
	for _, id := range []string{"sso", "second"} {
		c := k.anonymous()
		if resp, body := c.visit("GET", c.depart(id, "/", "vic-1"), ""); resp.StatusCode != http.StatusSeeOther || c.account().Username != "vic" {
			t.Errorf("%s: got %d\n%s", id, resp.StatusCode, body)
		}
	}
	for _, p := range []*realProvider{first, second} {
		k.tells("oidc:" + p.url + "|vic-1")
	}
	k.cli("", "grant", "--group", "sso:analysts", "launcher", "--location", "etl")
	for id, want := range map[string]struct{ ada, vic string }{"sso": {"admin", "sso:analysts"}, "second": {"viewer", ""}} {
		c := k.anonymous()
		if c.visit("GET", c.depart(id, "/", "ada-1"), ""); c.account().Role != want.ada {
			t.Errorf("ada of %s, who is in a group data-admins there: got %+v, want %s", id, c.account(), want.ada)
		}
		p := map[string]*realProvider{"sso": first, "second": second}[id]
		if got := k.cli("", "list-grants", "oidc:"+p.url+"|vic-1"); strings.Contains(got, "launcher") != (want.vic != "") || !strings.Contains(got, want.vic) {
			t.Errorf("vic's grants by the group analysts of %s: got\n%s", id, got)
		}
	}
	c := k.anonymous()
	wrong := strings.Replace(c.depart("sso", "/", "vic-1"), "/oidc/sso/", "/oidc/second/", 1)
	if resp, _ := c.visit("GET", wrong, ""); resp.StatusCode != http.StatusBadRequest || c.account().Username != "" {
		t.Errorf("one provider's answer at the other's address: got %d as %q", resp.StatusCode, c.account().Username)
	}
}
