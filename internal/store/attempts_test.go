package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dagster-authkit/internal/identity"
)

// The figures are those of the issue: 5 failures of one account from one address, ten times that from one address, and
// twenty times that for one account, in 300 seconds.
func attempt(account, address string, after time.Duration) Attempt {
	return Attempt{
		Account: account, Address: address, Now: now.Add(after), Window: 300 * time.Second,
		PerPair: 5, PerAddress: 50, PerAccount: 100,
	}
}

func take(t *testing.T, s *Store, a Attempt, want time.Duration) {
	t.Helper()
	got, err := s.TakeAttempt(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s from %s at %v: wait %v, want %v", a.Account, a.Address, a.Now.Sub(now), got, want)
	}
}

func testAttemptsPair(t *testing.T, s *Store) {
	for i := range 5 {
		take(t, s, attempt("alice", "a", time.Duration(i)*time.Second), 0)
	}
	take(t, s, attempt("alice", "a", 10*time.Second), 290*time.Second)
	take(t, s, attempt(" ALICE", "a", 100*time.Second), 200*time.Second) // refused ones do not make it longer
	take(t, s, attempt("alice", "b", 100*time.Second), 0)
	take(t, s, attempt("bob", "a", 100*time.Second), 0)
	take(t, s, attempt("alice", "a", 300*time.Second-time.Millisecond), time.Millisecond)
	take(t, s, attempt("alice", "a", 300*time.Second), 0) // the first failure has left the window
	take(t, s, attempt("alice", "a", 300*time.Second), time.Second)
	for left := true; left; {
		var err error
		if left, err = s.SweepAttempts(t.Context(), now.Add(300*time.Second), 2); err != nil {
			t.Fatal(err)
		}
	}
	take(t, s, attempt("alice", "a", 300*time.Second), 0) // the sweep took those before it
	if err := s.ClearAttempts(t.Context(), "Alice", "a", now); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		take(t, s, attempt("alice", "a", 301*time.Second), 0)
	}
	take(t, s, attempt("alice", "a", 301*time.Second), 300*time.Second)
	// A clock that was set back must not lock anyone out for longer than the window, nor for ever.
	take(t, s, attempt("alice", "a", 200*time.Second), 300*time.Second)
	take(t, s, attempt("alice", "a", -24*time.Hour), 0)
}

func testAttemptsAddress(t *testing.T, s *Store) {
	for i := range 50 {
		take(t, s, attempt(fmt.Sprint("user", i), "office", 0), 0)
	}
	take(t, s, attempt("alice", "office", time.Second), 299*time.Second)
	take(t, s, attempt("alice", "home", time.Second), 0)
	// A colleague's success gives back the colleague's own failures, and no one else's.
	if err := s.ClearAttempts(t.Context(), "user7", "office", now); err != nil {
		t.Fatal(err)
	}
	take(t, s, attempt("alice", "office", time.Second), 0)
	take(t, s, attempt("alice", "office", time.Second), 299*time.Second)
}

func testAttemptsAccount(t *testing.T, s *Store) {
	if err := s.ClearAttempts(t.Context(), "alice", "home", now.Add(-29*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.ClearAttempts(t.Context(), "alice", "old flat", now.Add(-31*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		take(t, s, attempt("alice", fmt.Sprint("bot", i), 0), 0)
	}
	take(t, s, attempt("alice", "bot1000", time.Second), 299*time.Second)
	take(t, s, attempt("alice", "old flat", time.Second), 299*time.Second)
	take(t, s, attempt("bob", "bot1000", time.Second), 0)
	for range 5 {
		take(t, s, attempt("alice", "home", time.Second), 0) // strangers can't lock the owner out
	}
	take(t, s, attempt("alice", "home", time.Second), 300*time.Second) // the other limits hold there too
}

func testAttemptsParallel(t *testing.T, s *Store) {
	var passed atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			wait, err := s.TakeAttempt(t.Context(), attempt("alice", "a", 0))
			if err != nil {
				t.Error(err)
			}
			if wait == 0 {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 5 {
		t.Errorf("%d of 50 parallel guesses passed, want 5", passed.Load())
	}
}

func testAttemptsForgotten(t *testing.T, s *Store) {
	for i := range 5 {
		take(t, s, attempt("alice", "a", 0), 0)
		take(t, s, attempt("alice", fmt.Sprint("b", i), 0), 0)
		take(t, s, attempt("bob", "a", 0), 0)
	}
	if n, err := s.ForgetAttempts(t.Context(), "ALICE"); n != 10 || err != nil {
		t.Errorf("forgot %d, %v, want 10", n, err)
	}
	take(t, s, attempt("alice", "a", 0), 0)
	take(t, s, attempt("bob", "a", 0), 300*time.Second)
	if n, err := s.ForgetAttempts(t.Context(), "nobody"); n != 0 || err != nil {
		t.Errorf("forgot %d, %v, want 0", n, err)
	}
	// An attempt whose password nobody looked at is dropped, and only the newest one of its account and address.
	take(t, s, attempt("eve", "e", 0), 0)
	take(t, s, attempt("eve", "e", 1), 0)
	check(t, "drop", s.DropAttempt(t.Context(), "EVE", "e"))
	check(t, "drop nothing", s.DropAttempt(t.Context(), "nobody", "e"))
	var left int
	if err := s.readers.QueryRow(`SELECT count(*) FROM login_attempts WHERE account = 'eve'`).Scan(&left); left != 1 || err != nil {
		t.Errorf("after dropping one of two attempts: %d are left, %v, want 1", left, err)
	}
	// An account that takes the name of a deleted one, or whose password changed, knows no address yet.
	for what, change := range map[string]func(user identity.User) error{
		"password": func(user identity.User) error { return s.SetPassword(t.Context(), user.RowID, "new", event()) },
		"delete":   func(user identity.User) error { return s.DeleteUser(t.Context(), user.RowID, false, event()) },
	} {
		user := add(t, s, "carol "+what, "viewer")
		check(t, what, s.ClearAttempts(t.Context(), user.Name, "a", now))
		check(t, what, change(user))
		var n int
		err := s.readers.QueryRow(`SELECT count(*) FROM login_addresses WHERE account = $1`, user.Name).Scan(&n)
		if n != 0 || err != nil {
			t.Errorf("%s: %d addresses are still known, %v", what, n, err)
		}
	}
}

func testAttemptsNames(t *testing.T, s *Store) {
	for _, name := range []string{
		strings.Repeat("x", 1<<20), strings.Repeat("é", 60), "nul\x00", "\xff\xfe", "", "  padded",
	} {
		for range 5 {
			take(t, s, attempt(name, strings.Repeat("address", 100), 0), 0)
		}
		if wait, err := s.TakeAttempt(t.Context(), attempt(name, strings.Repeat("address", 100), 0)); err != nil || wait == 0 {
			t.Errorf("%.10q: not limited: %v, %v", name, wait, err)
		}
	}
	take(t, s, attempt("padded", strings.Repeat("address", 100), 0), 300*time.Second) // blanks gain no attempts
	add(t, s, "padded", "viewer")
	for _, name := range []string{strings.Repeat(" ", 1<<20) + "padded", "padded\x00", "padded\xff"} {
		if _, _, err := s.Credentials(t.Context(), name); !errors.Is(err, identity.ErrNotFound) {
			t.Errorf("%.10q finds an account under a name that is counted apart: %v", name, err)
		}
	}
	if _, _, err := s.Credentials(t.Context(), " Padded "); err != nil {
		t.Errorf("the control: %v", err)
	}
	var longest int
	if err := s.readers.QueryRow(`SELECT max(octet_length(account) + octet_length(address)) FROM login_attempts`).Scan(&longest); err != nil || longest > 128 {
		t.Errorf("the longest pair of keys has %d bytes, %v, want at most 128", longest, err)
	}
}
