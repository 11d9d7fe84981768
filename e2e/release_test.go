package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// previousRelease is the last commit of the release before PostgreSQL.
const previousRelease = "92b7c3a"

// TestPreviousRelease: whoever goes back to the release before finds the database usable, with what was done since, and
// whoever comes back again too. The old program is built from the history; a clone without it can't tell.
func TestPreviousRelease(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	archive := exec.Command("sh", "-c", "git -C .. archive "+previousRelease+" | tar -x -C "+folder)
	if out, err := archive.CombinedOutput(); err != nil || exec.Command("test", "-f", filepath.Join(folder, "go.mod")).Run() != nil {
		t.Skipf("SKIPPED %s: no history to take the release before from: %s", t.Name(), out)
	}
	old := filepath.Join(folder, "dagster-authkit-before")
	build := exec.Command("go", "build", "-o", old, "./cmd/dagster-authkit")
	build.Dir = folder
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", previousRelease, err, out)
	}
	run := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir, cmd.Env = t.TempDir(), cleanEnv()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for name, first := range map[string]string{"made now": authkit, "made then": old} {
		db := filepath.Join(t.TempDir(), "auth.db")
		run(first, "add-user", "first", "--admin", "--generate-password", "--db", db)
		run(authkit, "add-user", "new", "--viewer", "--generate-password", "--db", db)
		run(old, "add-user", "old", "--viewer", "--generate-password", "--db", db)
		run(old, "grant", "new", "editor", "--location", "etl", "--db", db)
		for _, program := range []string{old, authkit} {
			users, grants := run(program, "list-users", "--db", db), run(program, "list-grants", "--db", db)
			for _, want := range []string{"first", "new", "old"} {
				if !strings.Contains(users, want) {
					t.Errorf("%s: %s is missing:\n%s", name, want, users)
				}
			}
			if !strings.Contains(grants, "etl") {
				t.Errorf("%s: the grant is missing:\n%s", name, grants)
			}
		}
	}
}
