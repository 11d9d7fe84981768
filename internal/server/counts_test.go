package server

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestCounts(t *testing.T) {
	t.Parallel()
	var c counts
	var opened atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if c.open("ada", 10) {
				opened.Add(1)
			}
		})
	}
	all.Wait()
	if opened.Load() != 10 || c.open("ada", 10) {
		t.Errorf("%d were opened, want 10 and no more", opened.Load())
	}
	if !c.open("bob", 10) {
		t.Error("one's many keep another out")
	}
	c.closed("ada")
	if !c.open("ada", 10) {
		t.Error("a place that was left is not free")
	}
	for range 10 {
		c.closed("ada")
	}
	c.closed("bob")
	if len(c.of) != 0 {
		t.Errorf("left behind: %v", c.of)
	}
	for range 1000 {
		if !c.open("eve", 0) {
			t.Fatal("without a limit there is one")
		}
	}
}
