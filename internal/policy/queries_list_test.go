package policy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

// TestEveryQueryThatRunsCodeHasARule: the fields that were found to run code, on each version of Dagster, are those that need a
// permission.
func TestEveryQueryThatRunsCodeHasARule(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "queries-*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no lists of queries: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for line := range strings.Lines(string(raw)) {
			field, permissions, _ := strings.Cut(strings.TrimSpace(line), " ")
			found = append(found, field)
			_, name, _ := strings.Cut(field, ".")
			if !codeNames[name] {
				t.Errorf("%s: %s is not known by its name", file, field)
			}
			var got []string
			for _, permission := range codePermissions(name, codePlace{}) {
				got = append(got, string(permission))
				if LeastRole(permission) == identity.Admin {
					t.Errorf("%s: the permission %s is not in the table", file, permission)
				}
			}
			if diff := cmp.Diff(permissions, strings.Join(got, ",")); diff != "" {
				t.Errorf("%s: %s (-found +known):\n%s", file, field, diff)
			}
		}
		if diff := cmp.Diff(found, slices.Sorted(maps.Keys(codeFields))); diff != "" {
			t.Errorf("%s (-found +known):\n%s", file, diff)
		}
	}
}
