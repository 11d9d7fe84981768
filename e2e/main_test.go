// Package e2e tests the whole program against real things: a dagster-webserver from PyPI, Chromium, the files on disk.
// What a role may not do is looked for in Dagster's own storage, never in the answer alone.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"dagster-authkit/internal/supervisor"
)

// The two programs under test, made once for all tests.
var (
	authkit string // bin/dagster-authkit as `make build` makes it
	venv    string // the virtual environment with dagster-webserver, as `make venv` or `make matrix` makes it
)

func TestMain(m *testing.M) {
	supervisor.GuardMain() // a test that runs the program in its own process has it start this binary once more
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return 1, err
	}
	if err := chooseDagster(root); err != nil {
		return 1, err
	}
	folder, err := os.MkdirTemp("", "authkit-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	authkit = filepath.Join(folder, "dagster-authkit")
	build := exec.Command("go", "build", "-o", authkit, "dagster-authkit/cmd/dagster-authkit")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building dagster-authkit: %w\n%s", err, out)
	}
	return m.Run(), nil
}
