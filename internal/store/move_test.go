package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/e2e/pgtest"
	"dagster-authkit/internal/identity"
)

// fill puts something into every table that is moved.
func fill(t *testing.T, s *Store) {
	t.Helper()
	alice := add(t, s, "Alice", identity.Admin)
	off := add(t, s, "off", identity.Viewer)
	check(t, "disable", s.SetDisabled(t.Context(), off.RowID, true, false, event()))
	check(t, "delete", s.DeleteUser(t.Context(), add(t, s, "gone", identity.Viewer).RowID, false, event()))
	ada, err := s.UpsertUser(t.Context(), identity.User{
		Backend: "ldap", Subject: "1", Name: "ada", Role: identity.Viewer, Groups: []string{"data"}, GroupSource: "ldap", CreatedAt: now, LastLoginAt: now,
		RuleGrants: []identity.Grant{{Location: "etl", Role: identity.Editor}},
	})
	check(t, "ada", err)
	grantTo(t, s, identity.Holder{User: ada}, "ml", identity.Launcher)
	grantTo(t, s, identity.Holder{Group: "ldap:data"}, "dbt", identity.Editor)
	check(t, "known address", s.ClearAttempts(t.Context(), "alice", "192.0.2.1", now))
	check(t, "token", s.CreateToken(t.Context(), identity.Token{
		Hash: []byte("token"), UserRowID: alice.RowID, Name: "ci", Role: identity.Launcher, Location: "etl", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}, event()))
	signIn(t, s, alice, "session")
	take(t, s, attempt("alice", "x", 0), 0)
	for range 1200 { // more than one statement takes
		check(t, "event", s.AppendAudit(t.Context(), event()))
	}
}

// dump is everything that is moved, as text.
func dump(t *testing.T, s *Store) string {
	t.Helper()
	users, err := s.Users(t.Context())
	check(t, "users", err)
	grants, err := s.Grants(t.Context())
	check(t, "grants", err)
	var b strings.Builder
	fmt.Fprintln(&b, users, grants)
	for _, query := range []string{
		`SELECT name || password_hash || epoch FROM users ORDER BY id`, `SELECT user_id || group_name FROM user_groups ORDER BY 1`,
		`SELECT user_id || location || role FROM rule_grants ORDER BY 1`, `SELECT account || address || at FROM login_addresses ORDER BY 1`,
		`SELECT user_id || name || role || location || expires_at FROM tokens ORDER BY 1`,
		`SELECT id || event_type || username_key || at || event FROM audit_events ORDER BY id`,
	} {
		list, err := names(t.Context(), s.readers, query)
		check(t, query, err)
		fmt.Fprintln(&b, strings.Join(list, "\n"))
	}
	return b.String()
}

func quiet(string, int64, int64) {}

func TestMove(t *testing.T) {
	t.Parallel()
	first := openNew(t)
	fill(t, first)
	want := dump(t, first)
	there := openOptions(t, newSchema(t))
	back := openNew(t)
	elsewhere := openOptions(t, newSchema(t))
	for _, way := range []struct {
		name     string
		from, to *Store
	}{{"SQLite to PostgreSQL", first, there}, {"PostgreSQL to SQLite", there, back}, {"PostgreSQL to PostgreSQL", there, elsewhere}} {
		moved, err := Move(t.Context(), way.from, way.to, false, quiet)
		if err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		for _, table := range moved {
			if table.From != table.To || table.From == 0 {
				t.Errorf("%s: %+v, want rows and as many as before", way.name, table)
			}
		}
		if diff := cmp.Diff(want, dump(t, way.to)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", way.name, diff)
		}
		if n, err := way.to.CountSessions(t.Context()); n != 0 || err != nil {
			t.Errorf("%s: %d sessions moved, %v", way.name, n, err)
		}
		if _, err := way.to.Bootstrap(t.Context(), identity.User{Backend: "local", Name: "admin"}, "", event()); err != nil {
			t.Errorf("%s: bootstrap: %v", way.name, err)
		}
		if _, err := way.to.UserByName(t.Context(), "local", "admin"); !errors.Is(err, identity.ErrNotFound) {
			t.Errorf("%s: the new database forgot that it had users: %v", way.name, err)
		}
		// Numbers go on after the highest: a new user and event collide with none.
		check(t, "remove the addition", way.to.DeleteUser(t.Context(), add(t, way.to, "new", identity.Viewer).RowID, false, event()))
		_, err = way.to.writer.Exec(`DELETE FROM audit_events WHERE id > (SELECT max(id) - 2 FROM audit_events)`)
		check(t, "remove the events", err)
	}
}

func TestMoveRefuses(t *testing.T) {
	t.Parallel()
	from, to := openNew(t), openOptions(t, newSchema(t))
	fill(t, from)
	bob := add(t, to, "bob", identity.Admin)
	signIn(t, to, bob, "bob's")
	before := dump(t, to)
	if _, err := Move(t.Context(), from, to, false, quiet); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("got %v, want that the target is not empty", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	if _, err := Move(ended, from, to, true, func(table string, _, _ int64) {
		if table == "audit_events" {
			cancel() // in the middle of the last table
		}
	}); err == nil {
		t.Error("got no error of a move that was cut off")
	}
	if diff := cmp.Diff(before, dump(t, to)); diff != "" {
		t.Errorf("a move that failed left something (-want +got):\n%s", diff)
	}
	if _, _, err := to.SessionByHash(t.Context(), []byte("bob's")); err != nil {
		t.Errorf("a move that failed ended a session: %v", err)
	}
	version, err := to.Version(t.Context())
	check(t, "version", err)
	if _, err := Move(t.Context(), from, to, true, quiet); err != nil {
		t.Errorf("with force: %v", err)
	}
	if diff := cmp.Diff(dump(t, from), dump(t, to)); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
	if now, err := to.Version(t.Context()); err != nil || now == version {
		t.Errorf("who was signed in there is not looked at anew: %v", err)
	}
}

// TestEveryTableIsDecidedOn: a new table is moved or left behind, and nobody forgets to say which.
func TestEveryTableIsDecidedOn(t *testing.T) {
	t.Parallel()
	tables, err := names(t.Context(), openNew(t).readers, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'`)
	check(t, "tables", err)
	for _, table := range tables {
		if !slices.Contains(slices.Concat(movedTables, leftTables, ownTables), table) {
			t.Errorf("the table %s is in none of the lists of move.go", table)
		}
	}
}

func TestBackup(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?.db")
	s := openPath(t, path)
	fill(t, s)
	want := dump(t, s)
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	stopped := make(chan struct{})
	go func() { // somebody writes meanwhile
		defer close(stopped)
		for writing.Err() == nil {
			if err := s.SignedIn(context.WithoutCancel(writing), 1, now); err != nil {
				t.Errorf("write during the backup: %v", err)
			}
		}
	}()
	target := filepath.Join(t.TempDir(), "b.db")
	if err := Backup(t.Context(), path, target); err != nil {
		t.Fatal(err)
	}
	stop()
	<-stopped
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has the mode %v, %v", info.Mode(), err)
	}
	if err := Backup(t.Context(), path, target); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over a file: got %v", err)
	}
	if err := Backup(t.Context(), filepath.Join(t.TempDir(), "none.db"), target+"2"); err == nil {
		t.Error("of nothing: got no error")
	}
	if left, err := filepath.Glob(filepath.Dir(target) + "/.*"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	copied := openPath(t, target)
	_, err := copied.writer.Exec(`UPDATE users SET last_login_at = NULL WHERE id = 1`)
	check(t, "forget what was written meanwhile", err)
	if diff := cmp.Diff(want, dump(t, copied)); diff != "" {
		t.Errorf("copy (-want +got):\n%s", diff)
	}
}

// TestDumpCommand runs the line that is printed, and restores what it wrote into an empty database.
func TestDumpCommand(t *testing.T) {
	t.Parallel()
	o := newSchema(t)
	s := openOptions(t, o)
	fill(t, s)
	postgres, _ := server()
	file := filepath.Join(t.TempDir(), "it's.dump")
	line, err := DumpCommand(o, file)
	if err != nil || strings.Contains(line, "correct") {
		t.Fatalf("got %q, %v, want a line without the password", line, err)
	}
	run := func(line string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append(os.Environ(), "PGPASSWORD="+pgtest.Password, "PATH="+postgres.Programs()+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	run(line)
	if err := postgres.Exec(t.Context(), "postgres", `CREATE DATABASE restored`); err != nil {
		t.Fatal(err)
	}
	restored := o
	restored.URL = strings.Replace(o.URL, "/postgres?", "/restored?", 1)
	run("pg_restore --dbname=" + quote(strings.Replace(restored.URL, ":correct%20horse", "", 1)) + " " + quote(file))
	r := openOptions(t, restored)
	if diff := cmp.Diff(dump(t, s), dump(t, r)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	if _, _, err := r.SessionByHash(t.Context(), []byte("session")); err != nil {
		t.Errorf("the session: %v", err)
	}
	acrossVersionOf(t, []*Store{r, openOptions(t, restored)}, identity.User{RowID: 1}) // triggers too
}
