package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"dagster-authkit/internal/identity"
)

func benchStore(b *testing.B) *Store {
	b.Helper()
	s := openPath(b, filepath.Join(b.TempDir(), "a.db"))
	for i := range 100 {
		user, err := s.CreateUser(b.Context(), identity.User{Backend: "local", Name: fmt.Sprint("user", i)}, "", event())
		if err != nil {
			b.Fatal(err)
		}
		session := identity.Session{TokenHash: fmt.Appendf(nil, "token %d", i), UserRowID: user.RowID, CreatedAt: now, ExpiresAt: now, LastSeenAt: now}
		if err := s.CreateSession(b.Context(), session); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkVersion(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if _, err := s.Version(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVersionParallel(b *testing.B) {
	s := benchStore(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Version(b.Context()); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkVersionLooked is a call that nobody made another one just before: it asks the file system and SQLite.
func BenchmarkVersionLooked(b *testing.B) {
	s := benchStore(b)
	b.ReportAllocs()
	for b.Loop() {
		s.engine.(*sqlite).glance.changed()
		if _, err := s.Version(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVersionAfterAudit is the dearer case: another connection has committed, and the row is read.
func BenchmarkVersionAfterAudit(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		b.StopTimer()
		if err := s.AppendAudit(b.Context(), event()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := s.Version(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSessionByHash(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if _, _, err := s.SessionByHash(b.Context(), []byte("token 50")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendAudit(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if err := s.AppendAudit(b.Context(), event()); err != nil {
			b.Fatal(err)
		}
	}
}
