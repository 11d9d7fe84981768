package store

import (
	"sync/atomic"
	"time"
)

// glanceFor is how long one look at the version is good for all who ask: under load one request in hundreds pays for it.
// It is far below the second in which a change of another process has to be noticed, and below what a process takes to end
// and its caller to send the next request.
const glanceFor = 2 * time.Millisecond

// glance is the version as it was seen last. A change by this process makes it worthless before anybody is told of the
// change, so that it holds on the very next request.
type glance struct {
	changes atomic.Int64 // by this process
	last    atomic.Pointer[sight]
}

// sight is what was seen, when, and after how many changes of this process the look began.
type sight struct {
	version, changes int64
	at               time.Time
}

// recent returns the version if somebody looked just now. changes is to be given to saw after a look of the caller's own.
func (g *glance) recent() (version, changes int64, ok bool) {
	changes = g.changes.Load()
	last := g.last.Load()
	if last == nil || last.changes != changes || time.Since(last.at) >= glanceFor {
		return 0, changes, false
	}
	return last.version, changes, true
}

// saw keeps a version that was looked up at a time after changes were counted. It may be older than what another has
// kept meanwhile: it counts from before its own look.
func (g *glance) saw(version, changes int64, at time.Time) {
	g.last.Store(&sight{version, changes, at})
}

// changed is called by whoever has changed something, before they tell of it.
func (g *glance) changed() { g.changes.Add(1) }
