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
)

// tidyUp gives memory back when the program has come to rest, which Go does late: a password's hash leaves 19 MiB behind,
// Dagster's schema as much, and a thousand WebSockets that open half of all that they need. It returns when ctx ends.
func tidyUp(ctx context.Context) error {
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	before, tidied := allocated(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := allocated()
		if now-before < atRest && now-tidied > worthTidying {
			debug.FreeOSMemory()
			now = allocated()
			tidied = now
		}
		before = now
	}
}

// allocated is how many bytes the program has allocated since it started.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
