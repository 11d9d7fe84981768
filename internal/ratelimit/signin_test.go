package ratelimit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/ratelimit"
)

type attempts struct {
	take  func(ratelimit.Attempt) (time.Duration, error)
	clear func(account, address string, now time.Time) error
	drop  func(account, address string) error
}

func (a attempts) DropAttempt(_ context.Context, account, address string) error {
	return a.drop(account, address)
}

func (a attempts) TakeAttempt(_ context.Context, attempt ratelimit.Attempt) (time.Duration, error) {
	return a.take(attempt)
}

func (a attempts) ClearAttempts(_ context.Context, account, address string, now time.Time) error {
	return a.clear(account, address, now)
}

func signIn(t *testing.T, a attempts) *ratelimit.SignIn {
	t.Helper()
	s, err := ratelimit.NewSignIn(ratelimit.Options{Attempts: a, Limit: 5, Window: 300 * time.Second, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGiveBack(t *testing.T) {
	t.Parallel()
	var got string
	s := signIn(t, attempts{drop: func(account, address string) error {
		got = account + " at " + address
		return nil
	}})
	if err := s.GiveBack(t.Context(), "alice", "10.0.0.1"); err != nil || got != "alice at 10.0.0.1" {
		t.Errorf("got %q, %v, want the attempt of alice at 10.0.0.1 dropped", got, err)
	}
}

// The figures are those of issue 3, point 8, for the defaults of design.md section 8.
func TestTakePolicy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got ratelimit.Attempt
		s := signIn(t, attempts{take: func(a ratelimit.Attempt) (time.Duration, error) {
			got = a
			return 7 * time.Second, nil
		}})
		wait, err := s.Take(t.Context(), "Alice", "10.0.0.1")
		if err != nil || wait != 7*time.Second {
			t.Errorf("got %v, %v, want the store's 7s", wait, err)
		}
		want := ratelimit.Attempt{
			Account: "Alice", Address: "10.0.0.1", Now: time.Now().UTC(), Window: 5 * time.Minute,
			PerPair: 5, PerAddress: 50, PerAccount: 100,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("attempt (-want +got):\n%s", diff)
		}
	})
}

func TestSucceededClears(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []any
		s := signIn(t, attempts{clear: func(account, address string, now time.Time) error {
			got = []any{account, address, now}
			return nil
		}})
		if err := s.Succeeded(t.Context(), "alice", "10.0.0.1"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{"alice", "10.0.0.1", time.Now().UTC()}, got); diff != "" {
			t.Errorf("cleared (-want +got):\n%s", diff)
		}
	})
}

func TestSignInErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("database is locked")
	s := signIn(t, attempts{
		take:  func(ratelimit.Attempt) (time.Duration, error) { return 0, broken },
		clear: func(string, string, time.Time) error { return broken },
	})
	if _, err := s.Take(t.Context(), "alice", "10.0.0.1"); !errors.Is(err, broken) {
		t.Errorf("Take: got %v, want %v", err, broken)
	}
	if err := s.Succeeded(t.Context(), "alice", "10.0.0.1"); !errors.Is(err, broken) {
		t.Errorf("Succeeded: got %v, want %v", err, broken)
	}
}

func TestSignInOff(t *testing.T) {
	t.Parallel()
	s, err := ratelimit.NewSignIn(ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if wait, err := s.Take(t.Context(), "alice", "10.0.0.1"); wait != 0 || err != nil {
			t.Fatalf("got %v, %v with the limit off", wait, err)
		}
	}
	if err := s.Succeeded(t.Context(), "alice", "10.0.0.1"); err != nil {
		t.Error(err)
	}
}

func TestNewSignInRefuses(t *testing.T) {
	t.Parallel()
	good := ratelimit.Options{Attempts: attempts{}, Limit: 1, Window: time.Second, Enabled: true}
	if _, err := ratelimit.NewSignIn(good); err != nil {
		t.Fatalf("the least limit was refused: %v", err)
	}
	for name, change := range map[string]func(*ratelimit.Options){
		"no attempts":   func(o *ratelimit.Options) { o.Attempts = nil },
		"limit of zero": func(o *ratelimit.Options) { o.Limit = 0 },
		"no window":     func(o *ratelimit.Options) { o.Window = 0 },
	} {
		o := good
		change(&o)
		if _, err := ratelimit.NewSignIn(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
