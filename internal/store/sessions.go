package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// signInColumns and signInTables are those of a session and its user.
const (
	signInColumns = userColumns + `, ` + sessionColumns
	signInTables  = `sessions s JOIN users u ON u.id = s.user_id`
)

// CreateSession stores a sign-in. The error is identity.ErrNotFound when its user was deleted, disabled or given a new
// password since the old one was looked at: a session that starts after that must not be.
func (s *Store) CreateSession(ctx context.Context, session identity.Session) error {
	return s.write(ctx, "create session", func(tx *sql.Tx) error {
		return mustChange(ctx, tx, `INSERT INTO sessions
			(token_hash, user_id, created_at, expires_at, last_seen_at, address, user_agent, provider, provider_session, secret, refreshed_at)
			SELECT $1, id, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM users WHERE id = $11 AND NOT disabled AND epoch = $12`,
			session.TokenHash, toMillis(session.CreatedAt), toMillis(session.ExpiresAt), toMillis(session.LastSeenAt),
			asText(session.Address), asText(session.UserAgent), asText(session.Provider), asText(session.ProviderSession), session.Secret,
			toMillis(session.RefreshedAt), session.UserRowID, session.UserEpoch)
	})
}

// SessionByHash finds a session and its user, grants included, by one indexed read. Expired sessions and disabled users
// are found too; what that means is for the caller to say.
func (s *Store) SessionByHash(ctx context.Context, hash []byte) (identity.Session, identity.User, error) {
	var sessions []identity.Session
	var users []identity.User
	err := s.read(ctx, "read session", readTimeout, func(ctx context.Context) (err error) {
		sessions, users, err = querySessions(ctx, s.readers,
			people(signInColumns, signInTables, `s.token_hash = $1`, `token_hash`), hash)
		if err == nil && len(sessions) == 0 {
			return identity.ErrNotFound
		}
		return err
	})
	if err != nil {
		return identity.Session{}, identity.User{}, err
	}
	return sessions[0], users[0], nil
}

// TouchSession notes activity. Time never runs backwards in it, and a session that is gone stays gone without an error.
func (s *Store) TouchSession(ctx context.Context, hash []byte, at time.Time) error {
	return s.note(ctx, "touch session", func(tx *sql.Tx) error {
		_, err := change(ctx, tx, `UPDATE sessions SET last_seen_at = $1 WHERE token_hash = $2 AND last_seen_at < $1`,
			toMillis(at), hash)
		return err
	})
}

// DeleteSession ends one session; deleted is false when it had ended before.
func (s *Store) DeleteSession(ctx context.Context, hash []byte) (deleted bool, err error) {
	err = s.write(ctx, "delete session", func(tx *sql.Tx) error {
		n, err := change(ctx, tx, `DELETE FROM sessions WHERE token_hash = $1`, hash)
		deleted = n > 0
		return err
	})
	return deleted && err == nil, err
}

// Sessions lists the sessions of one user, or of all when userRowID is 0, the last used first, expired ones that were not
// swept yet included. Both results have the same length: a session and its user.
func (s *Store) Sessions(ctx context.Context, userRowID int64) (sessions []identity.Session, users []identity.User, err error) {
	err = s.read(ctx, "list sessions", listTimeout, func(ctx context.Context) (err error) {
		where, args := ofUser(userRowID)
		sessions, users, err = querySessions(ctx, s.readers,
			people(signInColumns, signInTables, `s.`+where, `last_seen_at DESC, token_hash`), args...)
		return err
	})
	return sessions, users, err
}

// ofUser is the condition, and its arguments, for the sessions or tokens of one user, or of all when userRowID is 0.
func ofUser(userRowID int64) (where string, args []any) {
	if userRowID == 0 {
		return `user_id IS NOT NULL`, nil
	}
	return `user_id = $1`, []any{userRowID}
}

// revokeBatch is how many sessions end in one transaction, so that everybody's can end in time, however many there are.
const revokeBatch = 500

// RevokeSessions ends the sessions of one user, or of all when userRowID is 0, and stores one event for each: the one
// given, with the session, its user and the address it came from filled in. They are returned, also with an error: then they
// are those that have ended, of more than revokeBatch.
func (s *Store) RevokeSessions(ctx context.Context, userRowID int64, event audit.Event) ([]audit.Event, error) {
	var events []audit.Event
	for {
		some, err := s.revokeSome(ctx, userRowID, event)
		events = append(events, some...)
		if err != nil || len(some) < revokeBatch {
			return events, err
		}
	}
}

func (s *Store) revokeSome(ctx context.Context, userRowID int64, event audit.Event) ([]audit.Event, error) {
	where, args := ofUser(userRowID)
	query := `WITH ended AS MATERIALIZED (SELECT * FROM sessions WHERE ` + where + ` LIMIT $` + strconv.Itoa(len(args)+1) + `) ` +
		people(signInColumns, `ended s JOIN users u ON u.id = s.user_id`, `true`, `token_hash`)
	return s.revoke(ctx, event, func(tx *sql.Tx) ([]identity.Session, []identity.User, error) {
		return querySessions(ctx, tx, query, append(args, revokeBatch)...)
	})
}

// RevokeProviderSessions ends the sessions that a provider of that backend began: the one that the provider calls by that
// name, or, when the name is empty, all that it began for the user of that subject. With both it is the one, if it is that
// user's. Events are stored and returned as RevokeSessions does.
func (s *Store) RevokeProviderSessions(
	ctx context.Context, backend, provider, providerSession, subject string, event audit.Event,
) ([]audit.Event, error) {
	if provider == "" || providerSession == "" && subject == "" {
		return nil, errors.New("revoke sessions: a provider, and a session of it or a subject are needed")
	}
	// Each part stands there only where it is asked for, so that an index serves it.
	where, args := `s.provider = $1 AND u.backend = $2`, []any{provider, backend}
	for _, part := range []struct{ column, value string }{{`s.provider_session`, providerSession}, {`u.subject`, subject}} {
		if part.value != "" {
			args = append(args, part.value)
			where += ` AND ` + part.column + ` = $` + strconv.Itoa(len(args))
		}
	}
	if providerSession != "" {
		where += ` AND s.provider_session <> ''` // what the index has
	}
	return s.revoke(ctx, event, func(tx *sql.Tx) ([]identity.Session, []identity.User, error) {
		return querySessions(ctx, tx, people(signInColumns, signInTables, where, `token_hash`), args...)
	})
}

// revoke ends the sessions that find gives, and stores the event for each.
func (s *Store) revoke(
	ctx context.Context, event audit.Event, find func(tx *sql.Tx) ([]identity.Session, []identity.User, error),
) ([]audit.Event, error) {
	var events []audit.Event
	err := s.write(ctx, "revoke sessions", func(tx *sql.Tx) error {
		events = nil
		sessions, users, err := find(tx)
		if err != nil {
			return err
		}
		for i, session := range sessions {
			one := event
			one.Username, one.Identity, one.Session = users[i].Name, users[i].ID(), session.PublicID()
			if err := appendAudit(ctx, tx, one); err != nil {
				return err
			}
			if _, err := change(ctx, tx, `DELETE FROM sessions WHERE token_hash = $1`, session.TokenHash); err != nil {
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

// SessionSecret is the sealed secret of a session, or identity.ErrNotFound.
func (s *Store) SessionSecret(ctx context.Context, hash []byte) (sealed []byte, err error) {
	err = s.read(ctx, "read a session's secret", readTimeout, func(ctx context.Context) error {
		err := s.readers.QueryRowContext(ctx, `SELECT secret FROM sessions WHERE token_hash = $1`, hash).Scan(&sealed)
		if errors.Is(err, sql.ErrNoRows) {
			return identity.ErrNotFound
		}
		return err
	})
	return sealed, err
}

// ExpiredSessions deletes at most limit sessions that are past their absolute lifetime, or that saw no activity for idle
// (0: no such rule), and returns them with their users.
func (s *Store) ExpiredSessions(ctx context.Context, now time.Time, idle time.Duration, limit int) ([]identity.Session, []identity.User, error) {
	var sessions []identity.Session
	var users []identity.User
	// SQLite numbers parameters by where they stand first, so the limit, which is last, has the last number.
	ended, args := `expires_at <= $1 LIMIT $2`, []any{now.UnixMilli(), limit}
	if idle > 0 {
		ended, args = `expires_at <= $1 OR last_seen_at <= $2 LIMIT $3`, []any{now.UnixMilli(), now.Add(-idle).UnixMilli(), limit}
	}
	err := s.write(ctx, "sweep sessions", func(tx *sql.Tx) (err error) {
		sessions, users = nil, nil
		if alone, err := s.engine.alone(ctx, tx, "sweep sessions"); err != nil || !alone {
			return err
		}
		sessions, users, err = querySessions(ctx, tx,
			`WITH ended AS MATERIALIZED (SELECT * FROM sessions WHERE `+ended+`) `+
				people(signInColumns, `ended s JOIN users u ON u.id = s.user_id`, `true`, `token_hash`), args...)
		if err != nil {
			return err
		}
		for _, session := range sessions {
			if _, err := change(ctx, tx, `DELETE FROM sessions WHERE token_hash = $1`, session.TokenHash); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return sessions, users, nil
}

// CountSessions counts the sessions, expired ones that were not swept yet included.
func (s *Store) CountSessions(ctx context.Context) (int, error) {
	var n int
	err := s.read(ctx, "count sessions", readTimeout, func(ctx context.Context) error {
		return s.readers.QueryRowContext(ctx, `SELECT count(*) FROM sessions`).Scan(&n)
	})
	return n, err
}
