package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// control is something in Dagster's UI that changes something, and the page where it is.
type control struct {
	name, page, find string
	// elsewhere is where the UI sends those to who may not have the control; empty: everybody sees it, greyed or not.
	elsewhere string
}

// button finds what can be clicked and has that text, switches the switch of a schedule.
func button(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('button, [role=tab], a')].filter(e => e.innerText.trim() === %q)`, text)
}

const switches = `[...document.querySelectorAll('input[type=checkbox]')]`

// controls are those of the code location.
func controls(p place, run string) []control {
	at := "/locations/__repository__@" + p.file
	return []control{
		{"Launch Run", at + "/jobs/job/playground", button("Launch Run"), `!location.pathname.endsWith('/playground')`},
		{"Materialize", "/assets/" + p.name + "_asset", button("Materialize"), ""},
		{"schedule switch", at + "/schedules/schedule", switches, ""},
		{"Terminate", "/runs/" + run, button("Terminate"), ""},
	}
}

// reloadAll is the one that no code location decides.
var reloadAll = control{"Reload all", "/deployment/locations", button("Reload all"), ""}

// quiet is a page whose permissions have come and that has loaded nothing more for two seconds.
const quiet = `(() => {
	const asked = performance.getEntriesByType('resource')
	return asked.some(r => r.name.includes('op=PermissionsQuery')) && performance.now() - Math.max(...asked.map(r => r.responseEnd)) > 2000
})()`

// state tells what a person sees of a control: absent, disabled or enabled.
func (b *browser) state(base string, c control) string {
	b.t.Helper()
	b.run(chromedp.Navigate(base+c.page), drawn())
	there := c.find + ".length > 0"
	if c.elsewhere != "" {
		there += " || " + c.elsewhere
	}
	b.until(c.name+" at "+base, "("+there+") && "+quiet)
	// What has come is not always drawn yet: it has to be the same for a while.
	now := func() string {
		return ask(b, chromedp.Evaluate[string](`(() => {
			const found = `+c.find+`.filter(e => e.getClientRects().length > 0)
			if (found.length === 0) return 'absent'
			const off = e => e.disabled || e.closest('[aria-disabled=true]') || /disabled/i.test(e.className)
			return found.every(off) ? 'disabled' : 'enabled'
		})()`))
	}
	seen, same := now(), 0
	for deadline := time.Now().Add(patience); same < 5 && time.Now().Before(deadline); same++ {
		time.Sleep(200 * time.Millisecond)
		if again := now(); again != seen {
			seen, same = again, -1
		}
	}
	return seen
}

// until polls for a condition in the page.
func (b *browser) until(what, condition string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !ask(b, chromedp.Evaluate[bool](condition)) {
		if time.Now().After(deadline) {
			b.screenshot("failed-" + b.t.Name() + ".png")
			b.t.Fatalf("browser: not within %s: %s", patience, what)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (b *browser) states(base string, all []control) map[string]string {
	b.t.Helper()
	seen := map[string]string{}
	for _, c := range all {
		seen[c.name] = b.state(base, c)
	}
	return seen
}

// bareDagster starts a dagster-webserver on the kit's files, as the operator of one without AuthKit would.
func (k *kit) bareDagster(flags ...string) string {
	k.t.Helper()
	port := freePort(k.t)
	cmd := exec.Command(filepath.Join(venv, "bin", "dagster-webserver"),
		append([]string{"-f", "defs.py", "-f", "loc_a.py", "-f", "loc_b.py", "-p", fmt.Sprint(port)}, flags...)...)
	cmd.Dir, cmd.Env = k.dir, k.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
	})
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	k.eventually(3*time.Minute, "the bare Dagster serves", func() bool {
		resp, err := http.Get(base + "/server_info")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return base
}

// as is a browser in which somebody is signed in.
func (k *kit) as(t *testing.T, name string) *browser {
	t.Helper()
	b := openBrowser(t, 1400, 900)
	b.run(chromedp.Navigate(k.url+"/"), signInByForm(name), drawn())
	return b
}

// TestPermissionsInTheBrowser: a viewer sees what `dagster-webserver --read-only` shows, an editor what an ordinary one does,
// and whoever has a role in one code location sees the one there and the other elsewhere.
func TestPermissionsInTheBrowser(t *testing.T) {
	t.Parallel()
	k := startLocations(t, options{})
	ed := k.signIn("ed")
	k.settled(ed)
	a, b := placeOf(t, ed, "loc_a.py"), placeOf(t, ed, "loc_b.py")
	inA, inB := controls(a, a.run(ed)), controls(b, b.run(ed))
	all := append(slices.Clip(inA), reloadAll)

	bare := openBrowser(t, 1400, 900)
	ordinary := bare.states(k.childAddress(), all)
	readOnly := bare.states(k.bareDagster("--read-only"), all)
	for name, seen := range readOnly {
		if ordinary[name] != "enabled" || seen == "enabled" {
			t.Errorf("the controls: %s is %s on an ordinary Dagster and %s on a read-only one", name, ordinary[name], seen)
		}
	}

	viewer := k.as(t, "vic")
	if diff := cmp.Diff(readOnly, viewer.states(k.url, all)); diff != "" {
		t.Errorf("what a viewer sees (- read-only, + through AuthKit):\n%s", diff)
	}
	viewer.until("all code locations are shown", `document.body.innerText.includes('3 code locations')`)
	viewer.hover(reloadAll.find)
	viewer.until("the tooltip names the role", `document.body.innerText.includes('Requires the Editor role')`)
	viewer.screenshot("reload-all-tooltip.png")

	editor := k.as(t, "ed")
	if diff := cmp.Diff(ordinary, editor.states(k.url, all)); diff != "" {
		t.Errorf("what an editor sees (- ordinary, + through AuthKit):\n%s", diff)
	}

	k.cli("", "grant", "vic", "editor", "--location", "loc_a.py")
	delete(ordinary, reloadAll.name)
	if diff := cmp.Diff(ordinary, viewer.states(k.url, inA)); diff != "" {
		t.Errorf("what a viewer with an editor's grant sees there (- ordinary, + through AuthKit):\n%s", diff)
	}
	delete(readOnly, reloadAll.name)
	if diff := cmp.Diff(readOnly, viewer.states(k.url, inB)); diff != "" {
		t.Errorf("what a viewer with a grant sees elsewhere (- read-only, + through AuthKit):\n%s", diff)
	}
	if got := viewer.state(k.url, reloadAll); got != "disabled" {
		t.Errorf("Reload all with a grant in one location: got %s, want disabled", got)
	}

	viewer.run(chromedp.Navigate(k.url+"/runs"), drawn())
	viewer.until("the Runs page shows who launched the runs", `document.body.innerText.includes('ed@example.com')`)
	viewer.screenshot("runs-launched-by.png")
}

// hover moves the mouse over a control.
func (b *browser) hover(find string) {
	b.t.Helper()
	at := ask(b, chromedp.Evaluate[[]float64](`(r => [r.x + r.width / 2, r.y + r.height / 2])(`+find+`[0].getBoundingClientRect())`))
	// From outside to inside, as a hand does: the page notices the way in.
	b.run(chromedp.MouseEvent(chromedp.MouseMoved, 1, 1), chromedp.MouseEvent(chromedp.MouseMoved, at[0], at[1]))
}
