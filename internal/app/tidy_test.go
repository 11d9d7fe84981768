package app

import (
	"runtime"
	"testing"
)

// A small heap grows by as much as a large one before it is collected, and a large one by no more than Go lets it.
func TestHeapGrowth(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 3200, 1 << 20: 3200, 4 << 20: 800, 16 << 20: 200, 32 << 20: 100, 1 << 30: 100} {
		if got := (heap{live: live}).growth(); got != want {
			t.Errorf("with %d MiB live: %d per cent, want %d", live>>20, got, want)
		}
	}
}

func TestReadHeap(t *testing.T) {
	before := readHeap()
	kept := make([]byte, 8<<20)
	after := readHeap()
	if grown := after.allocated - before.allocated; grown < 8<<20 {
		t.Errorf("8 MiB more were seen as %d bytes", grown)
	}
	if before.live == 0 && after.live == 0 {
		runtime.GC()
		if readHeap().live == 0 {
			t.Error("nothing is live after a collection")
		}
	}
	runtime.KeepAlive(kept)
}
