package session

import (
	"context"
	"sync"
	"time"
)

// outage is a time in which the store failed, so that what people did could not be noted. Nobody's session ends for that: one that
// was not idle when it began counts as seen when the store failed last. Others' sessions live a little longer by it, and
// none longer than its absolute lifetime.
type outage struct {
	mu           sync.Mutex
	began, ended time.Time // of the first and the last failure; zero: there was none
}

// failed notes a failure. What lies further apart than an idle timeout is not one outage.
func (o *outage) failed(now time.Time, idle time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() || now.Sub(o.ended) >= idle {
		o.began = now
	}
	o.ended = now
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

// storeFailed notes that the store failed, unless the caller just left.
func (m *Manager) storeFailed(ctx context.Context) {
	if m.idleTimeout > 0 && ctx.Err() == nil {
		m.outage.failed(time.Now(), m.idleTimeout)
	}
}

// idleForSweep is the idle timeout by which the store may delete sessions; 0, which is by none, while it can't know who was seen.
func (m *Manager) idleForSweep(now time.Time) time.Duration {
	if m.outage.recent(now, m.idleTimeout) {
		return 0
	}
	return m.idleTimeout
}
