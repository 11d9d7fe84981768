package session

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/identity"
)

const (
	// refreshBatch is how many sessions are looked up at once, and refreshAtOnce how many are refreshed at the same time.
	refreshBatch  = 100
	refreshAtOnce = 4
	// refreshTimeout bounds one question to a backend, and is how long a claim on it lasts: a process that was killed holds up
	// a session no longer.
	refreshTimeout = 30 * time.Second
	// refreshRetry is how soon a backend that did not answer is asked again, and refreshPause how often is looked for what is
	// due, at most.
	refreshRetry = 30 * time.Second
	refreshPause = 5 * time.Second
	// confirmTimeout is how long a request waits for the answer that its session is overdue for.
	confirmTimeout = 5 * time.Second
)

// refresher asks backends about sessions that they vouched for.
type refresher struct {
	ask      Refresh
	interval time.Duration
	flights  singleflight.Group
	sealer
}

// pause is short against the interval.
func (r *refresher) pause() time.Duration { return min(refreshPause, r.interval/4) }

// overdue reports whether the session's backend should have vouched for its user an interval ago.
func (m *Manager) overdue(s identity.Session, now time.Time) bool {
	return m.refresh.ask != nil && !s.RefreshedAt.IsZero() && now.Sub(s.RefreshedAt) >= 2*m.refresh.interval
}

// Voucher is what ties the request's session to the backend that began it, secret included, so that somebody who signs out here
// can sign out there too. It is the zero Voucher when nobody is signed in, and without its secret when that can't be read.
func (m *Manager) Voucher(r *http.Request) (identity.Voucher, error) {
	t, e, err := m.find(r, m.held)
	switch {
	case errors.Is(err, ErrNone):
		return identity.Voucher{}, nil
	case err != nil:
		return identity.Voucher{}, err
	case e.session.Provider == "":
		return e.session.Voucher, nil
	}
	h, by := t.hash(), e.session.Voucher
	sealed, err := m.rows.SessionSecret(r.Context(), h[:])
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return identity.Voucher{}, nil
	case err != nil:
		return identity.Voucher{}, err
	}
	if by.Secret, err = m.refresh.open(h, sealed); err != nil {
		by.Secret = nil
	}
	return by, nil
}

// refreshAll refreshes all sessions that are due.
func (m *Manager) refreshAll(ctx context.Context) {
	for ctx.Err() == nil {
		now := time.Now().UTC()
		sessions, users, err := m.rows.DueSessions(ctx, now.Add(-m.refresh.interval), now, refreshBatch)
		if err != nil {
			if ctx.Err() == nil {
				m.log.Warn().Err(err).Msg("sessions to refresh could not be looked up")
			}
			return
		}
		var group errgroup.Group
		group.SetLimit(refreshAtOnce)
		for i := range sessions {
			group.Go(func() error { return m.refreshOnce(ctx, sessions[i], users[i]) })
		}
		// What could not be claimed is due still: it waits for the next time.
		if err := group.Wait(); err != nil || len(sessions) < refreshBatch {
			return
		}
	}
}

// confirm refreshes a session that is overdue before anything is done in its name.
func (m *Manager) confirm(ctx context.Context, h hash, e *entry) (*entry, error) {
	answer := m.refresh.flights.DoChan(string(h[:]), func() (any, error) {
		return nil, m.refreshOnce(context.WithoutCancel(ctx), e.session, e.user)
	})
	select {
	case <-answer:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(confirmTimeout):
		return nil, ErrUnconfirmed
	}
	version, err := m.rows.Version(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the database's version: %w", err)
	}
	now := time.Now()
	e, err = m.row(ctx, h, version, now)
	switch {
	case err != nil:
		return nil, err
	case !m.mayBeHere(e.user):
		return nil, ErrNone
	case m.overdue(e.session, now):
		return nil, ErrUnconfirmed
	}
	return e, nil
}

// refreshOnce asks the session's backend, if no other process does. Refresh tokens are often good for one use, so that two who
// ask at the same time would end the session. The error is that of a claim that could not be made; all others are dealt with.
func (m *Manager) refreshOnce(ctx context.Context, s identity.Session, user identity.User) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	h, now := hash(s.TokenHash), time.Now().UTC().Truncate(time.Millisecond) // as the database keeps it
	claim := now.Add(refreshTimeout)
	sealed, claimed, err := m.rows.ClaimSession(ctx, h[:], s.RefreshedAt, now, claim)
	if err != nil || !claimed {
		m.refreshFailed(ctx, s, err, "a session could not be claimed for its refresh")
		return err
	}
	by := s.Voucher
	if by.Secret, err = m.refresh.open(h, sealed); err != nil {
		// The secret key was changed: nobody can ask any more.
		m.log.Warn().Str("session", s.PublicID()).Msg("the secret of a session can't be read, so that it ends: was DAGSTER_AUTH_SECRET_KEY changed?")
		m.expire(ctx, h, &entry{session: s, user: user}, ReasonGone)
		return nil
	}
	secret, err := m.refresh.ask(ctx, user, by)
	// What a backend said must be stored even if whoever waited for it has left: its next secret may be the only good one.
	ctx = context.WithoutCancel(ctx)
	retry := now.Add(min(refreshRetry, m.refresh.interval/4))
	switch {
	case errors.Is(err, ErrGone):
		m.log.Info().Str("session", s.PublicID()).Str("user", user.Name).Err(err).Msg("a session ends, as its backend does not vouch for the user any more")
		m.expire(ctx, h, &entry{session: s, user: user}, ReasonGone)
	case err != nil && len(secret) > 0:
		m.refreshFailed(ctx, s, err, "asking a backend about a session failed half-way")
		m.refreshFailed(ctx, s, m.rows.RefreshSession(ctx, h[:], claim, s.RefreshedAt, m.refresh.seal(h, secret), retry), "the next secret of a session could not be stored")
	case err != nil:
		m.refreshFailed(ctx, s, err, "asking a backend about a session failed")
		m.refreshFailed(ctx, s, m.rows.ReleaseSession(ctx, h[:], claim, retry), "a claim could not be given back")
	default:
		m.refreshFailed(ctx, s, m.rows.RefreshSession(ctx, h[:], claim, now, m.refresh.seal(h, secret), time.Time{}), "a refreshed session could not be stored")
	}
	return nil
}

func (m *Manager) refreshFailed(ctx context.Context, s identity.Session, err error, what string) {
	if err != nil && ctx.Err() == nil {
		m.log.Warn().Err(err).Str("session", s.PublicID()).Msg(what)
	}
}

// sealer encrypts the secrets of sessions in the database, with the session's hash as additional data, so that no secret can be
// put into another session's row.
type sealer struct{ aead cipher.AEAD }

// seal leaves nothing as nothing.
func (s sealer) seal(h hash, secret []byte) []byte {
	if len(secret) == 0 {
		return nil
	}
	return s.aead.Seal(nil, nil, secret, h[:]) //nolint:gosec // the cipher makes a random nonce itself and takes none
}

func (s sealer) open(h hash, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	return s.aead.Open(nil, nil, sealed, h[:])
}
