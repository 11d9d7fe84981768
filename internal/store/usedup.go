package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"time"
)

// UseUp reports whether it is the first time that the thing is used, in any process. until is when nobody would take it any more: it
// is forgotten then.
func (s *Store) UseUp(ctx context.Context, thing string, now, until time.Time) (first bool, err error) {
	hash := sha256.Sum256([]byte(thing))
	err = s.note(ctx, "use up", func(tx *sql.Tx) error {
		changed, err := change(ctx, tx, `INSERT INTO used_up (hash, ends_at) VALUES ($1, $2)
			ON CONFLICT (hash) DO UPDATE SET ends_at = excluded.ends_at WHERE used_up.ends_at <= $3`,
			hash[:], until.UnixMilli(), now.UnixMilli())
		first = changed > 0
		return err
	})
	return first && err == nil, err
}

// UsedUp reports whether the thing was used.
func (s *Store) UsedUp(ctx context.Context, thing string, now time.Time) (used bool, err error) {
	hash := sha256.Sum256([]byte(thing))
	err = s.read(ctx, "look up what was used", readTimeout, func(ctx context.Context) error {
		return s.readers.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM used_up WHERE hash = $1 AND ends_at > $2)`,
			hash[:], now.UnixMilli()).Scan(&used)
	})
	return used, err
}

// SweepUsedUp forgets at most limit of what nobody would take any more, unless another process is at it. more is true when there may be
// others left.
func (s *Store) SweepUsedUp(ctx context.Context, now time.Time, limit int) (more bool, err error) {
	err = s.note(ctx, "sweep what was used", func(tx *sql.Tx) error {
		more = false
		if alone, err := s.engine.alone(ctx, tx, "sweep what was used"); err != nil || !alone {
			return err
		}
		n, err := change(ctx, tx, `DELETE FROM used_up WHERE hash IN (SELECT hash FROM used_up WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2)`,
			now.UnixMilli(), limit)
		more = n == int64(limit)
		return err
	})
	return more && err == nil, err
}
