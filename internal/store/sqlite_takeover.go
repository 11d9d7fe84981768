package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
	"dagster-authkit/migrations"
)

const (
	// pythonTable is where the Python AuthKit's table is kept, untouched, for whoever wants to go back.
	pythonTable = "python_authkit_users"
	// firstMigration is the schema that a takeover makes; the others follow as in any database of that age.
	firstMigration = "sqlite/00001_first.sql"
	// takenOverBy is who made the accounts, in their audit events.
	takenOverBy = "takeover:python-authkit"
)

// isPython knows the table users of the Python AuthKit by the columns that every release of it had.
func isPython(userColumns []string) bool {
	for _, name := range []string{"username", "password_hash", "role", "is_active", "created_at"} {
		if !slices.Contains(userColumns, name) {
			return false
		}
	}
	return true
}

// pythonUser is a row of its table, in types that any content fits.
type pythonUser struct {
	name, hash, role, email, fullName, created, login sql.NullString
	active                                            bool
}

// takeOver turns a database of the Python AuthKit into ours, in one transaction: after any failure or kill it is as it
// was. goose runs each migration in a transaction of its own, so the first one is run here and recorded in goose's table.
func (s *Store) takeOver(ctx context.Context, log zerolog.Logger) error {
	var users, unusable []string
	err := s.write(ctx, "take over the database of the Python AuthKit", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `ALTER TABLE users RENAME TO `+pythonTable); err != nil {
			return fmt.Errorf("rename its table: %w", err)
		}
		if err := firstSchema(ctx, tx); err != nil {
			return err
		}
		rows, err := readPython(ctx, tx)
		if err != nil {
			return fmt.Errorf("read its table: %w", err)
		}
		if err := checkNames(rows); err != nil {
			return err
		}
		for _, row := range rows {
			user, usable := row.user()
			if err := adopt(ctx, tx, user, row.hash.String); err != nil {
				return fmt.Errorf("copy user %q: %w", user.Name, err)
			}
			users = append(users, user.Name)
			if !usable {
				unusable = append(unusable, user.Name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	log.Info().Int("users", len(users)).Str("kept_as", pythonTable).Msg("took over the database of the Python AuthKit")
	if len(unusable) > 0 {
		log.Warn().Strs("users", unusable).
			Msg("these users have an unknown role or no name, and are disabled: use change-role and enable-user, or delete-user")
	}
	return nil
}

func firstSchema(ctx context.Context, tx *sql.Tx) error {
	schema, err := migrations.SQLite.ReadFile(firstMigration)
	if err != nil {
		return fmt.Errorf("read the first migration: %w", err)
	}
	if _, err := tx.ExecContext(ctx, string(schema)); err != nil { // goose's marks in it are comments
		return fmt.Errorf("make the schema: %w", err)
	}
	versions, err := database.NewStore(database.DialectSQLite3, goose.DefaultTablename)
	if err != nil {
		return fmt.Errorf("make the schema's version: %w", err)
	}
	if err := versions.CreateVersionTable(ctx, tx); err != nil {
		return fmt.Errorf("make the schema's version: %w", err)
	}
	for _, version := range []int64{0, 1} { // goose wants a row for "nothing yet"
		if err := versions.Insert(ctx, tx, database.InsertRequest{Version: version}); err != nil {
			return fmt.Errorf("make the schema's version: %w", err)
		}
	}
	return nil
}

// readPython reads everything as text: SQLite keeps what it was given, whatever the column's type says.
func readPython(ctx context.Context, tx *sql.Tx) (_ []pythonUser, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT CAST(username AS TEXT), CAST(password_hash AS TEXT), CAST(role AS TEXT),
		CAST(email AS TEXT), CAST(full_name AS TEXT), CAST(created_at AS TEXT), CAST(last_login AS TEXT),
		coalesce(CAST(is_active AS INTEGER), 0) <> 0 FROM `+pythonTable+` ORDER BY username`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var users []pythonUser
	for rows.Next() {
		var u pythonUser
		err := rows.Scan(&u.name, &u.hash, &u.role, &u.email, &u.fullName, &u.created, &u.login, &u.active)
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, rows.Err()
}

// checkNames refuses names that would become one account: which of the two keeps role and password is not ours to guess.
func checkNames(users []pythonUser) error {
	seen := make(map[string]string, len(users))
	for _, u := range users {
		key := identity.NameKey(u.name.String)
		if other, taken := seen[key]; taken {
			return fmt.Errorf("users %q and %q are one name here, where case does not count: "+
				"rename or delete one of them with the Python program or sqlite3; nothing was changed", other, u.name.String)
		}
		seen[key] = u.name.String
	}
	return nil
}

// user is the account as it will be here. One whose role is unknown, or that has no name, is kept but disabled, and the
// unknown role becomes one that may do nothing: the Python program lets such a user not sign in either.
func (u pythonUser) user() (_ identity.User, usable bool) {
	role, known := pythonRole(u.role.String)
	usable = known && identity.NameKey(u.name.String) != ""
	return identity.User{
		Backend: localBackend, Name: u.name.String, Email: u.email.String, FullName: u.fullName.String, Role: role,
		Disabled: !u.active || !usable, CreatedAt: pythonTime(u.created.String), LastLoginAt: pythonTime(u.login.String),
	}, usable
}

// pythonRole reads a role as the Python AuthKit does: a number, or in some releases the number's name.
func pythonRole(text string) (identity.Role, bool) {
	switch strings.ToUpper(text) {
	case "10", "VIEWER":
		return identity.Viewer, true
	case "20", "LAUNCHER":
		return identity.Launcher, true
	case "30", "EDITOR":
		return identity.Editor, true
	case "40", "ADMIN":
		return identity.Admin, true
	}
	return "", false
}

// pythonTime reads what peewee wrote, and gives the zero time for anything else: a date is no reason to stay out.
func pythonTime(text string) time.Time {
	for _, layout := range []string{"2006-01-02 15:04:05.999999-07:00", "2006-01-02 15:04:05.999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

func adopt(ctx context.Context, tx *sql.Tx, user identity.User, hash string) error {
	user, err := insertUser(ctx, tx, user, hash)
	if err != nil {
		return err
	}
	return appendAudit(ctx, tx, audit.Event{
		Type: audit.EventUserCreated, Username: user.Name, Identity: user.ID(), Roles: []string{string(user.Role)},
		PerformedBy: takenOverBy, Timestamp: time.Now(),
	})
}
