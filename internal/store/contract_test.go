package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// contract is what every engine must do: open gives a new, empty database.
func contract(t *testing.T, open func(t *testing.T) *Store) {
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, s *Store)
	}{
		{"create and find users", testUsers},
		{"names that are one", testSameNames},
		{"bootstrap once", testBootstrap},
		{"the last admin", testLastAdmin},
		{"two admins leave at once", testAdminsLeave},
		{"change and event together", testAtomicEvent},
		{"users of other backends", testUpsert},
		{"password hashes", testHashes},
		{"sessions", testSessions},
		{"sessions end with their user's rights", testSessionsEnd},
		{"expired sessions", testExpired},
		{"refreshed sessions", testRefresh},
		{"used up", testUsedUp},
		{"sessions of a provider", testProviderSessions},
		{"grants by rules", testRuleGrants},
		{"a role that is lost", testLoseRole},
		{"revoked sessions", testRevoke},
		{"many revoked sessions", testRevokeMany},
		{"late sign-in", testLateSignIn},
		{"version", testVersion},
		{"tokens", testTokens},
		{"tokens used and expired", testTokensUsedAndExpired},
		{"grants", testGrants},
		{"grants of groups", testGroupGrants},
		{"grants and events together", testGrantEvents},
		{"audit rows", testAudit},
		{"old audit rows", testSweepAudit},
		{"attempts of a pair", testAttemptsPair},
		{"attempts from an address", testAttemptsAddress},
		{"attempts on an account", testAttemptsAccount},
		{"attempts in parallel", testAttemptsParallel},
		{"attempts forgotten", testAttemptsForgotten},
		{"attempts with odd names", testAttemptsNames},
		{"odd bytes", testOddBytes},
		{"faults are not absence", testFaults},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(t, open(t))
		})
	}
}

// now is a time with whole milliseconds, which is what the database keeps.
var now = time.Date(2026, 1, 25, 10, 30, 0, 123e6, time.UTC)

func event() audit.Event {
	return audit.Event{Type: "TEST", Username: "somebody", PerformedBy: "cli:root", Timestamp: now}
}

func add(t *testing.T, s *Store, name string, role identity.Role) identity.User {
	t.Helper()
	user, err := s.CreateUser(t.Context(), identity.User{Backend: "local", Name: name, Role: role, CreatedAt: now}, "hash of "+name, event())
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func signIn(t *testing.T, s *Store, user identity.User, token string) identity.Session {
	t.Helper()
	user, err := s.UserByName(t.Context(), user.Backend, user.Name) // as the sign-in finds it now
	check(t, "find the user", err)
	session := identity.Session{
		TokenHash: []byte(token), UserRowID: user.RowID, UserEpoch: user.Epoch, CreatedAt: now, ExpiresAt: now.Add(time.Hour), LastSeenAt: now,
		Address: "192.0.2.1", UserAgent: "Mozilla/5.0",
	}
	if err := s.CreateSession(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	return session
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func testUsers(t *testing.T, s *Store) {
	has, err := s.HasUsers(t.Context())
	if err != nil || has {
		t.Errorf("HasUsers of nothing: got %v, %v", has, err)
	}
	user := identity.User{
		Backend: "local", Name: "Alice", Email: "alice@example.org", FullName: "Alice Liddell", Role: identity.Editor,
		CreatedAt: now, Grants: []identity.Grant{{Location: "a", Role: identity.Admin}, {Location: "b", Role: identity.Editor}},
	}
	made, err := s.CreateUser(t.Context(), user, "hash", event())
	check(t, "create", err)
	user.RowID, user.Subject = made.RowID, "alice"
	if diff := cmp.Diff(user, made); diff != "" || made.RowID == 0 {
		t.Errorf("created user (-want +got):\n%s", diff)
	}
	found, err := s.UserByName(t.Context(), "local", "ALICE ")
	check(t, "find", err)
	if diff := cmp.Diff(user, found); diff != "" {
		t.Errorf("found user (-want +got):\n%s", diff)
	}
	bob := add(t, s, "bob", identity.Viewer)
	check(t, "signed in", s.SignedIn(t.Context(), bob.RowID, now.Add(time.Minute)))
	bob.LastLoginAt = now.Add(time.Minute)
	users, err := s.Users(t.Context())
	check(t, "list", err)
	if diff := cmp.Diff([]identity.User{user, bob}, users); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	_, err = s.UserByName(t.Context(), "local", "carol")
	wantErr(t, "unknown user", err, identity.ErrNotFound)
	_, err = s.UserByName(t.Context(), "ldap", "alice")
	wantErr(t, "user of another backend", err, identity.ErrNotFound)
	wantErr(t, "sign-in of nobody", s.SignedIn(t.Context(), 999, now), identity.ErrNotFound)
	if has, err := s.HasUsers(t.Context()); err != nil || !has {
		t.Errorf("HasUsers: got %v, %v, want true", has, err)
	}
}

func testSameNames(t *testing.T, s *Store) {
	add(t, s, "Straße", identity.Viewer)
	for _, name := range []string{"straße", "STRASSE", "Ｓｔｒａｓｓｅ", " straße "} {
		_, err := s.CreateUser(t.Context(), identity.User{Backend: "local", Name: name}, "", event())
		wantErr(t, name, err, identity.ErrExists)
	}
	add(t, s, "Strase", identity.Viewer) // the control
}

func testBootstrap(t *testing.T, s *Store) {
	admin := identity.User{Backend: "local", Name: "admin", Role: identity.Admin}
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ok, err := s.Bootstrap(t.Context(), admin, "hash", event())
			check(t, "bootstrap", err)
			if ok {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times, want once", made.Load())
	}
	user, err := s.UserByName(t.Context(), "local", "admin")
	check(t, "find", err)
	check(t, "delete", s.DeleteUser(t.Context(), user.RowID, false, event()))
	ok, err := s.Bootstrap(t.Context(), admin, "hash", event())
	if ok || err != nil {
		t.Errorf("a deleted admin rose: %v, %v", ok, err)
	}
	had, err := s.HadUsers(t.Context())
	has, err2 := s.HasUsers(t.Context())
	if err != nil || err2 != nil || !had || has {
		t.Errorf("had %v, has %v, %v, %v, want true and false", had, has, err, err2)
	}
}

func testLastAdmin(t *testing.T, s *Store) {
	admin := add(t, s, "admin", identity.Admin)
	viewer := add(t, s, "viewer", identity.Viewer)
	off := add(t, s, "off", identity.Admin)
	check(t, "disable", s.SetDisabled(t.Context(), off.RowID, true, true, event()))
	_, err := s.UpsertUser(t.Context(), identity.User{Backend: "ldap", Subject: "x", Name: "x", Role: identity.Admin})
	check(t, "an admin of another backend", err)
	for what, err := range map[string]error{
		"delete":  s.DeleteUser(t.Context(), admin.RowID, true, event()),
		"disable": s.SetDisabled(t.Context(), admin.RowID, true, true, event()),
		"demote":  s.SetRole(t.Context(), admin.RowID, identity.Editor, true, event()),
	} {
		wantErr(t, what, err, identity.ErrLastAdmin)
	}
	check(t, "same role again", s.SetRole(t.Context(), admin.RowID, identity.Admin, true, event()))
	check(t, "promote the viewer", s.SetRole(t.Context(), viewer.RowID, identity.Admin, true, event()))
	check(t, "demote, another is left", s.SetRole(t.Context(), admin.RowID, identity.Editor, true, event()))
	check(t, "delete the former admin", s.DeleteUser(t.Context(), admin.RowID, true, event()))
	check(t, "delete the last one by force", s.DeleteUser(t.Context(), viewer.RowID, false, event()))
	check(t, "delete a disabled one where no admin is", s.DeleteUser(t.Context(), off.RowID, true, event()))
	for what, err := range map[string]error{
		"delete":   s.DeleteUser(t.Context(), admin.RowID, true, event()),
		"disable":  s.SetDisabled(t.Context(), admin.RowID, true, false, event()),
		"role":     s.SetRole(t.Context(), admin.RowID, identity.Admin, false, event()),
		"password": s.SetPassword(t.Context(), admin.RowID, "hash", event()),
	} {
		wantErr(t, what+" of nobody", err, identity.ErrNotFound)
	}
}

func testAdminsLeave(t *testing.T, s *Store) {
	admins := []identity.User{add(t, s, "a", identity.Admin), add(t, s, "b", identity.Admin), add(t, s, "c", identity.Admin)}
	var left atomic.Int32
	var wg sync.WaitGroup
	for i, admin := range admins {
		wg.Go(func() {
			changes := []func() error{
				func() error { return s.DeleteUser(t.Context(), admin.RowID, true, event()) },
				func() error { return s.SetDisabled(t.Context(), admin.RowID, true, true, event()) },
				func() error { return s.SetRole(t.Context(), admin.RowID, identity.Viewer, true, event()) },
			}
			if err := changes[i](); err == nil {
				left.Add(1)
			} else if !errors.Is(err, identity.ErrLastAdmin) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left.Load() != 2 {
		t.Errorf("%d of 3 admins left, want 2", left.Load())
	}
}

func testAtomicEvent(t *testing.T, s *Store) {
	admin := add(t, s, "admin", identity.Admin)
	before := countEvents(t, s)
	wantErr(t, "delete", s.DeleteUser(t.Context(), admin.RowID, true, event()), identity.ErrLastAdmin)
	_, err := s.CreateUser(t.Context(), identity.User{Backend: "local", Name: "admin"}, "", event())
	wantErr(t, "create", err, identity.ErrExists)
	if got := countEvents(t, s); got != before {
		t.Errorf("%d events of changes that were not made", got-before)
	}
	// The other way round: when the event can't be stored, the change is not made either.
	if _, err := s.writer.Exec(`ALTER TABLE audit_events RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"password": s.SetPassword(t.Context(), admin.RowID, "new", event()),
		"role":     s.SetRole(t.Context(), admin.RowID, identity.Viewer, false, event()),
		"disable":  s.SetDisabled(t.Context(), admin.RowID, true, false, event()),
		"delete":   s.DeleteUser(t.Context(), admin.RowID, false, event()),
	} {
		if err == nil {
			t.Errorf("%s: got no error without a place for its event", what)
		}
	}
	user, hash, err := s.Credentials(t.Context(), "admin")
	check(t, "credentials", err)
	if diff := cmp.Diff(admin, user); diff != "" || hash != "hash of admin" {
		t.Errorf("changed without an event (-want +got):\n%s%s", diff, hash)
	}
}

func countEvents(t *testing.T, s *Store) int {
	t.Helper()
	var n int
	if err := s.readers.QueryRow(`SELECT count(*) FROM audit_events`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func testUpsert(t *testing.T, s *Store) {
	user := identity.User{Backend: "ldap", Subject: "uid=alice", Name: "alice", Role: identity.Viewer, CreatedAt: now}
	first, err := s.UpsertUser(t.Context(), user)
	check(t, "first sign-in", err)
	version, err := s.Version(t.Context())
	check(t, "version", err)
	again, err := s.UpsertUser(t.Context(), user)
	check(t, "second sign-in", err)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("nothing changed (-want +got):\n%s", diff)
	}
	if v, err := s.Version(t.Context()); err != nil || v != version {
		t.Errorf("version moved from %d to %d, %v, though nothing changed", version, v, err)
	}
	check(t, "disable", s.SetDisabled(t.Context(), first.RowID, true, true, event()))
	user.Email, user.Role = "alice@example.org", identity.Editor
	third, err := s.UpsertUser(t.Context(), user)
	check(t, "third sign-in", err)
	if third.RowID != first.RowID || third.Email != user.Email || third.Role != identity.Editor || !third.Disabled {
		t.Errorf("got %+v, want the same account, refreshed and still disabled", third)
	}
	if _, err := s.UpsertUser(t.Context(), identity.User{Backend: "local", Subject: "bob", Name: "bob", Role: identity.Admin}); err == nil {
		t.Error("a local user was made without a password")
	}
	if had, err := s.HadUsers(t.Context()); err != nil || had {
		t.Errorf("an account of another backend counts as a local user: %v, %v", had, err)
	}
}

func testHashes(t *testing.T, s *Store) {
	sorts, err := s.LegacyHashes(t.Context())
	if err != nil || len(sorts) != 0 {
		t.Errorf("legacy hashes of nothing: got %q, %v", sorts, err)
	}
	for name, hash := range map[string]string{"a": "$2b$12$abc", "b": "$2b$12$def", "c": "$2y$10$ghi", "d": "pbkdf2:sha256:1:2", "e": "$argon2id$v=19$m=1"} {
		if _, err := s.CreateUser(t.Context(), identity.User{Backend: "local", Name: name}, hash, event()); err != nil {
			t.Fatal(err)
		}
	}
	sorts, err = s.LegacyHashes(t.Context())
	if diff := cmp.Diff([]string{"$2b$12$", "$2y$10$", "pbkdf2:"}, sorts); diff != "" || err != nil {
		t.Errorf("legacy hashes: %v (-want +got):\n%s", err, diff)
	}
	user, hash, err := s.Credentials(t.Context(), "A")
	if err != nil || hash != "$2b$12$abc" {
		t.Fatalf("credentials: got %q, %v", hash, err)
	}
	wantErr(t, "replace another hash", s.ReplaceHash(t.Context(), user.RowID, "$2b$12$xyz", "new"), identity.ErrNotFound)
	check(t, "replace", s.ReplaceHash(t.Context(), user.RowID, "$2b$12$abc", "new"))
	if _, hash, err = s.Credentials(t.Context(), "a"); err != nil || hash != "new" {
		t.Errorf("after replacing: got %q, %v", hash, err)
	}
	_, _, err = s.Credentials(t.Context(), "nobody")
	wantErr(t, "credentials of nobody", err, identity.ErrNotFound)
}

func testSessions(t *testing.T, s *Store) {
	alice := add(t, s, "alice", identity.Viewer)
	bob := add(t, s, "bob", identity.Editor)
	one := signIn(t, s, alice, "one")
	two := signIn(t, s, bob, "two")
	session, user, err := s.SessionByHash(t.Context(), []byte("one"))
	check(t, "find", err)
	if diff := cmp.Diff(one, session) + cmp.Diff(alice, user); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	_, _, err = s.SessionByHash(t.Context(), []byte("on"))
	wantErr(t, "unknown session", err, identity.ErrNotFound)
	check(t, "touch", s.TouchSession(t.Context(), []byte("one"), now.Add(time.Minute)))
	check(t, "touch backwards", s.TouchSession(t.Context(), []byte("one"), now.Add(time.Second)))
	check(t, "touch nothing", s.TouchSession(t.Context(), []byte("none"), now))
	one.LastSeenAt = now.Add(time.Minute)
	sessions, users, err := s.Sessions(t.Context(), 0)
	check(t, "list", err)
	if diff := cmp.Diff([]identity.Session{one, two}, sessions) + cmp.Diff([]identity.User{alice, bob}, users); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	sessions, users, err = s.Sessions(t.Context(), bob.RowID)
	if diff := cmp.Diff([]identity.Session{two}, sessions) + cmp.Diff([]identity.User{bob}, users); diff != "" || err != nil {
		t.Errorf("bob's sessions: %v (-want +got):\n%s", err, diff)
	}
	if n, err := s.CountSessions(t.Context()); n != 2 || err != nil {
		t.Errorf("count: got %d, %v, want 2", n, err)
	}
	for i, want := range []bool{true, false} {
		if deleted, err := s.DeleteSession(t.Context(), []byte("one")); deleted != want || err != nil {
			t.Errorf("delete %d: got %v, %v, want %v", i, deleted, err, want)
		}
	}
	wantErr(t, "session of nobody", s.CreateSession(t.Context(), identity.Session{
		TokenHash: []byte("x"), UserRowID: 999,
		CreatedAt: now, ExpiresAt: now, LastSeenAt: now,
	}), identity.ErrNotFound)
}

func testSessionsEnd(t *testing.T, s *Store) {
	add(t, s, "admin", identity.Admin)
	for name, change := range map[string]struct {
		do   func(rowID int64) error
		ends bool
	}{
		"password": {func(id int64) error { return s.SetPassword(t.Context(), id, "new", event()) }, true},
		"disable":  {func(id int64) error { return s.SetDisabled(t.Context(), id, true, true, event()) }, true},
		"delete":   {func(id int64) error { return s.DeleteUser(t.Context(), id, true, event()) }, true},
		"role":     {func(id int64) error { return s.SetRole(t.Context(), id, identity.Editor, true, event()) }, false},
		"enable":   {func(id int64) error { return s.SetDisabled(t.Context(), id, false, true, event()) }, false},
		"rehash":   {func(id int64) error { return s.ReplaceHash(t.Context(), id, "hash of rehash", "new") }, false},
	} {
		user, other := add(t, s, name, identity.Viewer), add(t, s, "other "+name, identity.Viewer)
		signIn(t, s, user, name)
		signIn(t, s, other, "other "+name)
		check(t, name, change.do(user.RowID))
		_, _, err := s.SessionByHash(t.Context(), []byte(name))
		if ended := errors.Is(err, identity.ErrNotFound); ended != change.ends {
			t.Errorf("%s: session ended is %v (%v), want %v", name, ended, err, change.ends)
		}
		_, _, err = s.SessionByHash(t.Context(), []byte("other "+name))
		check(t, name+": another's session", err)
	}
	user, err := s.UserByName(t.Context(), "local", "disable")
	check(t, "find", err)
	wantErr(t, "sign-in of a disabled user", s.CreateSession(t.Context(), lateSession(user)), identity.ErrNotFound)
}

func lateSession(user identity.User) identity.Session {
	return identity.Session{
		TokenHash: []byte("late " + user.Name), UserRowID: user.RowID, UserEpoch: user.Epoch,
		CreatedAt: now, ExpiresAt: now, LastSeenAt: now,
	}
}

// testLateSignIn: whoever proved an old password just before it was changed gets no session just after.
func testLateSignIn(t *testing.T, s *Store) {
	checked := add(t, s, "alice", identity.Viewer)
	check(t, "change the password", s.SetPassword(t.Context(), checked.RowID, "new", event()))
	wantErr(t, "sign-in with the old password", s.CreateSession(t.Context(), lateSession(checked)), identity.ErrNotFound)
	check(t, "disable", s.SetDisabled(t.Context(), checked.RowID, true, false, event()))
	check(t, "enable", s.SetDisabled(t.Context(), checked.RowID, false, false, event()))
	wantErr(t, "sign-in from before", s.CreateSession(t.Context(), lateSession(checked)), identity.ErrNotFound)
	now, err := s.UserByName(t.Context(), "local", "alice")
	check(t, "find", err)
	check(t, "sign-in with the new password", s.CreateSession(t.Context(), lateSession(now)))
}

func testExpired(t *testing.T, s *Store) {
	user := add(t, s, "alice", identity.Viewer)
	for token, ages := range map[string][2]time.Duration{"fresh": {0, 0}, "idle": {0, 40 * time.Minute}, "old": {time.Hour, 0}} {
		session := identity.Session{
			TokenHash: []byte(token), UserRowID: user.RowID, CreatedAt: now,
			ExpiresAt: now.Add(time.Hour - ages[0]), LastSeenAt: now.Add(-ages[1]),
		}
		if err := s.CreateSession(t.Context(), session); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(now time.Time, idle time.Duration, limit int) string {
		sessions, users, err := s.ExpiredSessions(t.Context(), now, idle, limit)
		check(t, "sweep", err)
		var got []string
		for i := range sessions {
			got = append(got, string(sessions[i].TokenHash)+" of "+users[i].Name)
		}
		return strings.Join(got, ", ")
	}
	for _, step := range []struct {
		now   time.Time
		idle  time.Duration
		limit int
		want  string
	}{
		{now.Add(-time.Millisecond), 0, 10, ""},
		{now, 0, 10, "old of alice"},
		{now, time.Hour, 10, ""},
		{now, 30 * time.Minute, 10, "idle of alice"},
		{now.Add(2 * time.Hour), 0, 0, ""},
		{now.Add(2 * time.Hour), 0, 1, "fresh of alice"},
		{now.Add(2 * time.Hour), 0, 1, ""},
	} {
		if got := sweep(step.now, step.idle, step.limit); got != step.want {
			t.Errorf("sweep at %v with idle %v, limit %d: got %q, want %q", step.now, step.idle, step.limit, got, step.want)
		}
	}
}

func testRevoke(t *testing.T, s *Store) {
	alice, bob := add(t, s, "alice", identity.Viewer), add(t, s, "bob", identity.Viewer)
	for i, user := range []identity.User{alice, alice, bob, alice} {
		signIn(t, s, user, fmt.Sprint("token number ", i))
	}
	before := countEvents(t, s)
	events, err := s.RevokeSessions(t.Context(), bob.RowID, event())
	check(t, "revoke bob's", err)
	want := event()
	want.Username, want.Identity, want.Session = "bob", "local:bob", "746f6b656e20" // hex of "token "
	if diff := cmp.Diff([]audit.Event{want}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	events, err = s.RevokeSessions(t.Context(), 0, event())
	if err != nil || len(events) != 3 || countEvents(t, s) != before+4 {
		t.Errorf("revoke all: got %d events, %v and %d rows, want 3 and 4", len(events), err, countEvents(t, s)-before)
	}
	if n, err := s.CountSessions(t.Context()); n != 0 || err != nil {
		t.Errorf("%d sessions are left, %v", n, err)
	}
}

// testRevokeMany: more sessions than end in one transaction all end, and each is told of once.
func testRevokeMany(t *testing.T, s *Store) {
	alice := add(t, s, "alice", identity.Viewer)
	const many = 2*revokeBatch + 1
	check(t, "sign in", s.write(t.Context(), "sign in", func(tx *sql.Tx) error {
		for i := range many {
			if _, err := change(t.Context(), tx, `INSERT INTO sessions (token_hash, user_id, created_at, expires_at, last_seen_at)
				VALUES ($1, $2, 0, 0, 0)`, fmt.Append(nil, "token ", i), alice.RowID); err != nil {
				return err
			}
		}
		return nil
	}))
	before := countEvents(t, s)
	events, err := s.RevokeSessions(t.Context(), 0, event())
	if n, countErr := s.CountSessions(t.Context()); err != nil || countErr != nil || n != 0 || len(events) != many || countEvents(t, s) != before+many {
		t.Errorf("got %d events and %d rows, %d sessions are left (%v, %v), want %d, %[6]d and 0", len(events), countEvents(t, s)-before, n, err, countErr, many)
	}
}

func testVersion(t *testing.T, s *Store) {
	version := func() int64 {
		v, err := s.Version(t.Context())
		check(t, "version", err)
		return v
	}
	alice := add(t, s, "alice", identity.Viewer)
	signIn(t, s, alice, "keep")
	last := version()
	for _, step := range []struct {
		what  string
		moves bool
		do    func() error
	}{
		{"nothing", false, func() error { return nil }},
		{"an audit event", false, func() error { return s.AppendAudit(t.Context(), event()) }},
		{"an attempt", false, func() error {
			_, err := s.TakeAttempt(t.Context(), Attempt{Account: "a", Address: "b", Now: now, Window: time.Minute, PerPair: 5})
			return err
		}},
		{"a success", false, func() error { return s.ClearAttempts(t.Context(), "a", "b", now) }},
		{"activity", false, func() error { return s.TouchSession(t.Context(), []byte("keep"), now.Add(time.Second)) }},
		{"a last sign-in", false, func() error { return s.SignedIn(t.Context(), alice.RowID, now) }},
		{"a new hash", false, func() error { return s.ReplaceHash(t.Context(), alice.RowID, "hash of alice", "x") }},
		{"an empty sweep", false, func() error { _, _, err := s.ExpiredSessions(t.Context(), now, 0, 9); return err }},
		{"a new user", true, func() error { add(t, s, "bob", identity.Viewer); return nil }},
		{"a role", true, func() error { return s.SetRole(t.Context(), alice.RowID, identity.Editor, true, event()) }},
		{"disabling", true, func() error { return s.SetDisabled(t.Context(), alice.RowID, true, true, event()) }},
		{"enabling", true, func() error { return s.SetDisabled(t.Context(), alice.RowID, false, true, event()) }},
		{"a sign-in", true, func() error { signIn(t, s, alice, "other"); return nil }},
		{"a sign-out", true, func() error { _, err := s.DeleteSession(t.Context(), []byte("other")); return err }},
		{"a sweep", true, func() error {
			signIn(t, s, alice, "other")
			last = version()
			_, _, err := s.ExpiredSessions(t.Context(), now.Add(time.Hour), 0, 1)
			return err
		}},
		{"a password", true, func() error {
			signIn(t, s, alice, "other")
			last = version()
			return s.SetPassword(t.Context(), alice.RowID, "new", event())
		}},
		{"a token", true, func() error {
			return s.CreateToken(t.Context(), identity.Token{Hash: []byte("t"), UserRowID: alice.RowID, Name: "t", CreatedAt: now, ExpiresAt: now}, event())
		}},
		{"a token's use", false, func() error { return s.TouchToken(t.Context(), []byte("t"), now) }},
		{"a sweep of tokens", true, func() error { _, err := s.ExpireTokens(t.Context(), now, 1, event()); return err }},
		{"an empty sweep of tokens", false, func() error { _, err := s.ExpireTokens(t.Context(), now, 1, event()); return err }},
		{"another token", true, func() error {
			return s.CreateToken(t.Context(), identity.Token{Hash: []byte("t"), UserRowID: alice.RowID, Name: "t", CreatedAt: now}, event())
		}},
		{"a revoked token", true, func() error { return s.DeleteToken(t.Context(), []byte("t"), event()) }},
		{"a deletion", true, func() error { return s.DeleteUser(t.Context(), alice.RowID, true, event()) }},
	} {
		check(t, step.what, step.do())
		got := version()
		if moved := got != last; moved != step.moves {
			t.Errorf("%s: version moved is %v, want %v", step.what, moved, step.moves)
		}
		last = got
	}
}

func testGrants(t *testing.T, s *Store) {
	user := add(t, s, "alice", identity.Viewer)
	signIn(t, s, user, "one")
	signIn(t, s, add(t, s, "bob", identity.Viewer), "two")
	before, err := s.Version(t.Context())
	check(t, "version", err)
	for _, location := range []string{"b", "a"} {
		check(t, "grant", s.SetGrant(t.Context(), identity.Holder{User: user}, identity.Grant{Location: location, Role: identity.Editor}, event()))
	}
	if after, err := s.Version(t.Context()); err != nil || after == before {
		t.Errorf("a grant did not move the version: %d, %v", after, err)
	}
	want := []identity.Grant{{Location: "a", Role: identity.Editor}, {Location: "b", Role: identity.Editor}}
	_, got, err := s.SessionByHash(t.Context(), []byte("one"))
	if diff := cmp.Diff(want, got.Grants); diff != "" || err != nil {
		t.Errorf("grants by session: %v (-want +got):\n%s", err, diff)
	}
	sessions, users, err := s.Sessions(t.Context(), 0)
	if err != nil || len(sessions) != 2 || len(users) != 2 {
		t.Errorf("got %d sessions of %d users, %v, want 2 and 2", len(sessions), len(users), err)
	}
	check(t, "delete", s.DeleteUser(t.Context(), user.RowID, false, event()))
	var left int
	if err := s.readers.QueryRow(`SELECT count(*) FROM grants`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d grants outlive their user, %v", left, err)
	}
}

// grantTo is SetGrant as the tests use it.
func grantTo(t *testing.T, s *Store, to identity.Holder, location string, role identity.Role) {
	t.Helper()
	check(t, "grant", s.SetGrant(t.Context(), to, identity.Grant{Location: location, Role: role}, event()))
}

// grantsBySession is what the next request of the session would have.
func grantsBySession(t *testing.T, s *Store, token string) string {
	t.Helper()
	_, user, err := s.SessionByHash(t.Context(), []byte(token))
	check(t, "session", err)
	var list []string
	for _, grant := range user.Grants {
		list = append(list, string(grant.Role)+" in "+grant.Location)
	}
	return strings.Join(list, ", ")
}

func testGroupGrants(t *testing.T, s *Store) {
	carol := identity.User{Backend: "ldap", Subject: "uid=carol", Name: "carol", Role: identity.Viewer, Groups: []string{"data", "ops", "data", "", "a\x00b"}, GroupSource: "ldap"}
	made, err := s.UpsertUser(t.Context(), carol)
	check(t, "sign-in", err)
	other := add(t, s, "alice", identity.Viewer)
	signIn(t, s, other, "alice")
	check(t, "carol's session", s.CreateSession(t.Context(), identity.Session{
		TokenHash: []byte("carol"), UserRowID: made.RowID, CreatedAt: now, ExpiresAt: now.Add(time.Hour), LastSeenAt: now,
	}))
	data, ops := identity.Holder{Group: "ldap:data"}, identity.Holder{Group: "ldap:ops"}
	signInFrom := func(source string, groups ...string) func() {
		return func() {
			user := carol
			user.Groups, user.GroupSource = groups, source
			_, err := s.UpsertUser(t.Context(), user)
			check(t, "sign-in", err)
		}
	}
	signInWith := func(groups ...string) func() { return signInFrom("ldap", groups...) }
	last, err := s.Version(t.Context())
	check(t, "version", err)
	for _, step := range []struct {
		what  string
		do    func()
		moves bool
		want  string
	}{
		{"no grant", func() {}, false, ""},
		{"of a group", func() { grantTo(t, s, data, "etl", identity.Launcher) }, true, "launcher in etl"},
		{"her own of the same role is one with it", func() { grantTo(t, s, identity.Holder{User: made}, "etl", identity.Launcher) }, true, "launcher in etl"},
		{"her own is replaced", func() { grantTo(t, s, identity.Holder{User: made}, "etl", identity.Viewer) }, true, "launcher in etl, viewer in etl"},
		{"of two groups", func() { grantTo(t, s, ops, "ml", identity.Editor) }, true, "launcher in etl, viewer in etl, editor in ml"},
		{"of a group that she is not in", func() { grantTo(t, s, identity.Holder{Group: "ldap:Data"}, "x", identity.Admin) }, true, "launcher in etl, viewer in etl, editor in ml"},
		{"the same groups again", signInWith("ops", "data"), false, "launcher in etl, viewer in etl, editor in ml"},
		{"out of a group", signInWith("ops"), true, "viewer in etl, editor in ml"},
		{"into another", signInWith("ops", "Data"), true, "viewer in etl, editor in ml, admin in x"},
		{"a group's grant is replaced", func() { grantTo(t, s, ops, "ml", identity.Viewer) }, true, "viewer in etl, viewer in ml, admin in x"},
		{"a group's grant is revoked", func() { check(t, "revoke", s.DeleteGrant(t.Context(), ops, "ml", event())) }, true, "viewer in etl, admin in x"},
		{"her own is revoked", func() { check(t, "revoke", s.DeleteGrant(t.Context(), identity.Holder{User: made}, "etl", event())) }, true, "admin in x"},
		{"of a group of that name elsewhere", func() { grantTo(t, s, identity.Holder{Group: "sso:Data"}, "y", identity.Admin) }, true, "admin in x"},
		{"the same again", signInWith("ops", "Data"), false, "admin in x"},
		{"told by the other", signInFrom("sso", "Data"), true, "admin in y"},
		{"told by nobody in particular", signInFrom("", "Data", "ldap:Data"), true, ""},
		{"told by the first", signInWith("Data"), true, "admin in x"},
		{"a name that looks like another's", signInWith("sso:Data"), true, ""},
		{"a group again", signInWith("Data"), true, "admin in x"},
		{"no groups", signInWith(), true, ""},
	} {
		step.do()
		if got := grantsBySession(t, s, "carol"); got != step.want {
			t.Errorf("%s: got %q, want %q", step.what, got, step.want)
		}
		version, err := s.Version(t.Context())
		check(t, "version", err)
		if moved := version != last; moved != step.moves {
			t.Errorf("%s: version moved is %v, want %v", step.what, moved, step.moves)
		}
		last = version
	}
	if got := grantsBySession(t, s, "alice"); got != "" {
		t.Errorf("somebody else has %q", got)
	}
}

func testGrantEvents(t *testing.T, s *Store) {
	alice := add(t, s, "alice", identity.Viewer)
	bob, err := s.UpsertUser(t.Context(), identity.User{Backend: "ldap", Subject: "b", Name: "bob", Groups: []string{"data"}, GroupSource: "ldap"})
	check(t, "sign-in", err)
	before := countEvents(t, s)
	own, group := identity.Holder{User: alice}, identity.Holder{Group: "ldap:data"}
	grantTo(t, s, own, "etl", identity.Editor)
	grantTo(t, s, group, "ml", "operator")
	grantTo(t, s, identity.Holder{User: bob}, "ml", identity.Viewer)
	nobody := identity.Holder{User: identity.User{RowID: 999}}
	for what, err := range map[string]error{
		"grant to nobody":      s.SetGrant(t.Context(), nobody, identity.Grant{Location: "etl", Role: identity.Editor}, event()),
		"revoke from nobody":   s.DeleteGrant(t.Context(), nobody, "etl", event()),
		"revoke elsewhere":     s.DeleteGrant(t.Context(), own, "ml", event()),
		"revoke from no group": s.DeleteGrant(t.Context(), identity.Holder{Group: "ldap:Data"}, "ml", event()),
	} {
		wantErr(t, what, err, identity.ErrNotFound)
	}
	if got := countEvents(t, s) - before; got != 3 {
		t.Errorf("%d events of 3 changes", got)
	}
	short := func(list []identity.HeldGrant, err error) string {
		check(t, "list", err)
		var lines []string
		for _, h := range list {
			lines = append(lines, strings.Trim(h.User.Name+"/"+h.Group, "/")+" "+string(h.Role)+" in "+h.Location)
		}
		return strings.Join(lines, ", ")
	}
	if got, want := short(s.Grants(t.Context())), "bob viewer in ml, alice editor in etl, ldap:data operator in ml"; got != want {
		t.Errorf("all: got %q, want %q", got, want)
	}
	if got, want := short(s.GrantsOf(t.Context(), bob.RowID)), "bob viewer in ml, bob/ldap:data operator in ml"; got != want {
		t.Errorf("bob's: got %q, want %q", got, want)
	}
	if _, err := s.writer.Exec(`ALTER TABLE audit_events RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"grant":        s.SetGrant(t.Context(), own, identity.Grant{Location: "x", Role: identity.Admin}, event()),
		"group grant":  s.SetGrant(t.Context(), group, identity.Grant{Location: "x", Role: identity.Admin}, event()),
		"revoke":       s.DeleteGrant(t.Context(), own, "etl", event()),
		"group revoke": s.DeleteGrant(t.Context(), group, "ml", event()),
	} {
		if err == nil {
			t.Errorf("%s: got no error without a place for its event", what)
		}
	}
	if got, want := short(s.Grants(t.Context())), "bob viewer in ml, alice editor in etl, ldap:data operator in ml"; got != want {
		t.Errorf("changed without an event: got %q, want %q", got, want)
	}
}

func testAudit(t *testing.T, s *Store) {
	e := audit.Event{
		Type: "LOGIN_ATTEMPT", Username: "ＡLICE\n\x00", Status: "FAILURE", IP: "192.0.2.1", RequestID: "r1", PerformedBy: "p",
		Timestamp: now, Targets: map[string][]string{"job": {"j"}},
	}
	check(t, "append", s.AppendAudit(t.Context(), e))
	check(t, "append without a time", s.AppendAudit(t.Context(), audit.Event{Type: "X", Username: "late"}))
	var at int64
	var key, status, ip, request, by, whole string
	err := s.readers.QueryRow(`SELECT at, username_key, status, ip, request_id, performed_by, event FROM audit_events
		WHERE event_type = 'LOGIN_ATTEMPT'`).Scan(&at, &key, &status, &ip, &request, &by, &whole)
	check(t, "read", err)
	got := []string{fmt.Sprint(at), key, status, ip, request, by}
	want := []string{fmt.Sprint(now.UnixMilli()), "alice\n\uFFFD", "FAILURE", "192.0.2.1", "r1", "p"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	var decoded map[string]any
	check(t, "decode", json.Unmarshal([]byte(whole), &decoded))
	if decoded["username"] != "ＡLICE\n\uFFFD" || decoded["timestamp"] != "2026-01-25T10:30:00Z" {
		t.Errorf("event: got %s", whole)
	}
	if err := s.readers.QueryRow(`SELECT at FROM audit_events WHERE username = 'late'`).Scan(&at); err != nil || at < now.UnixMilli() {
		t.Errorf("time that was not given: got %d, %v", at, err)
	}
}

func testSweepAudit(t *testing.T, s *Store) {
	for i := range 5 {
		e := event()
		e.Timestamp = now.Add(time.Duration(i) * time.Hour)
		e.RequestID = fmt.Sprint(i)
		check(t, "append", s.AppendAudit(t.Context(), e))
	}
	version, err := s.Version(t.Context())
	check(t, "version", err)
	for _, step := range []struct {
		before  time.Time
		limit   int
		deleted int
		left    string
	}{
		{now, 10, 0, "0 1 2 3 4"}, // an event of just then is not older
		{now.Add(3 * time.Hour), 2, 2, "2 3 4"},
		{now.Add(3 * time.Hour), 2, 1, "3 4"},
		{now.Add(3 * time.Hour), 2, 0, "3 4"},
	} {
		n, err := s.SweepAudit(t.Context(), step.before, step.limit)
		left, err2 := names(t.Context(), s.readers, `SELECT request_id FROM audit_events ORDER BY at`)
		if got := strings.Join(left, " "); n != step.deleted || got != step.left || err != nil || err2 != nil {
			t.Errorf("before %v, at most %d: deleted %d, left %q (%v, %v), want %d and %q", step.before, step.limit, n, got, err, err2, step.deleted, step.left)
		}
	}
	if v, err := s.Version(t.Context()); v != version || err != nil {
		t.Errorf("the version moved: %d, %v", v, err)
	}
}

// versionFault waits for the error: on PostgreSQL the number is good for a moment after the last time that it was looked at.
func versionFault(t *testing.T, s *Store) (err error) {
	t.Helper()
	eventually(t, "an error of Version", func() bool {
		_, err = s.Version(t.Context())
		return err != nil
	})
	return err
}

// eventually waits until the condition holds. The patience is for a busy machine and no claim.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// testOddBytes: what a client or another program sent is no reason to fail, though PostgreSQL takes text only.
func testOddBytes(t *testing.T, s *Store) {
	odd := "a\x00b\xff"
	user, err := s.UpsertUser(t.Context(), identity.User{Backend: "ldap", Subject: "1", Name: odd, Email: odd, FullName: odd, Role: identity.Viewer})
	check(t, "sign-in", err)
	if user.Name != "a\uFFFDb\uFFFD" {
		t.Errorf("got the name %q", user.Name)
	}
	check(t, "session", s.CreateSession(t.Context(), identity.Session{
		TokenHash: []byte("x"), UserRowID: user.RowID, CreatedAt: now, ExpiresAt: now, LastSeenAt: now, Address: odd, UserAgent: odd,
	}))
	if session, _, err := s.SessionByHash(t.Context(), []byte("x")); err != nil || session.UserAgent != "a\uFFFDb\uFFFD" {
		t.Errorf("got %q, %v", session.UserAgent, err)
	}
	if _, err := s.UpsertUser(t.Context(), identity.User{Backend: "ldap", Subject: odd, Name: "b", Role: identity.Viewer}); err == nil {
		t.Error("an account has a subject that can't be stored as it is")
	}
	_, err = s.UserByName(t.Context(), "ldap", odd)
	wantErr(t, "a subject that nobody has", err, identity.ErrNotFound)
}

func testFaults(t *testing.T, s *Store) {
	user := add(t, s, "alice", identity.Viewer)
	if _, err := s.writer.Exec(`DROP TABLE grants; DROP TABLE sessions; DROP TABLE login_attempts; DROP TABLE state`); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, sessionErr := s.SessionByHash(t.Context(), []byte("x"))
	_, nameErr := s.UserByName(t.Context(), "local", "alice")
	_, _, credentialsErr := s.Credentials(t.Context(), "alice")
	versionErr := versionFault(t, s)
	_, attemptErr := s.TakeAttempt(t.Context(), Attempt{Account: "a", Window: time.Minute, Now: now, PerPair: 1})
	for what, err := range map[string]error{
		"session": sessionErr, "name": nameErr, "credentials": credentialsErr, "version": versionErr, "attempt": attemptErr,
		"ping": s.Ping(t.Context()), "ended context": s.SignedIn(ended, user.RowID, now),
	} {
		if err == nil || errors.Is(err, identity.ErrNotFound) {
			t.Errorf("%s: got %v, want a fault", what, err)
		}
	}
}
