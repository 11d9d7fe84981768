package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// greetings are those whose sign-in was written down, by identity and address, and when.
type greetings struct {
	flight singleflight.Group
	mu     sync.RWMutex
	at     map[string]time.Time
}

const (
	// greetEvery is how often one who is named with each request counts as signing in.
	greetEvery = 24 * time.Hour
	maxGreeted = 10_000
)

func (g *greetings) known(key string, now time.Time) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	at, known := g.at[key]
	return known && now.Sub(at) < greetEvery
}

// add remembers. When there are too many all are forgotten: one sign-in too many in the trail does no harm.
func (g *greetings) add(key string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at == nil || len(g.at) >= maxGreeted {
		g.at = map[string]time.Time{}
	}
	g.at[key] = now
}

// greet writes down that somebody came whom this address did not bring today: people who are named with each request sign in
// by no form.
func (s *Server) greet(r *http.Request, user identity.User) error {
	ctx, now := context.WithoutCancel(r.Context()), time.Now()
	key := user.ID() + " " + addressKey(clientFrom(ctx))
	if s.greeted.known(key, now) {
		return nil
	}
	_, err, _ := s.greeted.flight.Do(key, func() (any, error) {
		if s.greeted.known(key, now) {
			return nil, nil
		}
		if _, err := s.Accounts.SignedIn(ctx, user); err != nil {
			return nil, fmt.Errorf("note the sign-in: %w", err)
		}
		if err := s.Trail.Record(ctx, signInEvent(r, audit.EventLoginAttempt, audit.StatusSuccess, user.Identity(""))); err != nil {
			return nil, fmt.Errorf("store the audit event: %w", err)
		}
		s.metrics.signIn("success")
		s.greeted.add(key, now)
		return nil, nil
	})
	return err
}
