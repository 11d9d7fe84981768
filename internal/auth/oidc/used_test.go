package oidc_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"dagster-authkit/internal/auth/oidc"
)

// memory is what the database remembers for all instances.
type memory struct {
	mu    sync.Mutex
	used  map[string]time.Time
	fault error
}

func (m *memory) UseUp(_ context.Context, thing string, now, until time.Time) (first bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil || now.Before(m.used[thing]) {
		return false, m.fault
	}
	m.used[thing] = until
	return true, nil
}

func (m *memory) UsedUp(_ context.Context, thing string, now time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.used[thing]), m.fault
}

func (m *memory) fails(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

// instances are two that share what was used up.
func instances(t *testing.T, s *standIn) (here, there *oidc.Providers, shared *memory) {
	t.Helper()
	shared = &memory{used: map[string]time.Time{}}
	options := s.options()
	options.Rules = rules(t)
	both := make([]*oidc.Providers, 2)
	for i := range both {
		var err error
		if both[i], err = oidc.New(oidc.Options{
			Providers: []oidc.ProviderOptions{options}, BaseURL: "https://dagster.example.com/dag", Key: []byte(strings.Repeat("k", 32)),
			Unchecked: time.Hour, Timeout: time.Second, Used: shared,
		}); err != nil {
			t.Fatal(err)
		}
	}
	return both[0], both[1], shared
}

// TestUsedUpElsewhere: what one instance used up, no other takes, and none asks the provider about it: one that sees a code twice
// ends what came of the first time.
func TestUsedUpElsewhere(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	here, there, _ := instances(t, s)
	departure, err := here.Depart(t.Context(), "sso", "/")
	if err != nil {
		t.Fatal(err)
	}
	query := s.authorize(departure.Location)
	if _, err := there.Arrive(t.Context(), "sso", query, departure.Ticket); err != nil {
		t.Errorf("the control, a sign-in that another instance began: %v", err)
	}
	asked := s.times("/token")
	if _, err := here.Arrive(t.Context(), "sso", query, departure.Ticket); reason(err) != "stale" || s.times("/token") != asked {
		t.Errorf("its callback again: got %v after %d questions, want ErrStale after none", err, s.times("/token")-asked)
	}
	token := s.typed("logout+jwt", s.logout("1"))
	if _, err := heed(t, here, token); err != nil {
		t.Fatal(err)
	}
	if _, err := heed(t, there, token); reason(err) != "LOGOUT_TOKEN" {
		t.Errorf("the logout token again: got %v, want it refused", err)
	}
	if _, err := signIn(t, there, s); reason(err) != "stale" {
		t.Errorf("a session that is over, as the provider told another instance: got %v, want ErrStale", err)
	}
}

// TestUsedUpUnknown: while nobody can tell what was used up, nobody signs in, and the provider is to tell again.
func TestUsedUpUnknown(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p, _, shared := instances(t, s)
	down := errors.New("the database is away")
	shared.fails(down)
	if _, err := signIn(t, p, s); !errors.Is(err, down) || s.times("/token") != 0 {
		t.Errorf("a sign-in: got %v after %d questions, want that error after none", err, s.times("/token"))
	}
	token := s.typed("logout+jwt", s.logout("1"))
	if _, err := heed(t, p, token); !errors.Is(err, down) {
		t.Errorf("a logout token: got %v, want that error", err)
	}
	shared.fails(nil)
	if _, err := heed(t, p, token); err != nil {
		t.Errorf("the logout token again: %v", err)
	}
	s.change(func(s *standIn) { s.claims["sid"] = "there-2" })
	if _, err := signIn(t, p, s); err != nil {
		t.Errorf("the control: %v", err)
	}
}
