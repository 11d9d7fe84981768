package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"dagster-authkit/e2e/pgtest"
	"dagster-authkit/internal/identity"
)

// TestPostgresFaults does to a real server what happens to servers. None of it may hang, sign anybody out, or let a stale
// cache be used, and all is well by itself when the server is.
func TestPostgresFaults(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start("max_connections=40")
	needServer(t, server, err)
	t.Cleanup(func() {
		if err := server.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := server.Exec(t.Context(), "postgres", `CREATE ROLE authkit LOGIN PASSWORD 'x'; CREATE SCHEMA authkit AUTHORIZATION authkit`); err != nil {
		t.Fatal(err)
	}
	check(t, "a disk", server.SmallDisk(t.Context(), "postgres", "authkit", 16<<20))
	o := Options{URL: server.URL("authkit", "x", "postgres"), MaxConnections: 5, Log: zerolog.Nop()}
	f := &faults{server: server, s: openOptions(t, o), other: openOptions(t, o)}
	f.user = add(t, f.s, "alice", identity.Viewer)
	signIn(t, f.s, f.user, "session")
	for _, tc := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"restarted", f.restarted},
		{"connections cut", f.cut},
		{"frozen", f.frozen},
		{"listener frozen", f.listenerFrozen},
		{"too many connections", f.tooMany},
		{"disk full", f.diskFull},
		{"nobody may try whether it is full", f.untried},
		{"slow", f.slow},
		{"everybody at once", f.crowd},
		{"a process stopped in the middle", f.stoppedInTheMiddle},
		{"another database under the same name", f.older},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.run(t)
			f.well(t)
		})
	}
}

type faults struct {
	server   *pgtest.Server
	s, other *Store
	user     identity.User
}

// well: everything works again, and the session is still there.
func (f *faults) well(t *testing.T) {
	t.Helper()
	begun := time.Now()
	eventually(t, "both to be well again", func() bool {
		for _, s := range []*Store{f.s, f.other} {
			_, versionErr := s.Version(t.Context())
			_, _, err := s.SessionByHash(t.Context(), []byte("session"))
			if errors.Is(err, identity.ErrNotFound) {
				t.Fatal("the fault ended a session")
			}
			if errors.Join(versionErr, err, s.Ping(t.Context()), s.AppendAudit(t.Context(), event())) != nil {
				return false
			}
		}
		return true
	})
	t.Logf("well again after %v", time.Since(begun).Round(time.Millisecond))
	acrossVersionOf(t, []*Store{f.s, f.other}, f.user)
}

// fails: every way to use the store ends, and with a fault: nobody is unknown, and no number is good.
func (f *faults) fails(t *testing.T) {
	t.Helper()
	_ = versionFault(t, f.s)
	begun := time.Now()
	var all sync.WaitGroup
	for what, use := range map[string]func(ctx context.Context) error{
		"version": func(ctx context.Context) error { _, err := f.s.Version(ctx); return err },
		"session": func(ctx context.Context) error { _, _, err := f.s.SessionByHash(ctx, []byte("session")); return err },
		"ping":    func(ctx context.Context) error { return f.s.Ping(ctx) },
		"attempt": func(ctx context.Context) error { _, err := f.s.TakeAttempt(ctx, attempt("a", "b", 0)); return err },
		"audit":   func(ctx context.Context) error { return f.s.AppendAudit(ctx, event()) },
		"sign-in": func(ctx context.Context) error { return f.s.CreateSession(ctx, lateSession(f.user)) },
		"role": func(ctx context.Context) error {
			return f.s.SetRole(ctx, f.user.RowID, identity.Admin, false, event())
		},
	} {
		for range 3 {
			all.Go(func() {
				if err := use(t.Context()); err == nil || errors.Is(err, identity.ErrNotFound) {
					t.Errorf("%s: got %v, want a fault", what, err)
				}
			})
		}
	}
	all.Wait()
	t.Logf("everything failed within %v", time.Since(begun).Round(time.Millisecond))
}

// restarted: what comes back may be another database, so nothing that was known before counts.
func (f *faults) restarted(t *testing.T) {
	before, err := f.s.Version(t.Context())
	check(t, "version", err)
	check(t, "down", f.server.Down())
	f.fails(t)
	check(t, "up", f.server.Up())
	eventually(t, "a version", func() bool { _, err := f.s.Version(t.Context()); return err == nil })
	if now, err := f.s.Version(t.Context()); err != nil || now == before {
		t.Errorf("the version is %d, %v, want another than before", now, err)
	}
}

// cut ends every connection. Those of the pool are dead before they are used, which nobody notices.
func (f *faults) cut(t *testing.T) {
	eventually(t, "connections in the pool", func() bool {
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { check(t, "ping", f.s.Ping(t.Context())) })
		}
		all.Wait()
		return f.s.Connections().Idle > 2
	})
	check(t, "cut", f.server.Exec(t.Context(), "postgres", `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'authkit'`))
	check(t, "a write", f.s.AppendAudit(t.Context(), event()))
	for range 10 {
		check(t, "a read", f.s.Ping(t.Context()))
	}
}

func (f *faults) frozen(t *testing.T) {
	check(t, "freeze", f.server.Freeze())
	f.fails(t)
	check(t, "thaw", f.server.Thaw())
}

// listenerFrozen stops only the processes that serve the listening connections: the number must be right all the same.
func (f *faults) listenerFrozen(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), f.server.URL(pgtest.Superuser, pgtest.Password, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%'||$1`, listens)
	check(t, "find", err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil || len(pids) != 2 {
		t.Fatalf("got %d listening connections, %v, want 2", len(pids), err)
	}
	for _, pid := range pids {
		check(t, "freeze", syscall.Kill(pid, syscall.SIGSTOP))
	}
	acrossVersionOf(t, []*Store{f.s, f.other}, f.user)
	for _, pid := range pids {
		check(t, "thaw", syscall.Kill(pid, syscall.SIGCONT))
	}
}

func (f *faults) tooMany(t *testing.T) {
	t.Cleanup(func() { // also when this fails
		check(t, "lift", f.server.Exec(context.Background(), "postgres", `ALTER ROLE authkit CONNECTION LIMIT -1`))
	})
	// Two transactions: who is thrown out before the limit is committed, comes in again.
	check(t, "limit", f.server.Exec(t.Context(), "postgres", `ALTER ROLE authkit CONNECTION LIMIT 0`))
	check(t, "cut", f.server.Exec(t.Context(), "postgres", `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'authkit'`))
	_, err := Open(t.Context(), Options{URL: f.server.URL("authkit", "x", "postgres"), Log: zerolog.Nop()})
	if err == nil || !strings.Contains(err.Error(), "--db-max-connections") {
		t.Errorf("got %v, want that there are too many connections", err)
	}
	f.fails(t)
	check(t, "lift", f.server.Exec(t.Context(), "postgres", `ALTER ROLE authkit CONNECTION LIMIT -1`))
}

// crowd: however many ask, there are no more connections than were allowed, the one that listens among them.
func (f *faults) crowd(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), f.server.URL(pgtest.Superuser, pgtest.Password, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `BEGIN; LOCK TABLE authkit.sessions`)
	check(t, "lock", err)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() { _, _, _ = f.s.SessionByHash(t.Context(), []byte("session")) }) // waits for the lock, on a connection of its own
	}
	eventually(t, "all connections in use", func() bool { return f.s.Connections().InUse == 4 })
	var connections int
	check(t, "count", conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE usename = 'authkit'`).Scan(&connections))
	if connections > 10 || f.s.Connections().Max != 4 {
		t.Errorf("two stores that may have 5 connections each have %d", connections)
	}
	_, err = conn.Exec(t.Context(), `ROLLBACK`)
	check(t, "unlock", err)
	all.Wait()
	if f.s.Connections().Waits == 0 {
		t.Error("the control: nobody had to wait")
	}
}

// slow: a table that somebody locks makes what needs it fail in time, and nothing else.
func (f *faults) slow(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), f.server.URL(pgtest.Superuser, pgtest.Password, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `BEGIN; LOCK TABLE authkit.sessions`)
	check(t, "lock", err)
	// Reads give up before lock_timeout, but not in these tests (TestMain).
	if _, _, err := f.s.SessionByHash(t.Context(), []byte("session")); !errors.Is(err, context.DeadlineExceeded) && !isLockTimeout(err) {
		t.Errorf("got %v, want that it took too long", err)
	}
	check(t, "the rest", f.s.Ping(t.Context()))
	// A minute is what statements may take; nobody waits that long for a lock.
	ctx, cancel := context.WithTimeout(t.Context(), 55*time.Second)
	defer cancel()
	if err := f.s.CreateSession(ctx, lateSession(f.user)); err == nil || ctx.Err() != nil {
		t.Errorf("a change that waits for the lock: got %v, want a fault before its time is up", err)
	}
	_, err = conn.Exec(t.Context(), `ROLLBACK`)
	check(t, "unlock", err)
}

// isLockTimeout is PostgreSQL's word for it (lock_not_available).
func isLockTimeout(err error) bool {
	refused, is := errors.AsType[*pgconn.PgError](err)
	return is && refused.Code == "55P03"
}

// stoppedInTheMiddle: a process that sleeps while it holds the lock of all changes is thrown out by PostgreSQL.
func (f *faults) stoppedInTheMiddle(t *testing.T) {
	tx, err := f.other.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "lock", f.other.engine.serialise(t.Context(), tx))
	eventually(t, "the change of another", func() bool {
		return f.s.SetRole(t.Context(), f.user.RowID, identity.Editor, false, event()) == nil
	})
	if err := tx.Commit(); err == nil {
		t.Error("the one that slept could commit")
	}
}

// older: after a restored backup the version may be lower, and what was cached is as wrong as with a higher one.
func (f *faults) older(t *testing.T) {
	before, err := f.s.Version(t.Context())
	check(t, "version", err)
	check(t, "restore", f.server.Exec(t.Context(), "postgres", `UPDATE authkit.state SET version = 3`))
	eventually(t, "another number", func() bool {
		now, err := f.s.Version(t.Context())
		return err == nil && now != before
	})
}

// acrossVersionOf changes something in one and waits until the other knows.
func acrossVersionOf(t *testing.T, stores []*Store, user identity.User) {
	t.Helper()
	for i, here := range stores {
		there := stores[1-i]
		before, err := there.Version(t.Context())
		check(t, "version", err)
		if err := here.SetRole(t.Context(), user.RowID, identity.Role(fmt.Sprint("role", time.Now().UnixNano())), false, event()); err != nil {
			t.Errorf("set role: %v", err)
		}
		begun := time.Now()
		eventually(t, "the change there", func() bool {
			now, err := there.Version(t.Context())
			check(t, "version", err)
			return now != before
		})
		t.Logf("the change was seen after %v", time.Since(begun).Round(time.Millisecond))
	}
}
