package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser is a Chromium with a fresh profile, and everything that its console said.
type browser struct {
	ctx context.Context
	t   *testing.T

	mu      sync.Mutex
	console []string
}

// openBrowser starts Chromium, or skips the test by name where there is none; a skip is a failure when CI is set.
func openBrowser(t *testing.T, width, height int) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no chromium, and CI is set")
		}
		t.Skip("there is no chromium: install Debian's package of that name")
	}
	flags := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.WindowSize(width, height), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("lang", "en-US"))
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, cancel := chromedp.NewContext(allocator)
	// The first call starts the browser, which lives as long as that call's context.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		cancelAllocator()
		t.Fatalf("starting the browser: %v", err)
	}
	b := &browser{ctx: ctx, t: t}
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for message, err := range chromedp.Console(ctx) {
			if err != nil {
				return // the browser is closed
			}
			if message.IsException() || message.Type == "error" {
				b.note(message.Text + " " + message.URL)
			}
		}
	}()
	t.Cleanup(func() { cancel(); cancelAllocator(); <-listening })
	return b
}

func (b *browser) note(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.console = append(b.console, line)
}

// said returns the console's errors so far and forgets them.
func (b *browser) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.console
	b.console = nil
	return lines
}

// step is something that the browser does.
type step = chromedp.Action[chromedp.Void]

// patience is how long one step may take; a cold Dagster draws its first page in seconds, a loaded machine takes longer.
const patience = 90 * time.Second

func (b *browser) run(steps ...step) {
	b.t.Helper()
	for i, step := range steps {
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		err := chromedp.Do(ctx, step)
		cancel()
		if err != nil {
			if picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot()); err == nil {
				b.save("failed-"+b.t.Name()+".png", picture)
			}
			b.t.Fatalf("browser, step %d: %v\nconsole: %q", i+1, err, b.said())
		}
	}
}

// ask is run for a step that has a value.
func ask[T any](b *browser, question chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, question)
	if err != nil {
		b.t.Fatalf("browser: %v", err)
	}
	return value
}

// save keeps a picture for people to look at.
func (b *browser) save(name string, picture []byte) {
	b.t.Helper()
	dir := os.Getenv("E2E_ARTIFACTS")
	if dir == "" {
		dir = "artifacts"
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		b.t.Fatal(err)
	}
	name = strings.ReplaceAll(name, "/", "-")
	if err := os.WriteFile(filepath.Join(dir, name), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) screenshot(name string) {
	b.t.Helper()
	b.save(name, ask(b, chromedp.CaptureScreenshot()))
}

// drawn waits until Dagster's page shows its navigation.
func drawn() step {
	return chromedp.WaitVisible(`[class*="MainNavigation_nav"]`)
}

func signInByForm(name string) step {
	return chromedp.Steps(
		chromedp.WaitVisible(`input[name="username"]`),
		chromedp.SendKeys(`input[name="username"]`, name),
		chromedp.SendKeys(`input[name="password"]`, passwords[name]),
		chromedp.Submit(`input[name="password"]`),
	)
}

// TestBrowser walks as a person does: sign in, arrive where one wanted to go, open the menu, sign out. The console must say
// nothing that it does not say on a bare Dagster.
func TestBrowser(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	b := openBrowser(t, 1400, 900)

	b.run(chromedp.Navigate(k.url + "/runs?tab=queued"))
	b.run(chromedp.WaitVisible(`input[name="username"]`))
	b.screenshot("login.png")
	b.run(signInByForm("vic"), drawn(), chromedp.WaitVisible(menuButton), chromedp.Sleep(2*time.Second))
	at := ask(b, chromedp.Location())
	if !strings.HasPrefix(at, k.url+"/runs") {
		t.Errorf("after signing in: at %s, want /runs", at)
	}
	b.run(chromedp.Click(menuButton), chromedp.WaitVisible(menuSignOut))
	text := ask(b, chromedp.Text(menu))
	b.screenshot("menu.png")
	for _, want := range []string{"vic", "vic@example.com", "Viewer", "Sign out"} {
		if !strings.Contains(text, want) {
			t.Errorf("the menu has not %q: %q", want, text)
		}
	}
	through := b.said()
	b.run(chromedp.Click(menuSignOut), chromedp.WaitVisible(`//h1[contains(., "igned out")]`))
	b.run(chromedp.Navigate(k.url+"/runs"), chromedp.WaitVisible(`input[name="username"]`))

	bare := k.bareConsole(t, through)
	for _, line := range through {
		if !slices.Contains(bare, portless(line)) {
			t.Errorf("the console says, which it does not on a bare Dagster: %s", line)
		}
	}
}

// bareConsole is what the console says on the same page of the same Dagster without AuthKit in between. It waits until all has been said
// that was said through AuthKit, where the page was open for longer.
func (k *kit) bareConsole(t *testing.T, through []string) (lines []string) {
	t.Helper()
	child := k.childAddress()
	b := openBrowser(t, 1400, 900)
	b.run(chromedp.Navigate(child+"/runs?tab=queued"), drawn())
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		for _, line := range b.said() {
			lines = append(lines, portless(line))
		}
		missing := slices.ContainsFunc(through, func(line string) bool { return !slices.Contains(lines, portless(line)) })
		if !missing || time.Now().After(deadline) {
			return lines
		}
	}
}

// portless makes messages of two servers comparable.
func portless(line string) string {
	before, after, found := strings.Cut(line, "127.0.0.1:")
	if !found {
		return line
	}
	return before + strings.TrimLeft(after, "0123456789")
}

// TestBrowserNoticesTheEnd: a tab whose session was ended elsewhere says so once and offers to sign in again.
func TestBrowserNoticesTheEnd(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	b := openBrowser(t, 1400, 900)
	b.run(chromedp.Navigate(k.url+"/runs"), signInByForm("vic"), drawn(), chromedp.WaitVisible(menuButton))
	k.cli("", "revoke-sessions", "vic")
	b.run(chromedp.WaitVisible(`//*[@role="alert"]//a[contains(@href, "/auth/login")]`))
	b.screenshot("session-ended.png")
	b.run(chromedp.Click(`//*[@role="alert"]//a[contains(@href, "/auth/login")]`),
		signInByForm("vic"), drawn())
	at := ask(b, chromedp.Location())
	if !strings.HasPrefix(at, k.url+"/runs") {
		t.Errorf("after signing in again: at %s, want /runs", at)
	}
}

// TestBrowserWithPrefix: the same below a path prefix.
func TestBrowserWithPrefix(t *testing.T) {
	t.Parallel()
	k := start(t, options{prefix: "/team/dagster"})
	b := openBrowser(t, 1400, 900)
	b.run(chromedp.Navigate(strings.TrimSuffix(k.url, "/team/dagster") + "/"))
	b.run(signInByForm("vic"), drawn(), chromedp.WaitVisible(menuButton))
	at := ask(b, chromedp.Location())
	if !strings.HasPrefix(at, k.url) { // Dagster's own router drops the slash
		t.Errorf("after signing in: at %s, want below %s", at, k.url)
	}
	if resp, _ := http.Get(strings.TrimSuffix(k.url, "/team/dagster") + "/graphql"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("/graphql outside of the prefix: got %d, want 404", resp.StatusCode)
	}
}

// What menu.js puts into Dagster's page.
const (
	menuButton  = `.authkit-button`
	menu        = `#authkit-popup`
	menuSignOut = `#authkit-popup [role="menuitem"]`
)
