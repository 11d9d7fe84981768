package app

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// roomyHeap is how far the heap may grow, in bytes, before it is collected. By Go's own rule, twice of what is in use, 3 MB
	// would be collected at each hundredth request, which is an eighth of a quick query's work. A fixed percentage that
	// spares that lets a burst of sign-ins, 19 MiB each, grow the heap to 170 MB; so the percentage goes by what is in use.
	roomyHeap = 24 << 20
	// usualPercent is Go's own.
	usualPercent = 100
	// mostPercent bounds it while little is in use: a burst of sign-ins may be on its way before this is looked at again. With 700 one
	// of twenty made the heap 230 MB, with 300 no larger than by Go's rule, and more is gained by none.
	mostPercent = 200
)

// collectLate keeps small heaps from being collected all the time. It returns when ctx ends, or at once when the
// environment says how collecting is wanted (GOGC).
func collectLate(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	defer debug.SetGCPercent(usualPercent)
	percent := percentFor(inUse())
	debug.SetGCPercent(percent)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-collected():
		}
		if now := percentFor(inUse()); now != percent {
			percent = now
			debug.SetGCPercent(percent)
		}
	}
}

// percentFor is how much of what is in use may be allocated before the next collection.
func percentFor(inUse uint64) int {
	room := uint64(roomyHeap) * 100 / max(inUse, 1)
	return int(min(max(room, usualPercent+100)-100, mostPercent))
}

// collected returns a channel that is closed after the next collection: it takes away what nobody holds.
func collected() <-chan struct{} {
	done := make(chan struct{})
	nobodys := new([64]byte) // too large to share its memory with something that lives
	runtime.AddCleanup(nobodys, func(done chan struct{}) { close(done) }, done)
	return done
}

// inUse is how many bytes of the heap the last collection found in use.
func inUse() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
