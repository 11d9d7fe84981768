package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestOIDCTwoInstances: a callback that comes again, at another instance, does not reach the provider, which would end what came of
// the first time: whoever signed in stays so.
func TestOIDCTwoInstances(t *testing.T) {
	t.Parallel()
	k, p := startOIDC(t, options{}, nil, "DAGSTER_AUTH_REFRESH_INTERVAL=10s")
	other := *k
	other.url = fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	other.run(options{})
	t.Cleanup(other.stop)
	other.waitReady()
	elsewhere := func(callback string) string { return strings.Replace(callback, k.url, other.url, 1) }
	temp := map[string]any{"preferred_username": "temp", "email": "temp@example.com", "email_verified": true, "groups": []string{"data-admins"}}
	p.person("temp-1", temp)

	c, again := k.anonymous(), k.anonymous()
	callback := c.depart("sso", "/", "temp-1")
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	again.http.Jar.SetCookies(u, c.http.Jar.Cookies(u))
	if resp, _ := c.visit("GET", callback, ""); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("got %d, want 303", resp.StatusCode)
	}
	if resp, _ := again.visit("GET", elsewhere(callback), ""); resp.StatusCode != http.StatusBadRequest || again.account().Username != "" {
		t.Errorf("the callback again, at another instance: got %d as %q", resp.StatusCode, again.account().Username)
	}
	control := k.anonymous()
	if resp, _ := control.visit("GET", elsewhere(control.depart("sso", "/", "temp-1")), ""); resp.StatusCode != http.StatusSeeOther || control.account().Role != "admin" {
		t.Errorf("the control, a sign-in that ends at another instance: got %d as %+v", resp.StatusCode, control.account())
	}
	temp = maps.Clone(temp)
	temp["groups"] = []string{"analysts"}
	p.person("temp-1", temp)
	k.eventually(time.Minute, "both sessions were refreshed", func() bool { return c.account().Role == "viewer" && control.account().Role == "viewer" })
}
