package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// localBackend is the backend of the users whose password is in the database, and serviceBackend that of programs' accounts.
const (
	localBackend   = "local"
	serviceBackend = "service"
)

// maxNameBytes bounds what is normalised: a stranger's name of a megabyte would cost more than it is worth. A name of 64
// characters has at most 256 bytes. It is measured as typed, blanks included: were a name with a kilobyte of blanks
// before it an account's, every number of blanks would be another name to whoever counts attempts.
const maxNameBytes = 256

// nameKey is identity.NameKey for names that strangers typed; false when no account can have that name.
func nameKey(name string) (string, bool) {
	if len(name) > maxNameBytes || !isText(name) {
		return "", false
	}
	return identity.NameKey(name), true
}

// isText is false for what PostgreSQL refuses to store as text.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// asText makes text of what somebody else sent, so that an odd byte in it is no reason to fail.
func asText(s string) string {
	if isText(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// CreateUser makes the account and stores its event. Local users get the subject that their name gives, all others bring
// one. The error is identity.ErrExists when there is such an account.
func (s *Store) CreateUser(ctx context.Context, user identity.User, passwordHash string, event audit.Event) (identity.User, error) {
	var made identity.User
	err := s.write(ctx, "create user", func(tx *sql.Tx) (err error) {
		made, err = insertUser(ctx, tx, user, passwordHash)
		if err != nil {
			return err
		}
		return appendAudit(ctx, tx, event)
	})
	if err != nil {
		return identity.User{}, err
	}
	return made, nil
}

// Bootstrap is CreateUser in a database that never had a local user; in any other it does nothing, also when that user
// and all others were deleted since: a deleted admin must not rise with the old password.
func (s *Store) Bootstrap(ctx context.Context, user identity.User, passwordHash string, event audit.Event) (made bool, err error) {
	err = s.write(ctx, "bootstrap", func(tx *sql.Tx) error {
		made = false
		had, err := hadUsers(ctx, tx)
		if err != nil || had {
			return err
		}
		if _, err := insertUser(ctx, tx, user, passwordHash); err != nil {
			return err
		}
		made = true
		return appendAudit(ctx, tx, event)
	})
	return made && err == nil, err
}

func insertUser(ctx context.Context, db querier, user identity.User, passwordHash string) (identity.User, error) {
	if user.Backend == localBackend {
		user.Subject = identity.NameKey(user.Name)
	}
	if user.CreatedAt.IsZero() {
		user.CreatedAt = time.Now()
	}
	created := toMillis(user.CreatedAt)
	user.CreatedAt = fromMillis(created)
	user.Name, user.Email, user.FullName = asText(user.Name), asText(user.Email), asText(user.FullName)
	// A row that is there already is no error of the statement's: that would end the transaction on PostgreSQL.
	err := db.QueryRowContext(ctx, `INSERT INTO users
		(backend, subject, name, email, full_name, role, password_hash, disabled, created_at, last_login_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (backend, subject) DO NOTHING RETURNING id`,
		user.Backend, user.Subject, user.Name, user.Email, user.FullName, user.Role, passwordHash, user.Disabled,
		created, toMillis(user.LastLoginAt)).Scan(&user.RowID)
	if errors.Is(err, sql.ErrNoRows) {
		return identity.User{}, identity.ErrExists
	}
	if err != nil {
		return identity.User{}, fmt.Errorf("insert user: %w", err)
	}
	for _, grant := range user.Grants {
		if _, err := db.ExecContext(ctx, `INSERT INTO grants (user_id, location, role) VALUES ($1, $2, $3)`,
			user.RowID, grant.Location, grant.Role); err != nil {
			return identity.User{}, fmt.Errorf("insert grant: %w", err)
		}
	}
	return user, nil
}

// HasUsers reports whether there is a local user now who is not disabled: someone who can sign in.
func (s *Store) HasUsers(ctx context.Context) (bool, error) {
	var has bool
	err := s.read(ctx, "look for users", readTimeout, func(ctx context.Context) error {
		return s.readers.QueryRowContext(ctx,
			`SELECT EXISTS (SELECT 1 FROM users WHERE backend = $1 AND NOT disabled)`, localBackend).Scan(&has)
	})
	return has, err
}

// HadUsers reports whether the database ever had a local user, deleted ones included.
func (s *Store) HadUsers(ctx context.Context) (bool, error) {
	var had bool
	err := s.read(ctx, "look for former users", readTimeout, func(ctx context.Context) (err error) {
		had, err = hadUsers(ctx, s.readers)
		return err
	})
	return had, err
}

func hadUsers(ctx context.Context, db querier) (had bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT had_local_user FROM state`).Scan(&had)
	return had, err
}

// UserByName finds an account by its name in any spelling that identity.NameKey takes for the same. For backends other
// than local it finds by subject.
func (s *Store) UserByName(ctx context.Context, backend, name string) (identity.User, error) {
	subject, possible := nameKey(name)
	if backend != localBackend {
		subject, possible = name, isText(name)
	}
	if !possible {
		return identity.User{}, fmt.Errorf("read user: %w", identity.ErrNotFound)
	}
	var user identity.User
	err := s.read(ctx, "read user", readTimeout, func(ctx context.Context) (err error) {
		user, err = userBySubject(ctx, s.readers, backend, subject)
		return err
	})
	return user, err
}

func userBySubject(ctx context.Context, db querier, backend, subject string) (identity.User, error) {
	return oneUser(ctx, db, people(userColumns, `users u`, `u.backend = $1 AND u.subject = $2`, `subject`), backend, subject)
}

// Users lists all accounts, by backend and name.
func (s *Store) Users(ctx context.Context) ([]identity.User, error) {
	var users []identity.User
	err := s.read(ctx, "list users", listTimeout, func(ctx context.Context) (err error) {
		users, err = queryUsers(ctx, s.readers, people(userColumns, `users u`, `true`, `backend, subject`))
		return err
	})
	return users, err
}

// UpsertUser makes the account of somebody whom another backend vouches for, or refreshes its name, email, full name and
// role, the user's groups, and what rules give for them, with what that backend says now. Disabled and grants are AuthKit's
// own: they stay as they are, and are returned, with the grants of the groups and rules.
func (s *Store) UpsertUser(ctx context.Context, user identity.User) (identity.User, error) {
	if user.Backend == localBackend || user.Backend == serviceBackend || user.Backend == "" || user.Subject == "" || !isText(user.Subject) {
		return identity.User{}, fmt.Errorf("refresh user: %q is not an account of another backend", user.ID())
	}
	user.Name, user.Email, user.FullName = asText(user.Name), asText(user.Email), asText(user.FullName)
	stored, same, err := s.unchanged(ctx, user)
	if err != nil || same {
		return stored, err
	}
	err = s.write(ctx, "refresh user", func(tx *sql.Tx) error {
		_, err := insertUser(ctx, tx, user, "")
		if errors.Is(err, identity.ErrExists) {
			// Nothing is written when nothing changed, so that a sign-in does not empty every session cache.
			_, err = change(ctx, tx, `UPDATE users SET name = $1, email = $2, full_name = $3, role = $4
				WHERE backend = $5 AND subject = $6 AND (name <> $1 OR email <> $2 OR full_name <> $3 OR role <> $4)`,
				user.Name, user.Email, user.FullName, user.Role, user.Backend, user.Subject)
		}
		if err != nil {
			return err
		}
		if err := setGroups(ctx, tx, user); err != nil {
			return err
		}
		if err := setRuleGrants(ctx, tx, user); err != nil {
			return err
		}
		stored, err = userBySubject(ctx, tx, user.Backend, user.Subject)
		return err
	})
	if err != nil {
		return identity.User{}, err
	}
	return stored, nil
}

// LastSeen is when the account's backend last told of it as far as is known here: at a sign-in, or when a session that goes on was
// refreshed. A refresh in which nobody was asked (of a provider that gives no refresh tokens, within oidc.Options.Unchecked) counts
// as a word of the provider, and signing out ends the session's row and with it that word. It is zero for one that never signed in,
// or is gone.
func (s *Store) LastSeen(ctx context.Context, rowID int64) (time.Time, error) {
	var at sql.NullInt64
	err := s.read(ctx, "read when a user was last seen", readTimeout, func(ctx context.Context) error {
		return s.readers.QueryRowContext(ctx, `SELECT MAX(seen.moment) FROM (SELECT last_login_at AS moment FROM users WHERE id = $1
			UNION ALL SELECT MAX(refreshed_at) FROM sessions WHERE user_id = $1) seen`, rowID).Scan(&at)
	})
	return fromMillis(at), err
}

// SignedIn notes the time of the account's last sign-in.
func (s *Store) SignedIn(ctx context.Context, rowID int64, at time.Time) error {
	return s.note(ctx, "note sign-in", func(tx *sql.Tx) error {
		return mustChange(ctx, tx, `UPDATE users SET last_login_at = $1 WHERE id = $2`, toMillis(at), rowID)
	})
}
