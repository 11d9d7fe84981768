package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"dagster-authkit/internal/identity"
)

// DueSessions lists at most limit sessions for which a backend was last asked at before or earlier, and which nobody asks for
// at this moment, the longest waiting first. Both results have the same length: a session, without its secret, and its user.
func (s *Store) DueSessions(ctx context.Context, before, now time.Time, limit int) (sessions []identity.Session, users []identity.User, err error) {
	err = s.read(ctx, "list sessions to refresh", readTimeout, func(ctx context.Context) (err error) {
		sessions, users, err = querySessions(ctx, s.readers,
			`WITH due AS MATERIALIZED (SELECT * FROM sessions
				WHERE refreshed_at <= $1 AND claimed_until <= $2 AND expires_at > $2 ORDER BY refreshed_at LIMIT $3) `+
				people(signInColumns, `due s JOIN users u ON u.id = s.user_id`, `true`, `refreshed_at, token_hash`),
			before.UnixMilli(), now.UnixMilli(), limit)
		return err
	})
	return sessions, users, err
}

// ClaimSession takes it on the caller to ask the session's backend, until the time given, and returns the secret to ask with.
// claimed is false when the session is gone, was refreshed since seen, or somebody else is asking.
func (s *Store) ClaimSession(ctx context.Context, hash []byte, seen, now, until time.Time) (secret []byte, claimed bool, err error) {
	err = s.note(ctx, "claim session", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `UPDATE sessions SET claimed_until = $1
			WHERE token_hash = $2 AND refreshed_at = $3 AND claimed_until <= $4 RETURNING secret`,
			until.UnixMilli(), hash, toMillis(seen), now.UnixMilli()).Scan(&secret)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return secret, err == nil, err
}

// ReleaseSession gives the claim that lasts until that time back without an answer, so that the session is due again at due. Who
// was held up until somebody else claimed it changes nothing, and that is no error.
func (s *Store) ReleaseSession(ctx context.Context, hash []byte, claim, due time.Time) error {
	return s.note(ctx, "release session", func(tx *sql.Tx) error {
		_, err := change(ctx, tx, `UPDATE sessions SET claimed_until = $1 WHERE token_hash = $2 AND claimed_until = $3`,
			due.UnixMilli(), hash, claim.UnixMilli())
		return err
	})
}

// RefreshSession notes that the backend vouched at that time, and what to ask it with next, not before due (zero: when it is time).
// It gives the claim back as ReleaseSession does, and changes nothing where that would not.
func (s *Store) RefreshSession(ctx context.Context, hash []byte, claim, at time.Time, secret []byte, due time.Time) error {
	var until int64
	if !due.IsZero() {
		until = due.UnixMilli()
	}
	return s.note(ctx, "refresh session", func(tx *sql.Tx) error {
		_, err := change(ctx, tx, `UPDATE sessions SET refreshed_at = $1, secret = $2, claimed_until = $3
			WHERE token_hash = $4 AND claimed_until = $5`,
			toMillis(at), secret, until, hash, claim.UnixMilli())
		return err
	})
}
