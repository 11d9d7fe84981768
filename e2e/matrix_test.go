package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// dagster is the version under test: the one of the environment that `make venv` makes, or with E2E_DAGSTER=1.10.0 one of
// those that `make matrix` makes.
var dagster string

// chooseDagster finds the virtual environment and reads from it which version it really has.
func chooseDagster(root string) error {
	venv = filepath.Join(root, ".venv")
	wanted := os.Getenv("E2E_DAGSTER")
	if wanted != "" {
		venv = filepath.Join(root, ".venv-matrix", wanted)
	}
	if _, err := os.Stat(filepath.Join(venv, "bin", "dagster-webserver")); err != nil {
		return fmt.Errorf("there is no dagster-webserver in %s: run `make test` or `make matrix`, which make it", venv)
	}
	installed, _ := filepath.Glob(filepath.Join(venv, "lib", "python*", "site-packages", "dagster-[0-9]*.dist-info"))
	if len(installed) != 1 {
		return fmt.Errorf("got %d dagsters in %s, want one: remove that folder and make it anew", len(installed), venv)
	}
	dagster = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(installed[0]), "dagster-"), ".dist-info")
	if wanted != "" && dagster != wanted {
		return fmt.Errorf("%s has dagster %s: remove that folder and run `make matrix`", venv, dagster)
	}
	return nil
}

// dagsterBefore tells whether the version under test is older than 1.minor.
func dagsterBefore(minor int) bool {
	_, rest, _ := strings.Cut(dagster, ".")
	number, _, _ := strings.Cut(rest, ".")
	got, err := strconv.Atoi(number)
	return err == nil && strings.HasPrefix(dagster, "1.") && got < minor
}
