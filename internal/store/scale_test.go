package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dagster-authkit/internal/identity"
)

// sizes are how many rows TestScale generates. A query that can only read a table whole is found out at the small size too; the full
// one shows what the planners choose, and how long things take.
type sizes struct{ users, sessions, events, attempts int }

var (
	smallSizes = sizes{users: 2000, sessions: 20_000, events: 20_000, attempts: 5000}
	fullSizes  = sizes{users: 100_000, sessions: 1_000_000, events: 10_000_000, attempts: 100_000}
)

// largeTables may not be read whole.
var largeTables = []string{"users", "sessions", "audit_events", "login_attempts", "login_addresses", "user_groups", "rule_grants", "grants", "tokens", "used_up"}

// excused are queries that may read a table from its beginning, for a reason.
var excused = []string{
	`SELECT count(*) FROM sessions`,                                           // for the metrics; both engines count an index
	`SELECT EXISTS (SELECT 1 FROM users WHERE backend = $1 AND NOT disabled)`, // ends at the first one
}

// lists are the methods that give, or end, what everybody has. An administrator's command asks for them, and they read all of it.
var lists = []string{"users", "grants", "all sessions", "all tokens", "revoke some of all"}

// TestScale takes down every statement that the store runs for a request, a sign-in or a sweep, and asks both engines how they
// would run it on tables as large as `make scale` makes them.
func TestScale(t *testing.T) {
	size := smallSizes
	if os.Getenv("STORE_SCALE") == "full" {
		size = fullSizes
	}
	var taken recorder
	o := newSchema(t)
	o.tweak = func(c *postgresConfig) {
		patient(c)
		c.Tracer = &taken
	}
	s := openOptions(t, o)
	begun := time.Now()
	generate(t, s.writer, size, postgresNumbers, "ANALYZE")
	t.Logf("PostgreSQL: generated in %v", time.Since(begun).Round(time.Millisecond))
	use(t, s, size, &taken)
	statements := taken.list()
	t.Logf("%d statements", len(statements))
	for _, table := range largeTables {
		if !slices.ContainsFunc(statements, func(st statement) bool { return strings.Contains(st.sql, table) }) {
			t.Errorf("no statement on %s was taken down", table)
		}
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		conn := planner(t, s, size)
		for _, st := range statements {
			plan, err := names(t.Context(), conn, `EXPLAIN `+st.sql, st.args...)
			if err != nil {
				t.Errorf("%s: %v", st.sql, err)
			}
			judge(t, st, plan, postgresWhole)
		}
		plan, err := names(t.Context(), conn, `EXPLAIN `+unindexed)
		if err != nil || !readsWhole(plan, postgresWhole) {
			t.Errorf("the control is not found to read all: %v\n%s", err, strings.Join(plan, "\n"))
		}
	})
	t.Run("SQLite", func(t *testing.T) {
		lite := openPath(t, filepath.Join(t.TempDir(), "a.db"))
		begun := time.Now()
		generate(t, lite.writer, size, sqliteNumbers, "ANALYZE")
		t.Logf("SQLite: generated in %v", time.Since(begun).Round(time.Millisecond))
		use(t, lite, size, nil)
		for _, st := range statements {
			if strings.Contains(st.sql, "pg_") || strings.Contains(st.sql, "FOR UPDATE") {
				continue // the locks of PostgreSQL
			}
			judge(t, st, sqlitePlan(t, lite, st), sqliteWhole)
		}
		if plan := sqlitePlan(t, lite, statement{sql: unindexed}); !readsWhole(plan, sqliteWhole) {
			t.Errorf("the control is not found to read all:\n%s", strings.Join(plan, "\n"))
		}
	})
}

// planner is a connection on which plans are asked for. To read a small table whole is right, so there PostgreSQL is told to do that
// only where it has no other way; at the full size it decides as it would for anybody.
func planner(t *testing.T, s *Store, size sizes) *sql.Conn {
	t.Helper()
	conn, err := s.readers.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, "close", conn.Close()) })
	if size != fullSizes {
		_, err = conn.ExecContext(t.Context(), `SET enable_seqscan = off`)
		check(t, "prepare", err)
	}
	return conn
}

// TestScaleUsesEverything: a method of the store that TestScale does not call has statements that nobody looked at.
func TestScaleUsesEverything(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("scale_test.go")
	check(t, "read", err)
	for method := range reflect.TypeFor[*Store]().Methods() {
		if name := method.Name; name != "Close" && name != "Connections" && !strings.Contains(string(text), "s."+name+"(") {
			t.Errorf("TestScale does not use Store.%s", name)
		}
	}
}

// unindexed is a query that can only read everything, to see that this is noticed.
const unindexed = `SELECT user_agent FROM sessions WHERE user_agent = 'x'`

func postgresWhole(line, table string) bool { return strings.Contains(line, "Seq Scan on "+table+" ") }

// sqliteWhole lets the scan of an index pass that holds little: that of the hashes which the Python AuthKit left.
func sqliteWhole(line, table string) bool {
	return (line == "SCAN "+table || strings.HasPrefix(line, "SCAN "+table+" ")) && !strings.HasSuffix(line, "users_by_legacy_hash")
}

func judge(t *testing.T, st statement, plan []string, whole func(line, table string) bool) {
	t.Helper()
	if !slices.Contains(excused, st.sql) && !slices.Contains(lists, st.step) && readsWhole(plan, whole) {
		t.Errorf("%s: %s\nreads a large table from end to end:\n%s", st.step, st.sql, strings.Join(plan, "\n"))
	}
}

func readsWhole(plan []string, whole func(line, table string) bool) bool {
	return slices.ContainsFunc(plan, func(line string) bool {
		return slices.ContainsFunc(largeTables, func(table string) bool { return whole(line, table) })
	})
}

func sqlitePlan(t *testing.T, s *Store, st statement) (plan []string) {
	t.Helper()
	rows, err := s.writer.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+st.sql, st.args...)
	if err != nil {
		t.Fatalf("%s: %v", st.sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var line string
		check(t, "plan", rows.Scan(&id, &parent, &unused, &line))
		// SQLite speaks of the names that the query gives: "s" is sessions, "u" is users, "m" user_groups.
		for alias, table := range map[string]string{"s": "sessions", "u": "users", "m": "user_groups", "o": "users", "t": "tokens", "g": "grants"} {
			if rest, ok := strings.CutPrefix(line, "SCAN "+alias); ok && (rest == "" || rest[0] == ' ') && !strings.Contains(st.sql, "MATERIALIZED") {
				line = "SCAN " + table + rest
			}
		}
		plan = append(plan, line)
	}
	check(t, "plan", rows.Err())
	return plan
}

// use runs everything that happens while people use AuthKit, and says how long each took.
func use(t *testing.T, s *Store, size sizes, taken *recorder) {
	t.Helper()
	ctx := t.Context()
	user, err := s.UserByName(ctx, "local", "user1000")
	check(t, "a user", err)
	token := []byte("token 1000")
	if taken != nil {
		defer taken.during("")
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"version", func() error { _, err := s.Version(ctx); return err }},
		{"ping", func() error { return s.Ping(ctx) }},
		{"session by hash", func() error { _, _, err := s.SessionByHash(ctx, token); return err }},
		{"user by name", func() error { _, err := s.UserByName(ctx, "local", "user1000"); return err }},
		{"credentials", func() error { _, _, err := s.Credentials(ctx, "user1000"); return err }},
		{"legacy hashes", func() error { _, err := s.LegacyHashes(ctx); return err }},
		{"has users", func() error { _, err := s.HasUsers(ctx); return err }},
		{"had users", func() error { _, err := s.HadUsers(ctx); return err }},
		{"bootstrap", func() error { _, err := s.Bootstrap(ctx, user, "x", event()); return err }},
		{"create user", func() error {
			_, err := s.CreateUser(ctx, identity.User{Backend: "local", Name: "new", Role: identity.Viewer, Grants: []identity.Grant{{Location: "l", Role: identity.Admin}}}, "x", event())
			return err
		}},
		{"users", func() error { _, err := s.Users(ctx); return err }},
		{"grants", func() error { _, err := s.Grants(ctx); return err }},
		{"all sessions", func() error {
			if size == fullSizes {
				return nil // a gigabyte; an administrator who asks for a million lines waits for them
			}
			_, _, err := s.Sessions(ctx, 0)
			return err
		}},
		{"all tokens", func() error { _, _, err := s.Tokens(ctx, 0); return err }},
		{"sessions of one", func() error { _, _, err := s.Sessions(ctx, user.RowID); return err }},
		{"grants of one", func() error { _, err := s.GrantsOf(ctx, user.RowID); return err }},
		{"count sessions", func() error { _, err := s.CountSessions(ctx); return err }},
		{"attempt", func() error { _, err := s.TakeAttempt(ctx, attempt("user1000", "10.0.0.1", 0)); return err }},
		{"drop attempt", func() error { return s.DropAttempt(ctx, "user1000", "10.0.0.1") }},
		{"clear attempts", func() error { return s.ClearAttempts(ctx, "user1000", "10.0.0.1", now) }},
		{"forget attempts", func() error { _, err := s.ForgetAttempts(ctx, "user1000"); return err }},
		{"last seen", func() error { _, err := s.LastSeen(ctx, user.RowID); return err }},
		{"signed in", func() error { return s.SignedIn(ctx, user.RowID, now) }},
		{"create session", func() error {
			return s.CreateSession(ctx, identity.Session{TokenHash: []byte("new"), UserRowID: user.RowID, UserEpoch: user.Epoch, CreatedAt: now, ExpiresAt: now, LastSeenAt: now})
		}},
		{"touch", func() error { return s.TouchSession(ctx, token, now.Add(time.Hour)) }},
		{"due", func() error { _, _, err := s.DueSessions(ctx, now, now, 100); return err }},
		{"claim", func() error { _, _, err := s.ClaimSession(ctx, token, now, now, now); return err }},
		{"release", func() error { return s.ReleaseSession(ctx, token, now, now) }},
		{"refresh", func() error { return s.RefreshSession(ctx, token, now, now, nil, now) }},
		{"secret", func() error { _, err := s.SessionSecret(ctx, token); return err }},
		{"provider's session", func() error {
			_, err := s.RevokeProviderSessions(ctx, "ldap", "corp", "sid-1000", "", event())
			return err
		}},
		{"provider's user", func() error {
			_, err := s.RevokeProviderSessions(ctx, "ldap", "corp", "", "user1001", event())
			return err
		}},
		{"provider's session of a user", func() error {
			_, err := s.RevokeProviderSessions(ctx, "ldap", "corp", "sid-1004", "user1005", event())
			return err
		}},
		{"create token", func() error {
			return s.CreateToken(ctx, identity.Token{Hash: []byte("program"), UserRowID: user.RowID, Name: "ci", CreatedAt: now, ExpiresAt: now}, event())
		}},
		{"create the same", func() error {
			err := s.CreateToken(ctx, identity.Token{Hash: []byte("other"), UserRowID: user.RowID, Name: "ci", CreatedAt: now, ExpiresAt: now}, event())
			if errors.Is(err, identity.ErrExists) {
				return nil
			}
			return fmt.Errorf("got %w, want ErrExists", err)
		}},
		{"token", func() error { _, _, err := s.TokenByHash(ctx, []byte("program")); return err }},
		{"tokens of one", func() error { _, _, err := s.Tokens(ctx, user.RowID); return err }},
		{"touch token", func() error { return s.TouchToken(ctx, []byte("program"), now.Add(time.Hour)) }},
		{"sweep no tokens", func() error { _, err := s.ExpireTokens(ctx, now.Add(-time.Hour), 100, event()); return err }},
		{"sweep tokens", func() error { _, err := s.ExpireTokens(ctx, now.Add(200*time.Millisecond), 100, event()); return err }},
		{"delete token", func() error {
			return s.DeleteToken(ctx, []byte("token 1500"), event())
		}},
		{"use up", func() error { _, err := s.UseUp(ctx, "state", now, now); return err }},
		{"used up", func() error { _, err := s.UsedUp(ctx, "state", now); return err }},
		{"sweep what was used", func() error { _, err := s.SweepUsedUp(ctx, now.Add(-time.Hour), 1000); return err }},
		{"delete session", func() error { _, err := s.DeleteSession(ctx, []byte("new")); return err }},
		{"sweep no sessions", func() error { _, _, err := s.ExpiredSessions(ctx, now.Add(-1000*time.Hour), 0, 100); return err }},
		{"sweep sessions", func() error { _, _, err := s.ExpiredSessions(ctx, now.Add(200*time.Millisecond), 0, 100); return err }},
		{"sweep idle sessions", func() error {
			_, _, err := s.ExpiredSessions(ctx, now.Add(-1000*time.Hour), time.Hour, 100)
			return err
		}},
		{"sweep attempts", func() error { _, err := s.SweepAttempts(ctx, now.Add(-10000*time.Hour), 1000); return err }},
		{"sweep no audit", func() error { _, err := s.SweepAudit(ctx, now.Add(-10000*time.Hour), 1000); return err }},
		{"sweep audit", func() error { _, err := s.SweepAudit(ctx, now.Add(2*time.Second), 1000); return err }},
		{"audit", func() error { return s.AppendAudit(ctx, event()) }},
		{"set role", func() error { return s.SetRole(ctx, user.RowID, identity.Viewer, true, event()) }},
		{"set role of an admin", func() error { return s.SetRole(ctx, user.RowID, identity.Admin, true, event()) }},
		{"set password", func() error { return s.SetPassword(ctx, user.RowID, "x", event()) }},
		{"replace hash", func() error { return s.ReplaceHash(ctx, user.RowID, "x", "y") }},
		{"disable", func() error { return s.SetDisabled(ctx, user.RowID, true, true, event()) }},
		{"grant", func() error {
			return s.SetGrant(ctx, identity.Holder{User: user}, identity.Grant{Location: "l", Role: identity.Viewer}, event())
		}},
		{"revoke", func() error { return s.DeleteGrant(ctx, identity.Holder{User: user}, "l", event()) }},
		{"grant to a group", func() error {
			return s.SetGrant(ctx, identity.Holder{Group: "group7"}, identity.Grant{Location: "l", Role: identity.Viewer}, event())
		}},
		{"revoke from a group", func() error { return s.DeleteGrant(ctx, identity.Holder{Group: "group7"}, "l", event()) }},
		{"upsert", func() error {
			_, err := s.UpsertUser(ctx, identity.User{
				Backend: "ldap", Subject: "user7", Name: "x", Role: identity.Viewer, Groups: []string{"a", "b"}, GroupSource: "ldap",
				RuleGrants: []identity.Grant{{Location: "m", Role: identity.Viewer}},
			})
			return err
		}},
		{"lose role", func() error { return s.LoseRole(ctx, "ldap", "user9") }},
		{"revoke sessions of one", func() error { _, err := s.RevokeSessions(ctx, user.RowID+1, event()); return err }},
		{"revoke some of all", func() error { _, err := s.revokeSome(ctx, 0, event()); return err }},
		{"delete user", func() error { return s.DeleteUser(ctx, user.RowID+2, true, event()) }},
	} {
		if taken != nil {
			taken.during(step.what)
		}
		begun := time.Now()
		check(t, step.what, step.do())
		if size == fullSizes {
			t.Logf("%-24s %v", step.what, time.Since(begun).Round(10*time.Microsecond))
		}
	}
}

// postgresNumbers and sqliteNumbers give a table n(i) with the numbers from 1 to the one that %d stands for.
const (
	postgresNumbers = `SELECT i FROM generate_series(1, %d) AS g(i)`
	sqliteNumbers   = `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) SELECT i FROM c`
)

func generate(t *testing.T, db *sql.DB, size sizes, numbers, analyze string) {
	t.Helper()
	from := func(n int) string { return `FROM (` + fmt.Sprintf(numbers, n) + `) AS n` }
	hash := func(i string) string {
		if numbers == postgresNumbers {
			return `convert_to('token ' || ` + i + `, 'UTF8')`
		}
		return `CAST('token ' || ` + i + ` AS BLOB)`
	}
	ms := now.UnixMilli()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if numbers == postgresNumbers {
		if _, err := conn.ExecContext(t.Context(), `SET statement_timeout = 0`); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		fmt.Sprintf(`INSERT INTO users (backend, subject, name, role, password_hash, created_at)
			SELECT CASE WHEN i %% 2 = 0 THEN 'local' ELSE 'ldap' END, 'user' || i, 'user' || i, CASE WHEN i %% 1000 = 0 THEN 'admin' ELSE 'viewer' END, '$argon2id$' || i, %d `, ms) + from(size.users),
		`INSERT INTO grants (user_id, location, role) SELECT i, 'etl', 'editor' ` + from(size.users/2),
		`INSERT INTO user_groups (user_id, group_name) SELECT i, 'group' || (i % 100) ` + from(size.users/2),
		`INSERT INTO rule_grants (user_id, location, role) SELECT i, 'ml', 'editor' ` + from(size.users/2),
		fmt.Sprintf(`INSERT INTO sessions (token_hash, user_id, created_at, expires_at, last_seen_at, refreshed_at, provider, provider_session)
			SELECT %s, 1 + i %% %d, %d, %d + i, %d + i, CASE WHEN i %% 2 = 0 THEN %d + i END, CASE WHEN i %% 2 = 0 THEN 'corp' ELSE '' END,
			CASE WHEN i %% 4 = 0 THEN 'sid-' || i ELSE '' END `, hash("i"), size.users, ms, ms, ms, ms) + from(size.sessions),
		fmt.Sprintf(`INSERT INTO tokens (token_hash, user_id, name, created_at, expires_at) SELECT %s, i, 'laptop', %d, %d + i `, hash("i"), ms, ms) + from(size.users),
		fmt.Sprintf(`INSERT INTO login_attempts (account, address, at) SELECT 'user' || (i %% 1000), '10.0.0.' || (i %% 250), %d - i `, ms) + from(size.attempts),
		fmt.Sprintf(`INSERT INTO login_addresses (account, address, at) SELECT 'user' || i, '10.0.0.' || (i %% 250), %d - i `, ms) + from(size.attempts),
		fmt.Sprintf(`INSERT INTO used_up (hash, ends_at) SELECT %s, %d + i `, hash("i"), ms) + from(size.attempts),
		fmt.Sprintf(`INSERT INTO audit_events (at, event_type, username, username_key, status, ip, request_id, performed_by, event)
			SELECT %d + i, 'ACCESS_CONTROL', 'user' || (i %% %d), 'user' || (i %% %d), 'ALLOWED', '10.0.0.1', 'request' || i, '',
			'{"event_type":"ACCESS_CONTROL","username":"user","action":"POST","resource":"/graphql","status":"ALLOWED"}' `, ms, size.users, size.users) + from(size.events),
		analyze,
	} {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

type statement struct {
	sql  string
	args []any
	step string // of use, in which it was run
}

// recorder takes down each statement once for each step of use, with the arguments of its first time there.
type recorder struct {
	mu    sync.Mutex
	step  string // empty: nothing is taken down
	taken []statement
}

func (r *recorder) during(step string) { r.mu.Lock(); r.step = step; r.mu.Unlock() }

func (r *recorder) list() []statement { return r.taken }

// TraceQueryStart is pgx's.
func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	verb, _, _ := strings.Cut(strings.TrimSpace(data.SQL), " ")
	known := slices.ContainsFunc(r.taken, func(s statement) bool { return s.sql == data.SQL && s.step == r.step })
	if r.step != "" && !known && slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}, verb) {
		args := slices.DeleteFunc(slices.Clone(data.Args), func(arg any) bool { // what database/sql adds for pgx
			_, formats := arg.(pgx.QueryResultFormatsByOID)
			return formats
		})
		r.taken = append(r.taken, statement{data.SQL, args, r.step})
	}
	return ctx
}

// TraceQueryEnd is pgx's.
func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
