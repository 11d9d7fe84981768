package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"dagster-authkit/internal/identity"
)

const (
	// pollInterval keeps invariant 4 of design.md: a change takes effect within a second, whichever process made it.
	pollInterval = 250 * time.Millisecond
	// pollTimeout keeps a store that hangs from hiding that a session has grown too old.
	pollTimeout = 2 * time.Second
	// sweepInterval is how long a session may be over before it is told of, if nobody asks for it.
	sweepInterval = time.Minute
	sweepBatch    = 500
)

// watcher is somebody who waits for the end of a session. Only the poller touches its fields after Watch has returned.
type watcher struct {
	gone     chan struct{}
	release  func() bool
	identity identity.Identity
	session  identity.Session
	checked  bool  // the session was found as it should be at version
	version  int64 // of the database
}

// Watch returns a channel that is closed when what was known of the session no longer holds: it was ended, revoked or
// expired, or its user was disabled or deleted, or has another role or other grants than who. That is noticed within a
// second, in whatever process it happened. When ctx ends, the watch does, and the channel stays open.
//
// While the database can't be reached, a fault signs nobody out: the channel stays open until the session's own expiry. A
// session whose backend is overdue in vouching for its user, as ErrUnconfirmed has it, is watched no longer.
func (m *Manager) Watch(ctx context.Context, s identity.Session, who identity.Identity) <-chan struct{} {
	w := &watcher{gone: make(chan struct{}), identity: who, session: s}
	m.watching.Lock()
	defer m.watching.Unlock()
	m.watchers[w] = struct{}{}
	w.release = context.AfterFunc(ctx, func() { m.unwatch(w) })
	return w.gone
}

func (m *Manager) unwatch(w *watcher) bool {
	m.watching.Lock()
	defer m.watching.Unlock()
	_, watching := m.watchers[w]
	delete(m.watchers, w)
	return watching
}

// Run sweeps, polls and refreshes until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	var helpers sync.WaitGroup
	helpers.Go(func() { every(ctx, sweepInterval, m.sweepAll) })
	if m.refresh.ask != nil {
		helpers.Go(func() { every(ctx, m.refresh.pause(), m.refreshAll) })
	}
	failing := false
	every(ctx, pollInterval, func(ctx context.Context) { failing = m.poll(ctx, failing) })
	helpers.Wait()
	return nil
}

// every calls do at once and then in each interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		do(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// poll looks at everybody who watches, and at the database only where it has changed since. It returns whether the store
// failed, and logs when that begins and ends.
func (m *Manager) poll(ctx context.Context, failing bool) bool {
	watchers := m.snapshot()
	if len(watchers) == 0 {
		return failing
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	version, err := m.rows.Version(ctx)
	now := time.Now()
	for _, w := range watchers {
		if err == nil {
			err = m.check(ctx, w, version, now)
		}
		// Past a fault only the age is judged: another process may have seen the person since we could last read.
		if !now.Before(w.session.ExpiresAt) {
			m.dismiss(w)
		}
	}
	switch {
	case err != nil && !failing:
		m.log.Warn().Err(err).Msg("sessions of open connections can't be checked; they stay open until they expire")
	case err == nil && failing:
		m.log.Info().Msg("sessions of open connections are checked again")
	}
	return err != nil
}

func (m *Manager) snapshot() []*watcher {
	m.watching.Lock()
	defer m.watching.Unlock()
	watchers := make([]*watcher, 0, len(m.watchers))
	for w := range m.watchers {
		watchers = append(watchers, w)
	}
	return watchers
}

// check compares the session with what the watcher was told of it. The error is the store's.
func (m *Manager) check(ctx context.Context, w *watcher, version int64, now time.Time) error {
	if w.checked && w.version == version && !m.over(w.session, now) && !m.overdue(w.session, now) {
		return nil
	}
	if len(w.session.TokenHash) != len(hash{}) {
		m.dismiss(w)
		return nil
	}
	e, err := m.row(ctx, hash(w.session.TokenHash), version, now)
	switch {
	case errors.Is(err, ErrNone):
		m.dismiss(w)
		return nil
	case err != nil:
		return err
	case !m.mayBeHere(e.user) || !sameRights(w.identity, e.user) || m.over(e.session, now) || m.overdue(e.session, now):
		m.dismiss(w)
	}
	w.session, w.checked, w.version = e.session, true, version
	return nil
}

// dismiss closes the channel, once: only the one who takes the watcher out of the list does.
func (m *Manager) dismiss(w *watcher) {
	if m.unwatch(w) {
		w.release()
		close(w.gone)
	}
}

func sameRights(who identity.Identity, user identity.User) bool {
	return who.ID == user.ID() && who.Role == user.Role &&
		(slices.Equal(who.Grants, user.Grants) || slices.Equal(sorted(who.Grants), sorted(user.Grants)))
}

// sorted is for grants that say the same in another order.
func sorted(grants []identity.Grant) []identity.Grant {
	return slices.SortedFunc(slices.Values(grants), func(a, b identity.Grant) int {
		return strings.Compare(a.Location+"\x00"+string(a.Role), b.Location+"\x00"+string(b.Role))
	})
}

// sweepAll deletes what is over and tells of it. A failure waits for the next time: nobody gets in with these sessions.
func (m *Manager) sweepAll(ctx context.Context) {
	for ctx.Err() == nil {
		now := time.Now().UTC()
		ended, err := m.sweep(ctx, now, m.idleForSweep(now), sweepBatch)
		for _, e := range ended {
			m.expired(context.WithoutCancel(ctx), e.Session, e.User, "")
		}
		if err != nil {
			m.storeFailed(ctx, false)
			if ctx.Err() == nil {
				m.log.Warn().Err(err).Msg("expired sessions could not be swept")
			}
			return
		}
		m.outage.went(false)
		if len(ended) < sweepBatch {
			return
		}
	}
}
