package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// executable writes a script that could be run.
func executable(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	const name = "dagster-webserver"
	self := executable(t, dir, "opt", "dagster-authkit")
	realOne := executable(t, dir, "venv", name)
	link := filepath.Join(dir, "first", name)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain", name)
	if err := os.MkdirAll(plain, 0o755); err != nil {
		t.Fatal(err)
	}
	path := func(dirs ...string) string {
		for i, d := range dirs {
			dirs[i] = filepath.Join(dir, d)
		}
		return strings.Join(dirs, string(filepath.ListSeparator))
	}
	cases := []struct {
		what, name, path, want, err string
	}{
		{what: "on PATH", name: name, path: path("venv"), want: realOne},
		{what: "never ourselves under Dagster's name", name: name, path: path("first", "venv"), want: realOne},
		{what: "not a directory of that name", name: name, path: path("plain", "venv"), want: realOne},
		{what: "only ourselves", name: name, path: path("first"), err: "dagster-webserver was not found on PATH: pip install dagster-webserver, or name it by --webserver-command"},
		{what: "nowhere", name: name, path: "", err: "pip install dagster-webserver"},
		{what: "by its path", name: realOne, path: "", want: realOne},
		{what: "by a path that is ourselves", name: link, err: "AuthKit itself"},
		{what: "by a path where nothing is", name: filepath.Join(dir, "none"), err: "can't be run"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			got, err := find(c.name, self, c.path)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q, %v, want %q, error with %q", got, err, c.want, c.err)
			}
		})
	}
}
