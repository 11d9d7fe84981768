package app

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentFor(t *testing.T) {
	t.Parallel()
	for inUse, want := range map[uint64]int{
		0: 200, 3 << 20: 200, 8 << 20: 200, 10 << 20: 140, 12 << 20: 100, 24 << 20: 100, 1 << 40: 100,
	} {
		if got := percentFor(inUse); got != want {
			t.Errorf("%d bytes in use: got %d %%, want %d", inUse, got, want)
		}
	}
}

// TestCollectLate is not run beside others: there is one collector.
func TestCollectLate(t *testing.T) { //nolint:paralleltest // see there
	t.Setenv("GOGC", "")
	ctx, end := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- collectLate(ctx) }()
	percentBecomes(t, "little is in use", func(percent uint64) bool { return percent > usualPercent })
	much := make([]byte, 2*roomyHeap)
	percentBecomes(t, "much is in use", func(percent uint64) bool { return percent == usualPercent })
	runtime.KeepAlive(much)
	percentBecomes(t, "it is given up", func(percent uint64) bool { return percent > usualPercent })
	end()
	if err := <-over; err != nil {
		t.Error(err)
	}
	percentBecomes(t, "it is over", func(percent uint64) bool { return percent == usualPercent })
}

// TestCollectAsWanted: whoever sets GOGC has their reasons.
func TestCollectAsWanted(t *testing.T) {
	t.Setenv("GOGC", "50")
	if err := collectLate(t.Context()); err != nil {
		t.Error(err)
	}
}

func percentBecomes(t *testing.T, when string, right func(percent uint64) bool) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		metrics.Read(sample)
		switch percent := sample[0].Value.Uint64(); {
		case right(percent):
			return
		case time.Now().After(deadline):
			t.Fatalf("%s, and after a minute the percentage is %d", when, percent)
		}
	}
}
