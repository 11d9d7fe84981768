package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dagster-authkit/internal/identity"
)

// BenchmarkNews is the time from the return of a change at one instance until another one's Version has moved. Its metrics are
// the median and the worst.
func BenchmarkNews(b *testing.B) {
	o := newSchema(b)
	here, there := openOptions(b, o), openOptions(b, o)
	user, err := here.CreateUser(b.Context(), identity.User{Backend: "local", Name: "alice", Role: identity.Viewer}, "", event())
	if err != nil {
		b.Fatal(err)
	}
	time.Sleep(2 * heartbeat) // the listeners are there
	var took []time.Duration
	for i := range b.N {
		before, err := there.Version(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := here.SetRole(b.Context(), user.RowID, identity.Role(fmt.Sprint("role", i)), false, event()); err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		for now := before; now == before; time.Sleep(20 * time.Microsecond) {
			if now, err = there.Version(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "µs/worst")
}

// BenchmarkPostgres is what one of each costs on PostgreSQL: a look that costs no query, a session read, and a sign-in's rows.
func BenchmarkPostgres(b *testing.B) {
	s := openOptions(b, newSchema(b))
	user, err := s.CreateUser(b.Context(), identity.User{Backend: "local", Name: "alice", Role: identity.Viewer}, "", event())
	if err != nil {
		b.Fatal(err)
	}
	session := func(i int) identity.Session {
		return identity.Session{TokenHash: fmt.Append(nil, "token ", i), UserRowID: user.RowID, CreatedAt: now, ExpiresAt: now, LastSeenAt: now}
	}
	if err := s.CreateSession(b.Context(), session(-1)); err != nil {
		b.Fatal(err)
	}
	for name, once := range map[string]func(i int) error{
		"version":      func(int) error { _, err := s.Version(b.Context()); return err },
		"read session": func(int) error { _, _, err := s.SessionByHash(b.Context(), session(-1).TokenHash); return err },
		"audit":        func(int) error { return s.AppendAudit(b.Context(), event()) },
		"sign-in": func(i int) error {
			if _, err := s.TakeAttempt(b.Context(), attempt("alice", fmt.Sprint(i), 0)); err != nil {
				return err
			}
			if err := s.ClearAttempts(b.Context(), "alice", fmt.Sprint(i), now); err != nil {
				return err
			}
			return s.CreateSession(b.Context(), session(i))
		},
	} {
		b.Run(name, func(b *testing.B) {
			offset := int(time.Now().UnixNano())
			for i := range b.N {
				if err := once(offset + i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
