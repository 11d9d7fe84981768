package e2e

import (
	"bufio"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The client secret of the tests, which must show up nowhere.
const clientSecret = "s3cret-of-the-tests-that-nobody-sees"

// oidcPeople are those of the provider, by their sub.
var oidcPeople = map[string]map[string]any{
	"ada-1":   {"preferred_username": "ada", "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true, "groups": []string{"data-admins"}},
	"vic-1":   {"preferred_username": "vic", "name": "Vic", "email": "vic@example.com", "email_verified": true, "groups": []string{"analysts"}},
	"nora-1":  {"preferred_username": "nora", "name": "Nora", "email": "nora@example.com", "email_verified": true, "groups": []string{"strangers"}},
	"eve-1":   {"preferred_username": "eve", "name": "Eve", "email": "eve@example.com", "email_verified": false, "groups": []string{"data-admins"}},
	"mallory": {"preferred_username": "mallory", "name": "Mallory", "email": "mallory@evil.com@example.com", "email_verified": true, "groups": []string{"data-admins"}},
}

// realProvider is a node-oidc-provider of its own.
type realProvider struct {
	t   testing.TB
	url string
}

// startProvider starts the provider for that kit and ends it with the test, or skips the test by name where there is none; a
// skip is a failure when CI is set.
func startProvider(t testing.TB, k *kit, more map[string]any) *realProvider {
	t.Helper()
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat("testdata/oidc-provider/node_modules/oidc-provider")
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no node, or no oidc-provider, and CI is set")
		}
		t.Skip("there is no OpenID Connect provider: install Node.js and npm, then: make oidc-provider")
	}
	settings := map[string]any{
		"people": oidcPeople,
		"clients": []map[string]any{{
			"client_id": "dagster", "client_secret": clientSecret,
			"redirect_uris":             []string{k.url + "/auth/oidc/sso/callback", k.url + "/auth/oidc/second/callback"},
			"post_logout_redirect_uris": []string{k.url + "/auth/logout"},
			"backchannel_logout_uri":    k.url + "/auth/oidc/sso/backchannel-logout", "backchannel_logout_session_required": true,
			"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		}},
	}
	maps.Copy(settings, more)
	argument, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "server.mjs", string(argument))
	cmd.Dir = "testdata/oidc-provider"
	said := &output{}
	cmd.Stderr = said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // it ends by itself then
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("stderr of the provider:\n%s", said)
		}
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider did not start: %v\n%s", err, said)
	}
	return &realProvider{t: t, url: strings.TrimSpace(address)}
}

// person changes what the provider knows of somebody; nil forgets them.
func (p *realProvider) person(sub string, claims map[string]any) {
	p.t.Helper()
	method, body := http.MethodDelete, "{}"
	if claims != nil {
		data, err := json.Marshal(claims)
		if err != nil {
			p.t.Fatal(err)
		}
		method, body = http.MethodPut, string(data)
	}
	req, err := http.NewRequest(method, p.url+"/test/person?sub="+url.QueryEscape(sub), strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		p.t.Fatalf("changing %s: %v, %v", sub, resp, err)
	}
	_ = resp.Body.Close()
}

const oidcConfig = `
groups:
  - {group: data-admins, role: admin}
  - {group: analysts, role: viewer}
`

// startOIDC is start with a provider.
func startOIDC(t testing.TB, o options, more map[string]any, env ...string) (*kit, *realProvider) {
	t.Helper()
	k := prepare(t, o)
	p := startProvider(t, k, more)
	file := filepath.Join(k.dir, "authkit.yaml")
	if err := os.WriteFile(file, []byte(oidcConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	external := k.url
	if o.prefix != "" {
		external = strings.TrimSuffix(k.url, o.prefix)
	}
	k.env = append(k.env, append([]string{
		"DAGSTER_AUTH_BACKEND=oidc,sqlite", "DAGSTER_AUTH_EXTERNAL_URL=" + external, "DAGSTER_AUTH_CONFIG=" + file,
		"DAGSTER_AUTH_OIDC_ISSUER=" + p.url, "DAGSTER_AUTH_OIDC_CLIENT_ID=dagster", "DAGSTER_AUTH_OIDC_CLIENT_SECRET=" + clientSecret,
		"DAGSTER_AUTH_OIDC_GROUPS_CLAIM=groups", "DAGSTER_AUTH_OIDC_NAME=Company SSO", "DAGSTER_AUTH_LOG_LEVEL=debug",
	}, env...)...)
	k.run(o)
	t.Cleanup(k.stop)
	if !o.noWait {
		k.waitReady()
	}
	return k, p
}

var formAction = regexp.MustCompile(`action="([^"]+)"`)

// visit asks for an absolute address.
func (c *client) visit(method, address, form string) (*http.Response, string) {
	c.t.Helper()
	away := *c
	elsewhere := *c.kit
	elsewhere.url = ""
	away.kit = &elsewhere
	headers := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}
	if method == http.MethodPost {
		headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	}
	return away.do(method, address, form, headers...)
}

// depart begins a sign-in and goes through the provider's pages as that person. It stops at the address of our callback, which
// it returns.
func (c *client) depart(id, next, sub string) string {
	c.t.Helper()
	address := c.kit.url + "/auth/oidc/" + id + "/login?next=" + url.QueryEscape(next)
	for range 12 {
		if strings.Contains(address, "/callback?") {
			return address
		}
		resp, body := c.visit(http.MethodGet, address, "")
		if resp.StatusCode == http.StatusOK && strings.Contains(body, `name="login"`) {
			action := formAction.FindStringSubmatch(body)
			resp, body = c.visit(http.MethodPost, absolute(c.t, address, action[1]), url.Values{"prompt": {"login"}, "login": {sub}, "password": {"x"}}.Encode())
		}
		location := resp.Header.Get("Location")
		if location == "" {
			c.t.Fatalf("signing in as %s: %d at %s\n%s", sub, resp.StatusCode, address, body)
		}
		address = absolute(c.t, address, location)
	}
	c.t.Fatalf("signing in as %s: too many pages, the last is %s", sub, address)
	return ""
}

func absolute(t testing.TB, base, reference string) string {
	t.Helper()
	b, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u, err := b.Parse(strings.ReplaceAll(reference, "&amp;", "&"))
	if err != nil {
		t.Fatal(err)
	}
	return u.String()
}

// signInAs is somebody who signed in at the provider.
func (k *kit) signInAs(sub string) *client {
	k.t.Helper()
	c := k.anonymous()
	resp, body := c.visit(http.MethodGet, c.depart("sso", "/runs", sub), "")
	if resp.StatusCode != http.StatusSeeOther {
		k.t.Fatalf("signing in as %s: got %d, want 303\n%s", sub, resp.StatusCode, body)
	}
	return c
}
