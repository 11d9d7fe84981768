package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestExplain: what explain says of deleting a run, by asking Dagster where the run lives, is what the server then does.
func TestExplain(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	run := launchWait(t, k.signIn("larry"), 0)
	document := fmt.Sprintf(`mutation { deleteRun(runId: "%s") { __typename } }`, run)
	vic := k.signIn("vic")
	explain := func(code int, says string, flags ...string) {
		t.Helper()
		out, got := k.cliCode(document, append([]string{"explain", "--user", "vic"}, flags...)...)
		if got != code || !strings.Contains(out, says) {
			t.Errorf("explain %v: got code %d and\n%s\nwant %d and %q", flags, got, out, code, says)
		}
	}
	server := func(want string) {
		t.Helper()
		if got := vic.graphql(document, nil).typename("deleteRun"); got != want {
			t.Errorf("the server answered %q, want %q", got, want)
		}
	}
	upstream := k.childAddress()
	explain(3, "of run "+run+" ", "--upstream", upstream)
	server("UnauthorizedError")
	k.cli("", "grant", "vic", "launcher", "--location", "elsewhere")
	explain(3, "defs.py (of run "+run+")", "--upstream", upstream)
	server("UnauthorizedError")
	k.cli("", "grant", "vic", "launcher", "--location", "defs.py")
	explain(3, "of run "+run+": ask Dagster with --upstream")
	explain(1, "not of AuthKit", "--upstream", k.url)
	explain(0, "defs.py (of run "+run+")", "--upstream", upstream)
	server("DeletePipelineRunSuccess")
}
