package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Find returns the absolute path of the executable to supervise. A name without a slash is looked up along PATH, where
// every entry that is the same file as self is passed over: AuthKit may itself stand first under the name
// dagster-webserver. self is our own executable's path.
func Find(name, self string) (string, error) {
	return find(name, self, os.Getenv("PATH"))
}

func find(name, self, path string) (string, error) {
	own, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("look at our own executable: %w", err)
	}
	if strings.ContainsRune(name, filepath.Separator) {
		return explicit(name, own)
	}
	for _, dir := range filepath.SplitList(path) {
		// As in os/exec, what lies in the current directory is not run by accident.
		if !filepath.IsAbs(dir) {
			continue
		}
		candidate := filepath.Join(dir, name)
		if _, err := exec.LookPath(candidate); err != nil {
			continue
		}
		info, err := os.Stat(candidate) //nolint:gosec // PATH is the user's to set
		if err == nil && !os.SameFile(info, own) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%s was not found on PATH: pip install dagster-webserver, or name it by --webserver-command", name)
}

// explicit checks an executable that was named by its path.
func explicit(name string, own os.FileInfo) (string, error) {
	if _, err := exec.LookPath(name); err != nil {
		return "", fmt.Errorf("the webserver command can't be run: %w", err)
	}
	info, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("the webserver command: %w", err)
	}
	if os.SameFile(info, own) {
		return "", errors.New("the webserver command is AuthKit itself: name Dagster's own dagster-webserver")
	}
	return filepath.Abs(name)
}
