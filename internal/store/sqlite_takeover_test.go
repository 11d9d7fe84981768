package store

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/identity"
)

func TestTakeover(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dagster_auth.db")
	execFile(t, path, readFixture(t))
	s := openPath(t, path)
	users, err := s.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	utc := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	want := []identity.User{
		{
			Backend: "local", Subject: "alice", Name: "alice", Email: "alice@example.org", FullName: "Alice Liddell",
			Role: identity.Admin, CreatedAt: utc("2026-11-23T17:52:43.411Z"), LastLoginAt: utc("2026-11-23T17:52:47.480Z"),
		},
		{
			Backend: "local", Subject: "bob", Name: "Bob", Role: identity.Editor,
			CreatedAt: utc("2026-11-23T17:52:45.503Z"), LastLoginAt: utc("2026-11-23T17:52:47.421Z"),
		},
		{Backend: "local", Subject: "carol", Name: "carol", Role: identity.Launcher, CreatedAt: utc("2026-11-23T17:52:46.163Z")},
		{Backend: "local", Subject: "dave", Name: "dave", Role: identity.Viewer, Disabled: true, CreatedAt: utc("2026-11-23T17:52:46.683Z")},
	}
	if diff := cmp.Diff(want, users, cmpopts.IgnoreFields(identity.User{}, "RowID")); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	_, hash, err := s.Credentials(t.Context(), "bob")
	if err != nil || hash != "$2b$12$XtB6RTU94cpvcu.4vbc8p.wCwXh2GOq7UOtqCNK9zDw5k0c7A64.O" {
		t.Errorf("bob's hash: got %q, %v", hash, err)
	}
	var kept int
	if err := s.readers.QueryRow(`SELECT count(*) FROM python_authkit_users WHERE username IN ('alice', 'Bob', 'carol', 'dave')`).Scan(&kept); err != nil || kept != 4 {
		t.Errorf("the Python table has %d users, %v, want 4", kept, err)
	}
	if made, err := s.Bootstrap(t.Context(), identity.User{Backend: "local", Name: "admin"}, "", event()); made || err != nil {
		t.Errorf("bootstrap after a takeover: got %v, %v", made, err)
	}
	if err := s.DeleteUser(t.Context(), users[1].RowID, true, event()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if again, err := openPath(t, path).Users(t.Context()); err != nil || len(again) != 3 {
		t.Errorf("at the second start: got %d users, %v, want 3: it is taken over once", len(again), err)
	}
}

const pythonSchema = `CREATE TABLE users (username VARCHAR(255) NOT NULL PRIMARY KEY, password_hash VARCHAR(255) NOT NULL,
	role INTEGER NOT NULL, email VARCHAR(255), full_name VARCHAR(255), is_active INTEGER NOT NULL, created_at DATETIME NOT NULL,
	last_login DATETIME, session_version INTEGER NOT NULL);`

func TestTakeoverOfOddRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	execFile(t, path, pythonSchema+`INSERT INTO users VALUES
		('boss', 'h', 50, NULL, NULL, 1, 'yesterday', '', 1), ('', 'h', 40, NULL, NULL, 1, '2026-01-01 00:00:00', NULL, 1),
		('named', 'h', 'EDITOR', NULL, NULL, 1, '2026-01-01 00:00:00', NULL, 1), ('plain', 'h', 10, '', '', 1, '2026-01-01 00:00:00.5+02:00', NULL, 1);
		CREATE TABLE something_else (id INTEGER)`)
	var log strings.Builder
	s, err := Open(t.Context(), Options{URL: path, Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	users, err := s.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, u := range users {
		got[u.Name] = string(u.Role)
		if u.Disabled {
			got[u.Name] += " disabled"
		}
		if u.CreatedAt.IsZero() || !u.LastLoginAt.IsZero() {
			t.Errorf("%q: made at %v, last login %v", u.Name, u.CreatedAt, u.LastLoginAt)
		}
	}
	want := map[string]string{"boss": " disabled", "": "admin disabled", "named": "editor", "plain": "viewer"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if !strings.Contains(log.String(), `"users":["","boss"]`) {
		t.Errorf("the log does not name those who are disabled: %s", log.String())
	}
}

func TestTakeoverRefusesNamesThatAreOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	execFile(t, path, pythonSchema+`INSERT INTO users VALUES ('alice', 'h1', 10, NULL, NULL, 1, '', NULL, 1),
		('Alice', 'h2', 40, NULL, NULL, 1, '', NULL, 1), ('bob', 'h3', 40, NULL, NULL, 1, '', NULL, 1)`)
	for range 2 {
		_, err := Open(t.Context(), Options{URL: path, Log: zerolog.Nop()})
		if err == nil || !strings.Contains(err.Error(), `"Alice" and "alice"`) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("got %v, want one line that names both", err)
		}
	}
	// Nothing was changed: the Python program still finds its table, and so do we when the names are mended.
	execFile(t, path, `UPDATE users SET username = 'alice2' WHERE password_hash = 'h1'`)
	users, err := openPath(t, path).Users(t.Context())
	if err != nil || len(users) != 3 {
		t.Errorf("after mending: got %d users, %v, want 3", len(users), err)
	}
}

// TestTakeoverIsAllOrNothing makes its last step fail: a hash that our table does not take.
func TestTakeoverIsAllOrNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	execFile(t, path, `CREATE TABLE users (username, password_hash, role, email, full_name, is_active, created_at, last_login);
		INSERT INTO users VALUES ('alice', 'h', 10, NULL, NULL, 1, '', NULL), ('zoe', NULL, 10, NULL, NULL, 1, '', NULL);
		CREATE TABLE audit_events (id INTEGER)`)
	if _, err := Open(t.Context(), Options{URL: path, Log: zerolog.Nop()}); err == nil {
		t.Fatal("got no error, want one: the schema can't be made")
	}
	execFile(t, path, `DROP TABLE audit_events; SELECT username FROM users`)
	if users, err := openPath(t, path).Users(t.Context()); err != nil || len(users) != 2 {
		t.Errorf("got %d users, %v, want 2", len(users), err)
	}
}
