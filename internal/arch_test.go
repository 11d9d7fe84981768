// Package internal_test holds the rules of the house: who may import whom.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "dagster-authkit/"

// mayImport is the table of design.md section 3: for each package, which of ours it may import. app may import everything.
var mayImport = map[string][]string{
	"internal/identity":    {},
	"internal/graphql":     {},
	"internal/seal":        {},
	"web":                  {},
	"migrations":           {},
	"internal/config":      {"internal/identity"},
	"internal/policy":      {"internal/identity", "internal/graphql"},
	"internal/audit":       parts,
	"internal/auth":        parts,
	"internal/auth/remote": {},
	"internal/auth/oidc":   {"internal/auth", "internal/auth/remote", "internal/identity", "internal/seal"},
	"internal/auth/header": append([]string{"internal/auth", "internal/auth/remote"}, parts...),
	"internal/auth/token":  {"internal/auth", "internal/identity", "internal/policy"},
	"internal/auth/ldap":   append([]string{"internal/auth", "internal/auth/remote"}, parts...),
	"internal/session":     append([]string{"internal/seal"}, parts...),
	"internal/ratelimit":   parts,
	"internal/supervisor":  parts,
	"internal/dagster":     parts,
	"internal/proxy":       parts,
	"internal/accounts":    {"internal/identity", "internal/policy", "internal/audit", "internal/auth", "internal/auth/token"},
	"internal/store":       {"internal/identity", "internal/audit", "migrations"},
	"internal/server": append([]string{
		"internal/accounts", "internal/audit", "internal/auth", "internal/auth/token", "internal/session",
		"internal/ratelimit", "internal/dagster",
	}, parts...),
	"internal/cli": {
		"internal/app", "internal/config", "internal/store", "internal/identity", "internal/graphql",
		"internal/policy", "internal/auth", "internal/audit", "internal/accounts",
		"internal/auth/ldap", // check-ldap walks through its steps
		"internal/auth/oidc", // check-oidc says what it finds
		"internal/dagster",   // explain asks Dagster where things live, by the server's own questions
	},
	"cmd/dagster-authkit": {"internal/cli", "internal/supervisor"},
}

var parts = []string{"internal/identity", "internal/graphql", "web", "internal/policy"}

// onlyIn names the packages outside of ours that one package alone may use, and why.
var onlyIn = map[string]struct{ place, reason string }{
	"database/sql":           {"internal/store", "all SQL stands in one place, so that both engines are tested together"},
	"os/exec":                {"internal/supervisor", "whoever starts processes also has to end them"},
	"net/http/httputil":      {"internal/proxy", "there is one way to Dagster"},
	"github.com/spf13/cobra": {"internal/cli", "flags and exit codes are the command line's"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, pkg := range listPackages(t, "dagster-authkit/internal/...", "dagster-authkit/cmd/...", "dagster-authkit/web", "dagster-authkit/migrations") {
		name := strings.TrimPrefix(pkg.ImportPath, module)
		allowed, known := mayImport[name]
		if !known && name != "internal/app" {
			t.Errorf("%s is not in the table: decide its layer first", name)
			continue
		}
		for _, imported := range pkg.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			if isOurs && name != "internal/app" && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s: its layer may import only %v", name, ours, allowed)
			}
			if rule, ruled := onlyIn[imported]; ruled && name != rule.place {
				t.Errorf("%s imports %s, which only %s may: %s", name, imported, rule.place, rule.reason)
			}
		}
	}
}

func TestEveryPackageOfTheTableExists(t *testing.T) {
	var names []string
	for _, pkg := range listPackages(t, "dagster-authkit/...") {
		names = append(names, strings.TrimPrefix(pkg.ImportPath, module))
	}
	for name := range mayImport {
		if !slices.Contains(names, name) {
			t.Errorf("the table names %s, which is not there", name)
		}
	}
}

func listPackages(t *testing.T, patterns ...string) []goPackage {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports"}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var pkg goPackage
		err := decoder.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		if !strings.HasSuffix(pkg.ImportPath, "dagster-authkit/internal") {
			packages = append(packages, pkg)
		}
	}
	if len(packages) == 0 {
		t.Fatal("go list found no package")
	}
	return packages
}
