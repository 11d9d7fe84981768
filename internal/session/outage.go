package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// outage is the last time in which the store failed, so that what people did could not be noted. Nobody's session ends for that: one
// that was not idle when it began counts as seen when the store failed last. Others' sessions live a little longer by it, and
// none longer than its absolute lifetime.
type outage struct {
	goesOn atomic.Bool // nothing has gone well since the last failure

	mu           sync.Mutex
	began, ended time.Time // of the first and the last failure; zero: there was none
	unnoted      bool      // what failed was noting that somebody was seen
}

// failed notes a failure. Those between which something went well are not one outage: a failure now and then would keep
// everybody signed in for ever.
func (o *outage) failed(now time.Time, noting bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.goesOn.Load() {
		o.began, o.unnoted = now, false
	}
	o.ended, o.unnoted = now, o.unnoted || noting
	o.goesOn.Store(true)
}

// went ends an outage because the store did what it was asked. While nobody could be noted only that shows that it is over: a full
// disk can be read.
func (o *outage) went(noting bool) {
	if !o.goesOn.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if noting || !o.unnoted {
		o.goesOn.Store(false)
	}
}

// seen is when a session that was stored as seen at that time counts as seen.
func (o *outage) seen(at time.Time, idle time.Duration) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.began.IsZero() && o.began.Sub(at) < idle && at.Before(o.ended) {
		return o.ended
	}
	return at
}

// recent reports whether there may be sessions that only count as seen.
func (o *outage) recent(now time.Time, idle time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.ended.IsZero() && now.Sub(o.ended) < idle
}

// storeFailed notes that the store failed, in noting a sign of life or in anything else, unless the caller just left.
func (m *Manager) storeFailed(ctx context.Context, noting bool) {
	if ctx.Err() == nil {
		m.outage.failed(time.Now(), noting)
	}
}

// idleForSweep is the idle timeout by which the store may delete sessions; 0, which is by none, while it can't know who was seen.
func (m *Manager) idleForSweep(now time.Time) time.Duration {
	if m.outage.recent(now, m.idleTimeout) {
		return 0
	}
	return m.idleTimeout
}
