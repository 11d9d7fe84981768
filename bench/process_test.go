package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	// A name may hold blanks and parentheses.
	fields, err := parseStat("42 (a (b) c) S 7 42 42 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0")
	if err != nil || fields[1] != "7" || fields[11] != "250" || fields[12] != "50" {
		t.Errorf("got %v, %v", fields, err)
	}
	for _, line := range []string{"", "42 no name", "42 (short) S 7"} {
		if got, err := parseStat(line); err == nil {
			t.Errorf("%q: got %v, want an error", line, got)
		}
	}
}

func TestOwnFigures(t *testing.T) {
	own := []int{os.Getpid()}
	if mib := residentMiB(own); mib < 1 || mib > 10_000 {
		t.Errorf("resident memory of %v MiB", mib)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if found := descendants(own...); !slices.Contains(found, child.Process.Pid) || slices.Contains(found, os.Getpid()) {
		t.Errorf("got the descendants %v, want %d among them and not %d", found, child.Process.Pid, os.Getpid())
	}
}
