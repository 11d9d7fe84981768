package app

import (
	"context"
	"runtime"
	"testing"
)

// What tidyUp goes by is a name in the runtime that could change.
func TestAllocated(t *testing.T) {
	before := allocated()
	kept := make([]byte, 8<<20)
	if grown := allocated() - before; grown < 8<<20 {
		t.Errorf("8 MiB more were seen as %d bytes", grown)
	}
	runtime.KeepAlive(kept)
}

func TestTidyUpEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tidyUp(ctx); err != nil {
		t.Error(err)
	}
}
