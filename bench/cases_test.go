package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestDagsterCases(t *testing.T) {
	venv := "lib/python3.11/site-packages/dagster_webserver/webapp/build/_next/static/chunks"
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, ".venv", venv), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"small.js": 10, "large.0123456789abcdef.js": 100, "larger.js.map": 1000} {
		if err := os.WriteFile(filepath.Join(root, ".venv", venv, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(mustAbs(t, "../internal"), filepath.Join(root, "internal")); err != nil {
		t.Fatal(err)
	}
	all, err := dagsterCases(root, false)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]loadCase{}
	for _, c := range all {
		if _, twice := names[c.Name]; twice {
			t.Errorf("%s is there twice: its figures would be mixed", c.Name)
		}
		names[c.Name] = c
		if c.body != "" && !json.Valid([]byte(c.body)) {
			t.Errorf("%s: the body is not JSON: %s", c.Name, c.body)
		}
		if c.path == "" || c.connections == 0 {
			t.Errorf("%s lacks something: %+v", c.Name, c)
		}
	}
	if got, want := names[script16].path, "/_next/static/chunks/large.0123456789abcdef.js"; got != want {
		t.Errorf("the largest script: got %s, want %s", got, want)
	}
	quick, err := dagsterCases(root, true)
	if err != nil || len(quick) >= len(all) {
		t.Errorf("got %d cases in a quick run and %d in a long one, %v", len(quick), len(all), err)
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
