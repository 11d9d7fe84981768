package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// ownedColumns are what a row's owner and token are scanned from.
const ownedColumns = userColumns + `, t.token_hash AS token_hash, t.user_id, t.name AS token_name, t.role, t.location, t.created_at,
	t.expires_at, t.last_used_at`

// CreateToken stores a token and its event. The error is identity.ErrExists when its owner has another of that name, and
// identity.ErrNotFound when the owner is gone.
func (s *Store) CreateToken(ctx context.Context, token identity.Token, event audit.Event) error {
	return s.write(ctx, "create token", func(tx *sql.Tx) error {
		// A name that is there already is no error of the statement's: that would end the transaction on PostgreSQL.
		made, err := change(ctx, tx, `INSERT INTO tokens (token_hash, user_id, name, role, location, created_at, expires_at)
			SELECT $1, id, $2, $3, $4, $5, $6 FROM users WHERE id = $7 ON CONFLICT (user_id, name) DO NOTHING`,
			token.Hash, token.Name, token.Role, token.Location, toMillis(token.CreatedAt), toMillis(token.ExpiresAt), token.UserRowID)
		if err != nil {
			return err
		}
		if made == 0 {
			return whyNoToken(ctx, tx, token.UserRowID)
		}
		return appendAudit(ctx, tx, event)
	})
}

// whyNoToken tells a name that is taken from an owner who is gone.
func whyNoToken(ctx context.Context, tx *sql.Tx, owner int64) error {
	var there bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM users WHERE id = $1)`, owner).Scan(&there); err != nil {
		return err
	}
	if there {
		return identity.ErrExists
	}
	return identity.ErrNotFound
}

// TokenByHash finds a token and its owner, grants included, by one indexed read. Expired tokens and disabled owners are found
// too; what that means is for the caller to say.
func (s *Store) TokenByHash(ctx context.Context, hash []byte) (identity.Token, identity.User, error) {
	var tokens []identity.Token
	var users []identity.User
	err := s.read(ctx, "read token", readTimeout, func(ctx context.Context) (err error) {
		tokens, users, err = queryTokens(ctx, s.readers, `t.token_hash = $1`, hash)
		if err == nil && len(tokens) == 0 {
			return identity.ErrNotFound
		}
		return err
	})
	if err != nil {
		return identity.Token{}, identity.User{}, err
	}
	return tokens[0], users[0], nil
}

// Tokens lists the tokens of one user, or of all when userRowID is 0, by owner and name, expired ones that were not swept yet
// included. Both results have the same length: a token and its owner.
func (s *Store) Tokens(ctx context.Context, userRowID int64) (tokens []identity.Token, users []identity.User, err error) {
	where, args := ofUser(userRowID)
	err = s.read(ctx, "list tokens", listTimeout, func(ctx context.Context) (err error) {
		tokens, users, err = queryTokens(ctx, s.readers, `t.`+where, args...)
		return err
	})
	return tokens, users, err
}

// DeleteToken revokes a token and stores its event. The error is identity.ErrNotFound when there is none.
func (s *Store) DeleteToken(ctx context.Context, hash []byte, event audit.Event) error {
	return s.write(ctx, "delete token", func(tx *sql.Tx) error {
		if err := mustChange(ctx, tx, `DELETE FROM tokens WHERE token_hash = $1`, hash); err != nil {
			return err
		}
		return appendAudit(ctx, tx, event)
	})
}

// TouchToken notes when a token was used. Time never runs backwards in it, and a token that is gone stays gone without an error.
func (s *Store) TouchToken(ctx context.Context, hash []byte, at time.Time) error {
	return s.note(ctx, "touch token", func(tx *sql.Tx) error {
		_, err := change(ctx, tx, `UPDATE tokens SET last_used_at = $1
			WHERE token_hash = $2 AND (last_used_at IS NULL OR last_used_at < $1)`, toMillis(at), hash)
		return err
	})
}

// ExpireTokens deletes at most limit tokens that are over at now, and stores one event for each: the one given, with the token
// and its owner filled in. They are returned.
func (s *Store) ExpireTokens(ctx context.Context, now time.Time, limit int, event audit.Event) ([]audit.Event, error) {
	var events []audit.Event
	err := s.write(ctx, "sweep tokens", func(tx *sql.Tx) error {
		events = nil
		if alone, err := s.engine.alone(ctx, tx, "sweep tokens"); err != nil || !alone {
			return err
		}
		tokens, users, err := scanTokens(ctx, tx,
			`WITH ended AS MATERIALIZED (SELECT * FROM tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) `+
				people(ownedColumns, `ended t JOIN users u ON u.id = t.user_id`, `true`, `backend, subject, token_name`), now.UnixMilli(), limit)
		if err != nil {
			return err
		}
		for i, token := range tokens {
			if _, err := change(ctx, tx, `DELETE FROM tokens WHERE token_hash = $1`, token.Hash); err != nil {
				return err
			}
			one := event
			one.Username, one.Identity, one.Token, one.TokenName = users[i].Name, users[i].ID(), token.PublicID(), token.Name
			if err := appendAudit(ctx, tx, one); err != nil {
				return err
			}
			events = append(events, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// queryTokens finds tokens and their owners.
func queryTokens(ctx context.Context, db querier, where string, args ...any) ([]identity.Token, []identity.User, error) {
	return scanTokens(ctx, db, people(ownedColumns, `tokens t JOIN users u ON u.id = t.user_id`, where, `backend, subject, token_name`), args...)
}

// scanTokens runs a query of ownedColumns in which the rows of one token follow each other.
func scanTokens(ctx context.Context, db querier, query string, args ...any) (_ []identity.Token, _ []identity.User, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var tokens []identity.Token
	var users []identity.User
	for rows.Next() {
		row := userRow{tokenRow: &tokenRow{}}
		if err := row.scan(rows); err != nil {
			return nil, nil, err
		}
		token := row.tokenRow.token
		if n := len(tokens); n > 0 && string(tokens[n-1].Hash) == string(token.Hash) {
			users[n-1].Grants = append(users[n-1].Grants, row.user.Grants...)
			continue
		}
		tokens, users = append(tokens, token), append(users, row.user)
	}
	return tokens, users, rows.Err()
}
