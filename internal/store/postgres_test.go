package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/rs/zerolog"

	"dagster-authkit/e2e/pgtest"
	"dagster-authkit/internal/identity"
)

// server is one PostgreSQL for all tests, started by the first that needs it; each test has a schema of its own.
var (
	server      = sync.OnceValues(func() (*pgtest.Server, error) { started.Store(true); return pgtest.Start() })
	started     atomic.Bool
	schemaCount atomic.Int32
)

func stopServer() {
	if !started.Load() {
		return
	}
	if s, err := server(); err == nil {
		if err := s.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// needServer skips the test by name where there is no PostgreSQL, which is a failure where CI is set.
func needServer(t testing.TB, s *pgtest.Server, err error) *pgtest.Server {
	t.Helper()
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") == "" {
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// patient is for a machine that has other things to do, as the times of TestMain are.
func patient(c *postgresConfig) {
	c.ConnectTimeout = time.Minute
	for _, name := range []string{"lock_timeout", "idle_in_transaction_session_timeout"} {
		c.RuntimeParams[name] = "60000"
	}
}

// newSchema gives Options of a schema that is not there yet.
func newSchema(t testing.TB) Options {
	t.Helper()
	s, err := server()
	needServer(t, s, err)
	return Options{
		URL: s.URL(pgtest.Superuser, pgtest.Password, "postgres"), Schema: fmt.Sprint("test_", schemaCount.Add(1)),
		MaxConnections: 5, Log: zerolog.New(zerolog.NewTestWriter(t)), tweak: patient,
	}
}

func openOptions(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open %s: %v", o.Schema, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	contract(t, func(t *testing.T) *Store { return openOptions(t, newSchema(t)) })
}

// TestPostgresFrom runs the contract on schemas that stopped at earlier migrations.
func TestPostgresFrom(t *testing.T) {
	t.Parallel()
	for version := range int64(len(earlier)) {
		t.Run(earlier[version], func(t *testing.T) {
			t.Parallel()
			contract(t, func(t *testing.T) *Store {
				o := newSchema(t)
				stop := openAt(t, o, version+1)
				return openOptions(t, stop)
			})
		})
	}
}

// openAt makes the schema as it was at an earlier migration.
func openAt(t *testing.T, o Options, version int64) Options {
	t.Helper()
	s, err := server()
	needServer(t, s, err)
	if err := s.Exec(t.Context(), "postgres", `CREATE SCHEMA `+o.Schema); err != nil {
		t.Fatal(err)
	}
	migrateTo(t, "pgx", o.URL+"&search_path="+url.QueryEscape(o.Schema), goose.DialectPostgres, versionTable, version)
	return o
}

// TestStartTogether: ten processes at once on an empty database make one schema and one admin.
func TestStartTogether(t *testing.T) {
	t.Parallel()
	const rounds, processes = 3, 10
	for range rounds {
		o := newSchema(t)
		var all []*os.Process
		for range processes {
			all = append(all, startOpener(t, o.URL, o.Schema))
		}
		for _, p := range all {
			if state, err := p.Wait(); err != nil || !state.Success() {
				t.Errorf("a start failed: %v, %v", state, err)
			}
		}
		s := openOptions(t, o)
		users, err := s.Users(t.Context())
		if want := processes + 1; err != nil || len(users) != want { // each adds one, and one made the admin
			t.Errorf("got %d users, %v, want %d", len(users), err, want)
		}
		if events := countEvents(t, s); events != processes+1 {
			t.Errorf("%d events, want %d", events, processes+1)
		}
	}
}

// TestAcross is the contract between two processes that share a database: what is forbidden to one transaction is so to two.
func TestAcross(t *testing.T) {
	t.Parallel()
	o := newSchema(t)
	stores := []*Store{openOptions(t, o), openOptions(t, o)}
	t.Run("a change is seen", func(t *testing.T) { acrossVersion(t, stores) })
	t.Run("the last admin", func(t *testing.T) { acrossAdmins(t, stores) })
	t.Run("attempts", func(t *testing.T) { acrossAttempts(t, stores) })
	t.Run("late sign-in", func(t *testing.T) { acrossLateSignIn(t, stores) })
	t.Run("one user", func(t *testing.T) { acrossUpsert(t, stores) })
	t.Run("one sweep", func(t *testing.T) { acrossSweep(t, stores) })
}

// each runs f n times on both stores at once.
func each(stores []*Store, n int, f func(s *Store, i int)) {
	var wg sync.WaitGroup
	for i := range n {
		for _, s := range stores {
			wg.Go(func() { f(s, i) })
		}
	}
	wg.Wait()
}

func acrossVersion(t *testing.T, stores []*Store) {
	here, there := stores[0], stores[1]
	user := add(t, here, "alice", identity.Viewer)
	for _, role := range []identity.Role{identity.Editor, identity.Viewer, identity.Editor} {
		mine, err := here.Version(t.Context())
		check(t, "version", err)
		before, err := there.Version(t.Context())
		check(t, "version", err)
		check(t, "set role", here.SetRole(t.Context(), user.RowID, role, false, event()))
		if v, err := here.Version(t.Context()); err != nil || v == mine {
			t.Errorf("the change does not hold at once where it was made: %d, %v", v, err)
		}
		eventually(t, "the change there", func() bool {
			v, err := there.Version(t.Context())
			check(t, "version", err)
			return v != before
		})
	}
}

func acrossAdmins(t *testing.T, stores []*Store) {
	for round := range 10 {
		var admins []identity.User
		for i := range 4 {
			admins = append(admins, add(t, stores[0], fmt.Sprint("admin", round, i), identity.Admin))
		}
		each(stores, len(admins), func(s *Store, i int) {
			var err error
			switch i % 3 {
			case 0:
				err = s.DeleteUser(t.Context(), admins[i].RowID, true, event())
			case 1:
				err = s.SetRole(t.Context(), admins[i].RowID, identity.Viewer, true, event())
			case 2:
				err = s.SetDisabled(t.Context(), admins[i].RowID, true, true, event())
			}
			if err != nil && !errors.Is(err, identity.ErrLastAdmin) && !errors.Is(err, identity.ErrNotFound) {
				t.Error(err)
			}
		})
		var left int
		err := stores[0].readers.QueryRow(`SELECT count(*) FROM users WHERE role = 'admin' AND NOT disabled`).Scan(&left)
		if err != nil || left != 1 {
			t.Fatalf("round %d: %d admins are left, %v, want 1", round, left, err)
		}
		_, err = stores[0].writer.Exec(`DELETE FROM users WHERE role = 'admin'`)
		check(t, "clean", err)
	}
}

func acrossAttempts(t *testing.T, stores []*Store) {
	var pair, address, account atomic.Int32
	each(stores, 40, func(s *Store, i int) {
		for _, c := range []struct {
			passed  *atomic.Int32
			attempt Attempt
		}{
			{&pair, attempt("alice", "a", 0)},
			{&address, attempt(fmt.Sprint("user", i, s == stores[0]), "office", 0)},
			{&account, attempt("bob", fmt.Sprint("bot", i, s == stores[0]), 0)},
		} {
			c.attempt.PerAddress, c.attempt.PerAccount = 20, 30
			wait, err := s.TakeAttempt(t.Context(), c.attempt)
			check(t, "attempt", err)
			if wait == 0 {
				c.passed.Add(1)
			}
		}
	})
	if pair.Load() != 5 || address.Load() != 20 || account.Load() != 30 {
		t.Errorf("of 80 attempts each passed %d of a pair, %d from an address, %d on an account, want 5, 20 and 30",
			pair.Load(), address.Load(), account.Load())
	}
}

// acrossLateSignIn: a sign-in that looked at the old password does not outlive the change of it, whichever comes first.
func acrossLateSignIn(t *testing.T, stores []*Store) {
	user := add(t, stores[0], "carol", identity.Viewer)
	for round := range 50 {
		checked, err := stores[0].UserByName(t.Context(), "local", "carol")
		check(t, "find", err)
		session := lateSession(checked)
		session.TokenHash = fmt.Append(nil, "late ", round)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := stores[0].CreateSession(t.Context(), session); err != nil && !errors.Is(err, identity.ErrNotFound) {
				t.Error(err)
			}
		})
		wg.Go(func() { check(t, "set password", stores[1].SetPassword(t.Context(), user.RowID, "new", event())) })
		wg.Wait()
		if sessions, _, err := stores[0].Sessions(t.Context(), user.RowID); err != nil || len(sessions) != 0 {
			t.Fatalf("round %d: %d sessions outlive the password that they began with, %v", round, len(sessions), err)
		}
	}
}

func acrossUpsert(t *testing.T, stores []*Store) {
	var ids sync.Map
	each(stores, 10, func(s *Store, i int) {
		user, err := s.UpsertUser(t.Context(), identity.User{
			Backend: "ldap", Subject: "dave", Name: fmt.Sprint("dave", i), Role: identity.Viewer, Groups: []string{"data", fmt.Sprint("g", i)}, GroupSource: "ldap",
			RuleGrants: []identity.Grant{{Location: "etl", Role: identity.Editor}},
		})
		check(t, "sign-in", err)
		ids.Store(user.RowID, true)
	})
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d accounts of one person", n)
	}
}

func acrossSweep(t *testing.T, stores []*Store) {
	user := add(t, stores[0], "erin", identity.Viewer)
	for i := range 40 {
		session := identity.Session{TokenHash: fmt.Append(nil, "old ", i), UserRowID: user.RowID, CreatedAt: now, ExpiresAt: now, LastSeenAt: now}
		check(t, "sign-in", stores[0].CreateSession(t.Context(), session))
	}
	var told atomic.Int32
	each(stores, 20, func(s *Store, _ int) {
		sessions, _, err := s.ExpiredSessions(t.Context(), now, 0, 10)
		check(t, "sweep", err)
		told.Add(int32(len(sessions)))
	})
	for _, s := range stores { // who found another at it has left some
		for range 5 {
			sessions, _, err := s.ExpiredSessions(t.Context(), now, 0, 10)
			check(t, "sweep", err)
			told.Add(int32(len(sessions)))
		}
	}
	if told.Load() != 40 {
		t.Errorf("%d sessions were told of as ended, want each of the 40 once", told.Load())
	}
}

func TestPostgresOpenRefuses(t *testing.T) {
	t.Parallel()
	o := newSchema(t)
	s, _ := server()
	if err := s.Exec(t.Context(), "postgres", `CREATE ROLE stranger LOGIN PASSWORD 'hunter2'; CREATE SCHEMA theirs; CREATE TABLE theirs.runs (id int)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "postgres", `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`); err != nil {
		t.Fatal(err)
	}
	newer := newSchema(t)
	if err := openOptions(t, newer).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "postgres", fmt.Sprintf(`INSERT INTO %[1]s.schema_migrations (version_id, is_applied) VALUES (99999, true); UPDATE %[1]s.state SET least_schema = 99999`, newer.Schema)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, url, schema, want string
		mustExist               bool
	}{
		{name: "wrong password", url: s.URL("postgres", "hunter2", "postgres"), want: "check user and password"},
		{name: "no such database", url: s.URL("postgres", pgtest.Password, "none"), want: "CREATE DATABASE"},
		{name: "nobody there", url: "postgres://u:hunter2@127.0.0.1:1/d", want: "is it up"},
		{name: "nonsense", url: "postgres://u:hunter2@127.0.0.1:port/d", want: "can't be read"},
		{name: "bad escape", url: "postgres://u:hunter2%zz@127.0.0.1/d", want: "can't be read"},
		{name: "another program's", url: o.URL, schema: "theirs", want: "holds the tables of another program"},
		{name: "missing and wanted", url: o.URL, schema: "not_there", mustExist: true, want: "make it with init-db"},
		{name: "may not make", url: s.URL("stranger", "hunter2", "postgres"), schema: "forbidden", want: `CREATE SCHEMA forbidden AUTHORIZATION "stranger"`},
		{name: "bad schema", url: o.URL, schema: `a"; DROP`, want: "no plain name"},
		{name: "encoding", url: s.URL("postgres", pgtest.Password, "latin"), want: "UTF8 is needed"},
		{name: "newer schema", url: o.URL, schema: newer.Schema, want: "was made by a newer dagster-authkit (its schema is 99999"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opened, err := Open(t.Context(), Options{URL: tc.url, Schema: tc.schema, MustExist: tc.mustExist, Log: zerolog.Nop()})
			if err == nil {
				t.Fatalf("got no error, want one with %q (closed: %v)", tc.want, opened.Close())
			}
			if !strings.Contains(err.Error(), tc.want) || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %q, want one line with %q and no password", err, tc.want)
			}
			if got := errors.Is(err, ErrNewerSchema); got != (tc.name == "newer schema") {
				t.Errorf("the error is ErrNewerSchema: %t", got)
			}
		})
	}
}

// counter counts every statement of a Store, heartbeats included.
type counter struct{ n atomic.Int64 }

// TraceQueryStart is pgx's.
func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}

// TraceQueryEnd is pgx's.
func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestVersionCostsNoQuery: while nothing changes, asking is free; only the heartbeat goes on, by the clock.
func TestVersionCostsNoQuery(t *testing.T) {
	t.Parallel()
	var statements counter
	o := newSchema(t)
	o.tweak = func(c *postgresConfig) {
		patient(c)
		c.Tracer = &statements
	}
	s := openOptions(t, o)
	eventually(t, "the first heartbeat", func() bool {
		_, sure := s.engine.(*postgres).changes.current()
		return sure
	})
	const asked = 100_000
	before := statements.n.Load()
	for range asked {
		if _, err := s.Version(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := statements.n.Load() - before; n > asked/100 {
		t.Errorf("%d statements while the version was asked for %d times", n, asked)
	}
	before = statements.n.Load() // the control
	if err := s.Ping(t.Context()); err != nil || statements.n.Load() == before {
		t.Errorf("a query is not counted: %v", err)
	}
}
