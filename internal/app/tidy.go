package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	tidyEvery = time.Second
	// atRest is how many bytes the program allocates in that time at most while it has nothing to do but some polling tabs.
	atRest = 1 << 20
	// worthTidying is how many bytes must have been allocated since memory was given back for it to be worth while again. What
	// the last collection found in use says little: a password's hash is collected while it is made.
	worthTidying = 4 << 20
	// leastGrowth is by how much the heap grows before it is collected, in bytes. Go's own rule, to collect what has
	// doubled, is made for large heaps: ours has 3 MB, and would be collected at every hundredth request.
	leastGrowth = 32 << 20
	usualGrowth = 100 // per cent, Go's default
)

// tidyUp gives memory back when the program has come to rest, which Go does late: a password's hash leaves 19 MiB behind,
// Dagster's schema as much, and a thousand WebSockets that open half of all that they need. With pace it also keeps collections
// apart where the heap is small; who sets GOGC knows better. It returns when ctx ends.
func tidyUp(ctx context.Context, pace bool) error {
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	percent, before, tidied := usualGrowth, readHeap(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := readHeap()
		if now.allocated-before.allocated < atRest && now.allocated-tidied > worthTidying {
			debug.FreeOSMemory()
			now = readHeap()
			tidied = now.allocated
		}
		if wanted := now.growth(); pace && (wanted > percent+percent/4 || wanted < percent-percent/4) {
			percent = wanted
			debug.SetGCPercent(percent)
		}
		before = now
	}
}

// heap is in bytes.
type heap struct {
	allocated uint64 // since the start
	live      uint64 // found to be in use by the last collection
}

func readHeap() heap {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return heap{allocated: samples[0].Value.Uint64(), live: samples[1].Value.Uint64()}
}

// growth is the percentage for debug.SetGCPercent.
func (h heap) growth() int {
	return max(usualGrowth, int(leastGrowth*100/max(h.live, 1<<20))) //nolint:gosec // at most 3,200
}
