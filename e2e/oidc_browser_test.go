package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

const (
	oidcButton     = `a[href*="/auth/oidc/sso/login"]`
	providerLogin  = `input[name="login"]`
	providerLogout = `button[name="logout"][value="yes"]`
	signedOutHere  = `//h1[contains(., "igned out")]`
	endedNotice    = `//*[@role="alert"]//a[contains(@href, "/auth/login")]`
)

// atProvider fills in the provider's own form.
func atProvider(sub string) step {
	return chromedp.Steps(
		chromedp.WaitVisible(providerLogin), chromedp.SendKeys(providerLogin, sub),
		chromedp.SendKeys(`input[name="password"]`, "x"), chromedp.Submit(providerLogin),
	)
}

// tab is another tab of the same browser, with the same cookies.
func (b *browser) tab() *browser {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		b.t.Fatalf("opening a tab: %v", err)
	}
	b.t.Cleanup(cancel)
	return &browser{ctx: ctx, t: b.t}
}

// TestOIDCBrowser walks as a person does: the button, the provider's page, Dagster, signing out here and there, and being signed
// out from there.
func TestOIDCBrowser(t *testing.T) {
	t.Parallel()
	b := openBrowser(t, 1400, 900)
	k, p := startOIDC(t, options{prefix: "/team"}, nil)
	b.run(chromedp.Navigate(k.url+"/runs?tab=queued"), chromedp.WaitVisible(oidcButton), chromedp.WaitVisible(`input[name="username"]`))
	b.run(chromedp.Click(oidcButton), atProvider("ada-1"), drawn(), chromedp.WaitVisible(menuButton))
	if at := ask(b, chromedp.Location()); !strings.HasPrefix(at, k.url+"/runs") {
		t.Errorf("after signing in: at %s, want /runs", at)
	}
	b.run(chromedp.Click(menuButton), chromedp.WaitVisible(menuSignOut))
	text := ask(b, chromedp.Text(menu))
	b.screenshot("oidc-menu.png")
	for _, want := range []string{"ada", "ada@example.com", "Admin"} {
		if !strings.Contains(text, want) {
			t.Errorf("the menu has not %q: %q", want, text)
		}
	}
	// Signing out here leads to the provider's page, and back.
	b.run(chromedp.Click(menuSignOut), chromedp.WaitVisible(providerLogout), chromedp.Click(providerLogout), chromedp.WaitVisible(signedOutHere))
	if at := ask(b, chromedp.Location()); at != k.url+"/auth/logout" {
		t.Errorf("after signing out: at %s, want %s", at, k.url+"/auth/logout")
	}
	// Both are over: the provider asks who it is. Two tabs sign in beside one another.
	second := b.tab()
	for _, tab := range []*browser{b, second} {
		tab.run(chromedp.Navigate(k.url+"/runs"), chromedp.WaitVisible(oidcButton), chromedp.Click(oidcButton), chromedp.WaitVisible(providerLogin))
	}
	second.run(atProvider("vic-1"), drawn(), chromedp.WaitVisible(menuButton))
	b.run(atProvider("vic-1"), drawn(), chromedp.WaitVisible(menuButton))
	second.run(chromedp.Reload(), drawn(), chromedp.WaitVisible(menuButton))
	// Signing out at the provider ends it here, with its WebSocket, and the tab says so.
	second.run(chromedp.Navigate(p.url+"/session/end"), chromedp.WaitVisible(providerLogout), chromedp.Click(providerLogout))
	b.run(chromedp.WaitVisible(endedNotice))
	b.screenshot("oidc-signed-out-there.png")
	// Signing out by our own page with the button, whose policy is stricter than Dagster's.
	b.run(chromedp.Navigate(k.url+"/auth/login"), chromedp.Click(oidcButton), atProvider("ada-1"), drawn())
	b.run(chromedp.Navigate(k.url+"/auth/logout"), chromedp.Click(`button[type="submit"]`), chromedp.WaitVisible(providerLogout))
	for _, line := range b.said() {
		if strings.Contains(line, "Content Security Policy") {
			t.Errorf("the console says: %s", line)
		}
	}
}

const threeProviders = `
providers:
  - {id: google, preset: google, client_id: x, client_secret: y}
  - {id: github, preset: github, client_id: x, client_secret: y}
  - {id: company, name: "Company SSO", issuer: "http://127.0.0.1:1", client_id: x}
`

// TestOIDCPages takes pictures of the sign-in page with buttons, for people to look at, and holds what is on it.
func TestOIDCPages(t *testing.T) {
	t.Parallel()
	b := openBrowser(t, 1400, 900)
	for name, backends := range map[string]string{"alone": "oidc", "beside": "oidc,sqlite"} {
		k := prepare(t, options{noUsers: true})
		file := filepath.Join(k.dir, "authkit.yaml")
		if err := os.WriteFile(file, []byte(threeProviders), 0o600); err != nil {
			t.Fatal(err)
		}
		k.env = append(k.env, "DAGSTER_AUTH_BACKEND="+backends, "DAGSTER_AUTH_EXTERNAL_URL="+k.url, "DAGSTER_AUTH_CONFIG="+file)
		k.run(options{})
		t.Cleanup(k.stop)
		k.eventually(time.Minute, "AuthKit answers", func() bool { return k.answers("/auth/login") })
		for _, theme := range []string{"light", "dark"} {
			for size, width := range map[string]int64{"wide": 1400, "narrow": 360} {
				b.run(emulate(theme, width), chromedp.Navigate(k.url+"/auth/login?next=%2Fruns"), chromedp.WaitVisible(`.providers a`))
				b.screenshot("oidc-" + name + "-" + theme + "-" + size + ".png")
				if sideways := ask(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > document.documentElement.clientWidth`)); sideways {
					t.Errorf("%s, %s: the page is wider than its window", name, size)
				}
			}
		}
		if n := ask(b, chromedp.Evaluate[int](`document.querySelectorAll('.providers a').length`)); n != 3 {
			t.Errorf("%s: got %d buttons, want 3", name, n)
		}
		forms := ask(b, chromedp.Evaluate[int](`document.querySelectorAll('form').length`))
		if want := map[string]int{"alone": 0, "beside": 1}[name]; forms != want {
			t.Errorf("%s: got %d forms, want %d", name, forms, want)
		}
		if resp, _ := k.anonymous().login("ada", "x"); name == "alone" && resp.StatusCode != 404 {
			t.Errorf("a password where nobody has one: got %d, want 404", resp.StatusCode)
		}
		// A page for a sign-in that came to nothing.
		b.run(emulate("light", 1400), chromedp.Navigate(k.url+"/auth/oidc/company/callback?state=x&code=y"), chromedp.WaitVisible(`h1`))
		b.screenshot("oidc-not-signed-in.png")
	}
}

// answers reports whether the page is there.
func (k *kit) answers(path string) bool {
	resp, err := k.anonymous().http.Get(k.url + path)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == 200
}

// emulate sets the theme that the person prefers, and the width of the window.
func emulate(theme string, width int64) step {
	return chromedp.Steps(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
		})
		return err
	}))
}
