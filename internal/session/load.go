package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"dagster-authkit/internal/identity"
)

// Load says who is behind the request: in the steady state by one call of Rows.Version and a look into a map. It returns
// ErrNone when nobody is signed in; any other error is the store's, or ErrUnconfirmed, to be answered by 503 with the cookie
// left alone.
//
// The identity's grants are shared with other requests and must not be changed.
func (m *Manager) Load(r *http.Request) (identity.Identity, identity.Session, error) {
	_, e, err := m.find(r, m.live)
	if err != nil {
		return identity.Identity{}, identity.Session{}, err
	}
	return e.who, e.session, nil
}

// Holds reports whether who, whom Load found behind s, would be found so again. It costs less than another Load, as the
// cookie need not be checked anew. False may also mean that it can't be told: then it is for Load to say.
func (m *Manager) Holds(ctx context.Context, s identity.Session, who identity.Identity) bool {
	if len(s.TokenHash) != len(hash{}) {
		return false
	}
	e, err := m.live(ctx, hash(s.TokenHash))
	return err == nil && e.who.Equal(who)
}

// find looks up, by live or held, the one session that the request's cookies name. Cookies of two live sessions are nobody's: a browser
// never holds two of ours, but somebody on a sibling host may have planted their own so that the user works, and leaves
// data, in a stranger's account. Which is which can't be told. Signing in ends both.
func (m *Manager) find(r *http.Request, look func(context.Context, hash) (*entry, error)) (token, *entry, error) {
	var (
		found *entry
		which token
	)
	for _, t := range m.tokens(r, m.nameFor(r)) {
		e, err := look(r.Context(), t.hash())
		switch {
		case errors.Is(err, ErrNone):
			continue
		case err != nil:
			return token{}, nil, err
		case found != nil:
			m.log.Warn().Str("session", found.session.PublicID()).Str("other_session", e.session.PublicID()).
				Msg("a request with the cookies of two sessions is treated as nobody's")
			return token{}, nil, ErrNone
		}
		found, which = e, t
	}
	if found == nil {
		return token{}, nil, ErrNone
	}
	return which, found, nil
}

// live returns the session if it is one at this moment, and its backend vouches for its user.
func (m *Manager) live(ctx context.Context, h hash) (*entry, error) {
	e, err := m.held(ctx, h)
	if err == nil && m.overdue(e.session, time.Now()) {
		return m.confirm(ctx, h, e)
	}
	return e, err
}

// held returns the session if it is one at this moment, also when its backend is overdue in vouching for its user: enough to
// end it, and to sign in in its place.
func (m *Manager) held(ctx context.Context, h hash) (*entry, error) {
	version, err := m.rows.Version(ctx)
	if err != nil {
		m.storeFailed(ctx, false)
		return nil, fmt.Errorf("read the database's version: %w", err)
	}
	now := time.Now()
	e, err := m.row(ctx, h, version, now)
	switch {
	case errors.Is(err, ErrNone):
		return nil, err
	case err != nil:
		m.storeFailed(ctx, false)
		return nil, err
	}
	m.outage.went(false)
	switch {
	case m.over(e.session, now):
		m.expire(ctx, h, e, "")
		return nil, ErrNone
	case !m.mayBeHere(e.user):
		return nil, ErrNone
	}
	return e, nil
}

// mayBeHere says whether an account's sessions count at all.
func (m *Manager) mayBeHere(user identity.User) bool {
	return !user.Disabled && (len(m.backends) == 0 || slices.Contains(m.backends, user.Backend))
}

// row returns the session as it is at that version of the database, which the caller asked for before: a change that
// falls between the two makes the entry worthless, not wrong. What seems to be over, or overdue, is read anew whatever the
// version, because TouchSession and RefreshSession do not move it.
func (m *Manager) row(ctx context.Context, h hash, version int64, now time.Time) (*entry, error) {
	if e := m.cache.get(h, version); e != nil && !m.over(e.session, now) && !m.overdue(e.session, now) {
		return e, nil
	}
	session, user, err := m.rows.SessionByHash(ctx, h[:])
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return nil, ErrNone
	case err != nil:
		return nil, fmt.Errorf("look up the session: %w", err)
	}
	e := &entry{version: version, session: session, user: user, who: user.Identity(session.PublicID())}
	m.cache.put(h, e)
	return e, nil
}

// over reports whether the session has ended by its age or by idleness.
func (m *Manager) over(s identity.Session, now time.Time) bool {
	seen := s.LastSeenAt
	if seen.Before(s.CreatedAt) {
		seen = s.CreatedAt
	}
	if !now.Before(s.ExpiresAt) || m.idleTimeout == 0 {
		return !now.Before(s.ExpiresAt)
	}
	return now.Sub(seen) >= m.idleTimeout && now.Sub(m.outage.seen(seen, m.idleTimeout)) >= m.idleTimeout
}

// expire deletes a session that is over. Whoever deletes the row tells of it, so that it is told once however many
// requests and processes meet it. A failure is left to the sweep: the session is over all the same.
func (m *Manager) expire(ctx context.Context, h hash, e *entry, reason string) {
	ctx = context.WithoutCancel(ctx)
	deleted, err := m.rows.DeleteSession(ctx, h[:])
	if err != nil {
		m.log.Warn().Err(err).Str("session", e.session.PublicID()).Msg("an expired session could not be deleted; the next sweep will")
	}
	if deleted {
		m.expired(ctx, e.session, e.user, reason)
	}
}
