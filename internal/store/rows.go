package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"dagster-authkit/internal/identity"
)

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// userColumns and sessionColumns are what userRow and sessionRow scan.
const (
	userColumns = `u.id, u.backend AS backend, u.subject AS subject, u.name, u.email, u.full_name, u.role, u.disabled, u.epoch,
		u.created_at, u.last_login_at, g.location AS granted_in, g.role AS granted`
	sessionColumns = `s.token_hash AS token_hash, s.user_id, s.created_at, s.expires_at, s.last_seen_at AS last_seen_at, s.address,
		s.user_agent, s.provider, s.provider_session, s.refreshed_at AS refreshed_at`
)

// people writes a query of userColumns, and others, in which each user has one row for each grant, and one without when
// there is none of the user's own. It has three parts, for the user's own grants, for those of the user's groups, and for
// those that rules give; what is in several is one. From names users as u; order is by names of columns, and must keep the
// rows of one user together.
func people(columns, from, where, order string) string {
	part := func(grants string) string {
		return `SELECT ` + columns + ` FROM ` + from + grants + ` WHERE ` + where
	}
	return part(` LEFT JOIN grants g ON g.user_id = u.id`) + ` UNION ` +
		part(` JOIN user_groups m ON m.user_id = u.id JOIN group_grants g ON g.group_name = m.group_name`) + ` UNION ` +
		part(` JOIN rule_grants g ON g.user_id = u.id`) +
		` ORDER BY ` + order + `, granted_in, granted`
}

// userRow is one row of userColumns.
type userRow struct {
	user       identity.User
	created    sql.NullInt64
	login      sql.NullInt64
	location   sql.NullString
	grantRole  sql.NullString
	sessionRow *sessionRow // nil: the query has no sessionColumns
	tokenRow   *tokenRow   // nil: the query has no ownedColumns
}

type sessionRow struct {
	session                           identity.Session
	created, expires, seen, refreshed sql.NullInt64
}

type tokenRow struct {
	token                  identity.Token
	created, expires, used sql.NullInt64
}

func (r *userRow) scan(rows *sql.Rows) error {
	u := &r.user
	into := []any{
		&u.RowID, &u.Backend, &u.Subject, &u.Name, &u.Email, &u.FullName, &u.Role, &u.Disabled, &u.Epoch, &r.created,
		&r.login, &r.location, &r.grantRole,
	}
	if r.sessionRow != nil {
		s := &r.sessionRow.session
		into = append(into, &s.TokenHash, &s.UserRowID, &r.sessionRow.created, &r.sessionRow.expires,
			&r.sessionRow.seen, &s.Address, &s.UserAgent, &s.Provider, &s.ProviderSession, &r.sessionRow.refreshed)
	}
	if r.tokenRow != nil {
		t := &r.tokenRow.token
		into = append(into, &t.Hash, &t.UserRowID, &t.Name, &t.Role, &t.Location, &r.tokenRow.created, &r.tokenRow.expires, &r.tokenRow.used)
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	u.CreatedAt, u.LastLoginAt = fromMillis(r.created), fromMillis(r.login)
	if r.location.Valid {
		u.Grants = []identity.Grant{{Location: r.location.String, Role: identity.Role(r.grantRole.String)}}
	}
	if s := r.sessionRow; s != nil {
		s.session.CreatedAt, s.session.ExpiresAt, s.session.LastSeenAt = fromMillis(s.created), fromMillis(s.expires), fromMillis(s.seen)
		s.session.RefreshedAt = fromMillis(s.refreshed)
	}
	if t := r.tokenRow; t != nil {
		t.token.CreatedAt, t.token.ExpiresAt, t.token.LastUsedAt = fromMillis(t.created), fromMillis(t.expires), fromMillis(t.used)
	}
	return nil
}

// queryUsers runs a query of userColumns in which the rows of one user follow each other.
func queryUsers(ctx context.Context, db querier, query string, args ...any) (_ []identity.User, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var users []identity.User
	for rows.Next() {
		var row userRow
		if err := row.scan(rows); err != nil {
			return nil, err
		}
		if n := len(users); n > 0 && users[n-1].RowID == row.user.RowID {
			users[n-1].Grants = append(users[n-1].Grants, row.user.Grants...)
			continue
		}
		users = append(users, row.user)
	}
	return users, rows.Err()
}

// querySessions runs a query of userColumns and sessionColumns in which the rows of one session follow each other. The
// two results have the same length: a session and its user.
func querySessions(ctx context.Context, db querier, query string, args ...any) (_ []identity.Session, _ []identity.User, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var sessions []identity.Session
	var users []identity.User
	for rows.Next() {
		row := userRow{sessionRow: &sessionRow{}}
		if err := row.scan(rows); err != nil {
			return nil, nil, err
		}
		session := row.sessionRow.session
		if n := len(sessions); n > 0 && string(sessions[n-1].TokenHash) == string(session.TokenHash) {
			users[n-1].Grants = append(users[n-1].Grants, row.user.Grants...)
			continue
		}
		sessions, users = append(sessions, session), append(users, row.user)
	}
	return sessions, users, rows.Err()
}

// oneUser is queryUsers for a query that can find one user at most.
func oneUser(ctx context.Context, db querier, query string, args ...any) (identity.User, error) {
	users, err := queryUsers(ctx, db, query, args...)
	if err != nil {
		return identity.User{}, err
	}
	if len(users) == 0 {
		return identity.User{}, identity.ErrNotFound
	}
	return users[0], nil
}

// mustChange runs a statement, and gives ErrNotFound when it touched no row.
func mustChange(ctx context.Context, db querier, query string, args ...any) error {
	n, err := change(ctx, db, query, args...)
	if err == nil && n == 0 {
		return identity.ErrNotFound
	}
	return err
}

func change(ctx context.Context, db querier, query string, args ...any) (int64, error) {
	result, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("count changed rows: %w", err)
	}
	return n, nil
}
