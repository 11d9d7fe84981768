package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tags of a run as Dagster stores them, "key value", of those keys.
func (k *kit) tags(run string, keys ...string) []string {
	k.t.Helper()
	all := k.query("history/runs.db", `SELECT key || ' ' || value FROM run_tags WHERE run_id = ? ORDER BY 1`, run)
	return slices.DeleteFunc(all, func(tag string) bool {
		key, _, _ := strings.Cut(tag, " ")
		return !slices.Contains(keys, key)
	})
}

// daemon runs dagster-daemon on the kit's files until the test ends.
func (k *kit) daemon() {
	k.t.Helper()
	cmd := exec.Command(filepath.Join(venv, "bin", "dagster-daemon"), "run", "-f", "defs.py", "-f", "loc_a.py", "-f", "loc_b.py")
	cmd.Dir, cmd.Env = k.dir, k.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

func tag(key, value string) map[string]any { return map[string]any{"key": key, "value": value} }

// creators are the tags by which Dagster's UI tells who launched a run.
var creators = []string{"user", "dagster/schedule_name", "dagster/sensor_name", "dagster/created_by", "dagster/auto_materialize"}

// TestWhoLaunchedIt looks in Dagster's storage for the tag that says who launched a run, whatever the client itself said, and
// through a backfill on the runs that the daemon makes of it.
func TestWhoLaunchedIt(t *testing.T) {
	t.Parallel()
	k := startLocations(t, options{})
	ed, larry := k.signIn("ed"), k.signIn("larry")
	k.settled(ed)
	a := placeOf(t, ed, "loc_a.py")
	anna := k.person("anna", "viewer", "launcher loc_a.py")

	lies := []any{tag("user", "eve"), tag("team", "blue")}
	for _, key := range creators[1:] {
		lies = append(lies, tag(key, "eve"))
	}
	launch := func(c *client, call call, form string) string {
		t.Helper()
		_, got := c.try(call, form)
		return c.id(got, `"runId": *"([^"]+)"`)
	}
	is := func(what, run, person string) {
		t.Helper()
		if got := k.tags(run, creators...); !slices.Equal(got, []string{"user " + person}) {
			t.Errorf("%s: got the tags %q, want the user %s alone", what, got, person)
		}
	}
	for _, form := range forms {
		is("launchRun, "+form, launch(larry, a.launch(nil), form), "larry@example.com")
		lied := launch(anna, a.launch(map[string]any{"tags": lies}), form)
		is("launchRun with other creators, "+form, lied, "anna@example.com")
		if got := k.tags(lied, "team"); len(got) != 1 {
			t.Errorf("launchRun, %s: the client's own tags are gone: %q", form, got)
		}
	}
	first := launch(larry, a.launch(nil), "literals")
	again := a.reexecute(map[string]any{"parentRunId": first, "rootRunId": first, "tags": []any{tag("user", "larry@example.com")}})
	is("a re-execution of larry's run by ed", launch(ed, again, "variables"), "ed@example.com")
	if !dagsterWithoutExtraTags() {
		is("a re-execution of larry's run by its ID", launch(ed, reexecution("launchRunReexecution")(a, first), "nested variables"), "ed@example.com")
	}

	backfill := a.launchBackfill()
	params := backfill.arguments["backfillParams"].(map[string]any)
	params["partitionNames"], params["tags"] = []any{"one", "two"}, []any{tag("user", "eve")}
	_, got := anna.try(backfill, "nested variables")
	id := anna.id(got, `"backfillId": *"([^"]+)"`)
	assets := backfillCall(map[string]any{"assetSelection": []any{a.asset("_parts")}, "partitionNames": []any{"one"}})
	_, got = larry.try(assets, "variables")
	assetID := larry.id(got, `"backfillId": *"([^"]+)"`)
	k.daemon()
	for id, want := range map[string]struct {
		runs   int
		person string
	}{id: {2, "anna@example.com"}, assetID: {1, "larry@example.com"}} {
		var runs []string
		k.eventually(4*time.Minute, "the daemon launches the runs of the backfill", func() bool {
			runs = k.query("history/runs.db", `SELECT run_id FROM run_tags WHERE key = 'dagster/backfill' AND value = ?`, id)
			return len(runs) == want.runs
		})
		for _, run := range runs {
			is("a run of a backfill", run, want.person)
		}
	}
}

// dagsterWithoutExtraTags tells whether a re-execution by the parent's ID takes no tags: 1.10.0 has no place for them.
func dagsterWithoutExtraTags() bool { return dagster == "1.10.0" }
