package app

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
	"dagster-authkit/internal/store"
)

// TestConfirmOwners: who can be asked is asked; of whom can't, there must have been a word lately: a sign-in, or a session that a
// provider has vouched for since.
func TestConfirmOwners(t *testing.T) {
	t.Parallel()
	rows, err := store.Open(t.Context(), store.Options{URL: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rows.Close() })
	asked := 0
	ask := func(context.Context, identity.User, identity.Voucher) ([]byte, error) {
		asked++
		return nil, session.ErrGone
	}
	const longest = 30 * 24 * time.Hour
	owner := func(backend, subject string, seen time.Duration) identity.User {
		t.Helper()
		user, err := rows.UpsertUser(t.Context(), identity.User{Backend: backend, Subject: subject, Name: subject, Role: identity.Viewer})
		if err == nil && seen > 0 {
			err = rows.SignedIn(t.Context(), user.RowID, time.Now().Add(-seen))
		}
		if err != nil {
			t.Fatal(err)
		}
		return user
	}
	vouched := owner("oidc", "iss|refreshed", 40*24*time.Hour)
	if err := rows.CreateSession(t.Context(), identity.Session{
		TokenHash: []byte("one"), UserRowID: vouched.RowID, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), LastSeenAt: time.Now(),
		Voucher: identity.Voucher{Provider: "sso", RefreshedAt: time.Now().Add(-time.Hour)},
	}); err != nil {
		t.Fatal(err)
	}
	check := confirm(ask, []string{"ldap"}, rows, longest)
	for name, tc := range map[string]struct {
		owner identity.User
		want  error
	}{
		"signed in yesterday":        {owner("oidc", "iss|recent", 24*time.Hour), nil},
		"came through a proxy":       {owner("header", "recent", longest-time.Minute), nil},
		"long ago, and refreshed":    {vouched, nil},
		"long ago":                   {owner("oidc", "iss|old", longest), token.ErrUnseen},
		"long ago through a proxy":   {owner("header", "old", longest+time.Hour), token.ErrUnseen},
		"never":                      {owner("oidc", "iss|never", 0), token.ErrUnseen},
		"of a directory that is up":  {owner("ldap", "gone", time.Minute), auth.ErrGone},
		"deleted since it was found": {identity.User{RowID: 999, Backend: "oidc"}, token.ErrUnseen},
	} {
		if err := check(t.Context(), tc.owner); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	if asked != 1 {
		t.Errorf("backends were asked %d times, want once, about the directory's", asked)
	}
	_ = rows.Close()
	if err := check(t.Context(), vouched); err == nil || errors.Is(err, auth.ErrGone) {
		t.Errorf("the database is down: got %v, want an error that leaves open whether the owner is gone", err)
	}
}
