package store

import (
	"context"
	"database/sql"
	"errors"

	"dagster-authkit/internal/identity"
)

// Credentials reads a local user with the stored password hash, by name.
func (s *Store) Credentials(ctx context.Context, name string) (identity.User, string, error) {
	user, err := s.UserByName(ctx, localBackend, name)
	if err != nil {
		return identity.User{}, "", err
	}
	var hash string
	err = s.read(ctx, "read password hash", readTimeout, func(ctx context.Context) error {
		err := s.readers.QueryRowContext(ctx, `SELECT password_hash FROM users WHERE id = $1`, user.RowID).Scan(&hash)
		if errors.Is(err, sql.ErrNoRows) {
			return identity.ErrNotFound // deleted between the two statements
		}
		return err
	})
	if err != nil {
		return identity.User{}, "", err
	}
	return user, hash, nil
}

// ReplaceHash stores a new hash of the same password, unless the stored one is no longer the old one: then the password
// was changed meanwhile, and the error is identity.ErrNotFound. No session ends.
func (s *Store) ReplaceHash(ctx context.Context, rowID int64, old, new string) error {
	return s.note(ctx, "replace password hash", func(tx *sql.Tx) error {
		return mustChange(ctx, tx, `UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3`, new, rowID, old)
	})
}

// LegacyHashes gives the start of every sort of password hash that the Python AuthKit left here and that no sign-in has
// replaced yet, such as "$2b$12$" and "pbkdf2:". Sign-in needs them to take the same time for every account.
func (s *Store) LegacyHashes(ctx context.Context) (sorts []string, err error) {
	err = s.read(ctx, "look for legacy password hashes", readTimeout, func(ctx context.Context) (err error) {
		// The condition is that of the index users_by_legacy_hash, word by word.
		sorts, err = names(ctx, s.readers, `SELECT DISTINCT substr(password_hash, 1, 7) FROM users
			WHERE password_hash LIKE '$2%' OR password_hash LIKE 'pbkdf2:%' ORDER BY 1`)
		return err
	})
	return sorts, err
}
