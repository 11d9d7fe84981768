package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestSessionsEnd: sessions end by age and by idleness, each is told of once, and a polling tab keeps none alive.
//
// The settings allow no age under a minute, so one session is left to grow a minute old in truth while the others are made older in
// the database. To be idle takes an hour, half of which is room enough for a slow machine.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	k := start(t, options{env: []string{"DAGSTER_AUTH_SESSION_MAX_AGE=60", "DAGSTER_AUTH_SESSION_IDLE_TIMEOUT=3600"}})
	aged := k.signIn("ada")
	signedIn := time.Now()
	agedCookie := aged.cookie() // a browser, and this client, forget it themselves after a minute
	socket, _, err := aged.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		_, _, err := socket.Read(context.Background())
		closed <- err
	}()
	if got := aged.graphql("{ version }", nil); got.Status != http.StatusOK {
		t.Fatalf("a fresh session: got %d, want 200", got.Status)
	}
	// Of this one nobody ever asks again.
	k.signIn("larry")
	k.older(`UPDATE sessions SET expires_at = ?1`, "larry", 0)

	t.Run("too old", func(t *testing.T) { expiresOnce(t, k, `UPDATE sessions SET expires_at = ?1`, 0) })
	t.Run("idle", func(t *testing.T) {
		expiresOnce(t, k, `UPDATE sessions SET created_at = ?1, last_seen_at = ?1`, -3601*time.Second)
	})
	t.Run("what is activity", func(t *testing.T) { activity(t, k) })

	time.Sleep(time.Until(signedIn.Add(61 * time.Second)))
	resp, _ := k.anonymous().do("POST", "/graphql", `{"query":"{version}"}`, "Content-Type", "application/json", "Cookie", agedCookie)
	if resp.StatusCode != http.StatusUnauthorized || clears(resp, "dagster_authkit") {
		t.Errorf("a minute after signing in: got %d and Set-Cookie %q, want 401 and the cookie left alone", resp.StatusCode, resp.Header.Values("Set-Cookie"))
	}
	select {
	case err := <-closed:
		if status := websocket.CloseStatus(err); status != 4401 {
			t.Errorf("the WebSocket closed with %d (%v), want 4401", status, err)
		}
	case <-time.After(slowly):
		t.Error("the WebSocket outlives its session")
	}
	k.eventually(3*time.Minute, "the sweep tells of the session that nobody asked for", func() bool { return k.expired("larry") > 0 })
	if n := k.expired("larry"); n != 1 {
		t.Errorf("the session that nobody asked for: got %d SESSION_EXPIRED, want 1", n)
	}
	// A cookie whose signature is too old is not looked up, so the sweep, once a minute, may still have to tell of this one.
	if n := k.expired("ada"); n > 1 {
		t.Errorf("the session of a minute: got %d SESSION_EXPIRED, want 1 at most", n)
	}
	k.eventually(time.Minute, "stdout tells of as many as the trail", func() bool {
		told := strings.Count(k.stdout.String(), `"event_type":"SESSION_EXPIRED"`)
		return int64(told) == k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'SESSION_EXPIRED'`)
	})
}

// expired counts the SESSION_EXPIRED rows of a user.
func (k *kit) expired(name string) int64 {
	k.t.Helper()
	return k.count(`SELECT count(*) FROM audit_events WHERE event_type = 'SESSION_EXPIRED' AND username = ?`, name)
}

// clears reports whether the answer takes the cookie away.
func clears(resp *http.Response, name string) bool {
	for _, cookie := range resp.Cookies() {
		if cookie.Name == name && cookie.MaxAge < 0 && cookie.Value == "" {
			return true
		}
	}
	return false
}

// older moves times in one user's sessions. The statement gets the time that is so far from now.
func (k *kit) older(statement, name string, shift time.Duration) {
	k.t.Helper()
	at := time.Now().Add(shift).UnixMilli()
	if n := k.change(statement+` WHERE user_id = (SELECT id FROM users WHERE name = ?2)`, at, name); n != 1 {
		k.t.Fatalf("%d sessions of %s were changed, want 1", n, name)
	}
}

// expiresOnce ends a session by its times and asks for it many times at once: nobody gets in, it is told of once.
func expiresOnce(t *testing.T, k *kit, statement string, shift time.Duration) {
	c := k.signIn("vic")
	before := k.expired("vic")
	cookie := c.cookie()
	if resp, _ := c.do("GET", "/auth/me", ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("the control, before: got %d, want 200", resp.StatusCode)
	}
	k.older(statement, "vic", shift)
	var asking sync.WaitGroup
	statuses := make(chan string, 20)
	for range 20 {
		asking.Go(func() {
			req, err := http.NewRequest("POST", k.url+"/graphql", strings.NewReader(`{"query":"{version}"}`))
			if err != nil {
				statuses <- err.Error()
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Cookie", cookie)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				statuses <- err.Error()
				return
			}
			resp.Body.Close()
			statuses <- fmt.Sprintf("%d cleared=%t", resp.StatusCode, clears(resp, "dagster_authkit"))
		})
	}
	asking.Wait()
	close(statuses)
	for status := range statuses {
		if status != "401 cleared=false" {
			t.Errorf("after its end: got %s, want 401 and the cookie left alone: another tab may have signed in", status)
		}
	}
	resp, _ := k.anonymous().do("GET", "/runs?x=1", "", "Accept", "text/html", "Cookie", cookie)
	if !clears(resp, "dagster_authkit") {
		t.Errorf("a page: got Set-Cookie %q, want the stale cookie cleared", resp.Header.Values("Set-Cookie"))
	}
	if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != "/auth/login?next=%2Fruns%3Fx%3D1" {
		t.Errorf("a page after its end: got %d to %q, want the sign-in page that leads back", resp.StatusCode, got)
	}
	k.eventually(time.Minute, "the end is told of", func() bool { return k.expired("vic") > before }) // by whoever came first, maybe the sweep
	if n := k.expired("vic") - before; n != 1 {
		t.Errorf("got %d SESSION_EXPIRED, want 1", n)
	}
	if n := k.count(`SELECT count(*) FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = 'vic')`); n != 0 {
		t.Errorf("%d rows of the session are left", n)
	}
}

// activity: what a tab does by itself does not count, what a person does does.
func activity(t *testing.T, k *kit) {
	const age = `UPDATE sessions SET created_at = ?1, last_seen_at = ?1`
	for _, test := range []struct {
		name   string
		counts bool
		act    func(c *client) int
	}{
		{"polling", false, func(c *client) int { return c.graphql("{ version }", nil).Status }},
		{"polling by GET", false, func(c *client) int {
			resp, _ := c.do("GET", "/graphql?query=%7Bversion%7D", "")
			return resp.StatusCode
		}},
		{"who am I", false, func(c *client) int { resp, _ := c.do("GET", "/auth/me", ""); return resp.StatusCode }},
		{"another program's question", false, func(c *client) int { resp, _ := c.do("GET", "/server_info", ""); return resp.StatusCode }},
		{"a beat", true, func(c *client) int { resp, _ := c.do("POST", "/auth/beat", ""); return resp.StatusCode }},
		{"a page", true, func(c *client) int { resp, _ := c.page("/runs"); return resp.StatusCode }},
		{"a mutation", true, func(c *client) int { return c.addPartition("active").Status }},
	} {
		c := k.signIn("ed")
		k.older(age, "ed", -30*time.Minute)
		for range 3 {
			if got := test.act(c); got != http.StatusOK && got != http.StatusNoContent {
				t.Errorf("%s: got %d, want 200 or 204", test.name, got)
			}
		}
		seen := k.count(`SELECT max(last_seen_at) FROM sessions WHERE user_id = (SELECT id FROM users WHERE name = 'ed')`)
		if counted := time.Since(time.UnixMilli(seen)) < 15*time.Minute; counted != test.counts {
			t.Errorf("%s: counted as activity: %t, want %t", test.name, counted, test.counts)
		}
		// 40 minutes on, 70 after the beginning.
		k.change(`UPDATE sessions SET created_at = created_at - 2400000, last_seen_at = last_seen_at - 2400000
			WHERE user_id = (SELECT id FROM users WHERE name = 'ed')`)
		want := http.StatusUnauthorized
		if test.counts {
			want = http.StatusOK
		}
		if got := c.graphql("{ version }", nil); got.Status != want {
			t.Errorf("%s, and 40 minutes later: got %d, want %d", test.name, got.Status, want)
		}
		c.do("POST", "/auth/logout", "")
	}
}

// tlsProxy is what stands before AuthKit in production: it ends TLS and says so in headers.
func tlsProxy(t *testing.T, k *kit) *httptest.Server {
	t.Helper()
	target, err := url.Parse(k.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host})
		pr.SetXForwarded()
	}}
	server := httptest.NewTLSServer(proxy)
	t.Cleanup(server.Close)
	return server
}

// through is somebody whose browser talks to the TLS proxy.
func (k *kit) through(server *httptest.Server) *client {
	k.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	outside := *k
	prefix := ""
	if u, err := url.Parse(k.url); err == nil {
		prefix = u.Path
	}
	outside.url = server.URL + prefix
	c := server.Client()
	return &client{t: k.t, kit: &outside, http: &http.Client{
		Jar: jar, Timeout: 60 * time.Second, Transport: c.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// whoami is the user that /auth/me names, or its status.
func (c *client) whoami(headers ...string) string {
	c.t.Helper()
	resp, body := c.do("GET", "/auth/me", "", headers...)
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode)
	}
	var me struct{ Username string }
	if err := json.Unmarshal([]byte(body), &me); err != nil {
		c.t.Fatal(err)
	}
	return me.Username
}

// describe is a cookie's name and attributes, as Set-Cookie had them, without its value.
func describe(cookie *http.Cookie) string {
	parts := []string{cookie.Name, "Path=" + cookie.Path}
	if cookie.Domain != "" {
		parts = append(parts, "Domain="+cookie.Domain)
	}
	if cookie.Secure {
		parts = append(parts, "Secure")
	}
	if cookie.HttpOnly {
		parts = append(parts, "HttpOnly")
	}
	parts = append(parts, map[http.SameSite]string{http.SameSiteLaxMode: "Lax", http.SameSiteStrictMode: "Strict", http.SameSiteNoneMode: "None"}[cookie.SameSite])
	return strings.Join(parts, " ")
}

// TestCookies: the session cookie's name and attributes in each setting, in plain http and behind TLS. No Dagster is needed.
func TestCookies(t *testing.T) {
	t.Parallel()
	folders := prepare(t, options{})
	trusted := "DAGSTER_AUTH_TRUSTED_PROXIES=127.0.0.1/32"
	for _, test := range []struct {
		name   string
		prefix string
		env    []string
		plain  string // what somebody gets who comes by plain http
		tls    string // and by the TLS proxy
	}{
		{"as it is", "", nil, "dagster_authkit Path=/ HttpOnly Lax", "dagster_authkit Path=/ HttpOnly Lax"},
		{"a trusted proxy", "", []string{trusted}, "dagster_authkit Path=/ HttpOnly Lax", "__Host-dagster_authkit Path=/ Secure HttpOnly Lax"},
		{"a trusted proxy and a prefix", "/team", []string{trusted}, "dagster_authkit Path=/team/ HttpOnly Lax", "dagster_authkit Path=/team/ Secure HttpOnly Lax"},
		{"renamed", "", []string{trusted, "DAGSTER_AUTH_COOKIE_NAME=team_session"}, "team_session Path=/ HttpOnly Lax", "__Host-team_session Path=/ Secure HttpOnly Lax"},
		{"always Secure", "", []string{"DAGSTER_AUTH_COOKIE_SECURE=true"}, "__Host-dagster_authkit Path=/ Secure HttpOnly Lax", "__Host-dagster_authkit Path=/ Secure HttpOnly Lax"},
		{"never Secure", "", []string{trusted, "DAGSTER_AUTH_COOKIE_SECURE=false"}, "dagster_authkit Path=/ HttpOnly Lax", "dagster_authkit Path=/ HttpOnly Lax"},
		{"an external https URL", "", []string{"DAGSTER_AUTH_EXTERNAL_URL=https://dagster.example.com"}, "__Host-dagster_authkit Path=/ Secure HttpOnly Lax", "__Host-dagster_authkit Path=/ Secure HttpOnly Lax"},
		{"strict", "", []string{trusted, "DAGSTER_AUTH_COOKIE_SAMESITE=strict"}, "dagster_authkit Path=/ HttpOnly Strict", "__Host-dagster_authkit Path=/ Secure HttpOnly Strict"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := folders.elsewhere(test.env...)
			k.url += test.prefix
			k = startBefore(t, nowhere, options{from: k, noWait: true})
			for way, want := range map[string]string{"plain http": test.plain, "TLS": test.tls} {
				c := k.anonymous()
				if way == "TLS" {
					c = k.through(tlsProxy(t, k))
				}
				resp, body := c.login("vic", passwords["vic"])
				cookies := resp.Cookies()
				if resp.StatusCode != http.StatusSeeOther || len(cookies) != 1 {
					t.Fatalf("%s: signing in: got %d and the cookies %v, want 303 and one\n%s", way, resp.StatusCode, cookies, body)
				}
				if got := describe(cookies[0]); got != want {
					t.Errorf("%s: got %q, want %q", way, got, want)
				}
				// By hand, as this client would not send a Secure cookie in clear.
				sent := cookies[0].Name + "=" + cookies[0].Value
				bearer := &client{t: t, kit: c.kit, http: &http.Client{Transport: c.http.Transport}}
				if got := bearer.whoami("Cookie", sent); got != "vic" {
					t.Errorf("%s: with its cookie: got %s, want vic", way, got)
				}
				resp, _ = bearer.do("POST", "/auth/logout", "", "Cookie", sent)
				if !clears(resp, cookies[0].Name) {
					t.Errorf("%s: signing out: got Set-Cookie %q, want the cookie cleared", way, resp.Header.Values("Set-Cookie"))
				}
				if got := bearer.whoami("Cookie", sent); got != "401" {
					t.Errorf("%s: after signing out: got %s, want 401", way, got)
				}
			}
		})
	}
}

// TestCookieTricks: behind TLS a cookie counts under its __Host- name only, which nobody on a sibling host can plant.
func TestCookieTricks(t *testing.T) {
	t.Parallel()
	k := startBefore(t, nowhere, options{noWait: true, env: []string{"DAGSTER_AUTH_TRUSTED_PROXIES=127.0.0.1/32"}})
	proxy := tlsProxy(t, k)
	victim := k.through(proxy)
	login := func(c *client, name string) *http.Cookie {
		resp, _ := c.login(name, passwords[name])
		if len(resp.Cookies()) != 1 {
			t.Fatalf("signing in as %s: got %d", name, resp.StatusCode)
		}
		return resp.Cookies()[0]
	}
	own, planted := login(victim, "vic"), login(k.anonymous(), "ed")
	hers := login(k.through(proxy), "ada")
	asked := &client{t: t, kit: victim.kit, http: &http.Client{Transport: victim.http.Transport}}
	pair := func(name, value string) string { return name + "=" + value }
	tampered := []byte(own.Value)
	tampered[len(tampered)/2] ^= 1
	for _, test := range []struct{ name, cookie, want string }{
		{"the control", pair(own.Name, own.Value), "vic"},
		{"a planted cookie alone", pair(planted.Name, planted.Value), "401"},
		{"a planted cookie beside her own", pair(planted.Name, planted.Value) + "; " + pair(own.Name, own.Value), "vic"},
		{"a planted value under the __Host- name", pair(own.Name, planted.Value), "401"},
		{"her own value under the plain name", pair(planted.Name, own.Value), "401"},
		{"two that are both good", pair(own.Name, own.Value) + "; " + pair(own.Name, hers.Value), "401"},
		{"tampered with", pair(own.Name, string(tampered)), "401"},
		{"empty", pair(own.Name, ""), "401"},
		{"long", pair(own.Name, strings.Repeat("A", 8<<10)), "401"},
	} {
		if got := asked.whoami("Cookie", test.cookie); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	// A new sign-in ends the session that the browser came with.
	before := pair(own.Name, own.Value)
	resp, _ := victim.login("vic", passwords["vic"])
	if resp.StatusCode != http.StatusSeeOther || resp.Cookies()[0].Value == own.Value {
		t.Errorf("signing in again: got %d, want 303 and another token", resp.StatusCode)
	}
	if got := asked.whoami("Cookie", before); got != "401" {
		t.Errorf("the session before signing in again: got %s, want 401", got)
	}
}

// TestExternalURL: what browsers have in their address bar decides which origin is ours, whatever Host a proxy sends.
func TestExternalURL(t *testing.T) {
	t.Parallel()
	k := startBefore(t, nowhere, options{noWait: true, env: []string{"DAGSTER_AUTH_EXTERNAL_URL=https://Dagster.Example.com:443/"}})
	form := url.Values{"username": {"vic"}, "password": {passwords["vic"]}, "next": {"/runs"}}.Encode()
	for _, test := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"its own origin", []string{"Origin", "https://dagster.example.com"}, 303},
		{"its own origin, as browsers of today", []string{"Origin", "https://dagster.example.com", "Sec-Fetch-Site", "same-origin"}, 303},
		{"a program", nil, 303},
		{"the address behind the proxy", []string{"Origin", k.url}, 403},
		{"another port", []string{"Origin", "https://dagster.example.com:8443"}, 403},
		{"a sibling", []string{"Origin", "https://evil.example.com"}, 403},
		{"a forged Host", []string{"Origin", "https://evil.example.com", "X-Forwarded-Host", "evil.example.com"}, 403},
	} {
		resp, _ := k.anonymous().do("POST", "/auth/login", form, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, test.headers...)...)
		if resp.StatusCode != test.want {
			t.Errorf("%s: got %d, want %d", test.name, resp.StatusCode, test.want)
		}
		if location := resp.Header.Get("Location"); test.want == 303 && location != "/runs" && location != "https://dagster.example.com/runs" {
			t.Errorf("%s: got sent to %q, want /runs of this site", test.name, location)
		}
	}
	// A Host header that lies can't lead anybody away.
	req, err := http.NewRequest("GET", k.url+"/runs", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	req.Header.Set("Accept", "text/html")
	resp, err := k.anonymous().http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); strings.Contains(resp.Header.Get("Location")+string(body), "evil.example") {
		t.Errorf("a lying Host: got sent to %q", resp.Header.Get("Location"))
	}
}
