package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"dagster-authkit/internal/identity"
)

// testProviderSessions: a provider ends what it began, and nothing else, whatever the others are called.
func testProviderSessions(t *testing.T, s *Store) {
	ctx := t.Context()
	user := func(backend, subject string) identity.User {
		u, err := s.UpsertUser(ctx, identity.User{Backend: backend, Subject: subject, Name: "ada", Role: identity.Viewer, CreatedAt: now})
		check(t, "sign in", err)
		return u
	}
	ada, other, directory := user("oidc", "iss|1"), user("oidc", "iss|2"), user("ldap", "iss|1")
	begin := func() {
		for token, by := range map[string]struct {
			user              identity.User
			provider, session string
		}{
			"ada 1": {ada, "corp", "sid-1"}, "ada 2": {ada, "corp", "sid-2"}, "ada without": {ada, "corp", ""}, "ada elsewhere": {ada, "google", "sid-1"},
			"other": {other, "corp", "sid-3"}, "ldap": {directory, "corp", "sid-1"},
		} {
			check(t, "create session", s.CreateSession(ctx, identity.Session{
				TokenHash: []byte(token), UserRowID: by.user.RowID, UserEpoch: by.user.Epoch, CreatedAt: now, ExpiresAt: now.Add(time.Hour), LastSeenAt: now,
				Voucher: identity.Voucher{Provider: by.provider, ProviderSession: by.session, Secret: []byte("sealed " + token)},
			}))
		}
	}
	left := func() string {
		sessions, _, err := s.Sessions(ctx, 0)
		check(t, "sessions", err)
		var tokens []string
		for _, session := range sessions {
			tokens = append(tokens, string(session.TokenHash))
		}
		slices.Sort(tokens)
		return strings.Join(tokens, ", ")
	}
	for _, tc := range []struct{ session, subject, left string }{
		{"sid-1", "", "ada 2, ada elsewhere, ada without, ldap, other"},
		{"sid-1", "iss|1", "ada 2, ada elsewhere, ada without, ldap, other"},
		{"", "iss|1", "ada elsewhere, ldap, other"},
		{"sid-1", "iss|2", "ada 1, ada 2, ada elsewhere, ada without, ldap, other"},
		{"sid-9", "", "ada 1, ada 2, ada elsewhere, ada without, ldap, other"},
		{"", "iss|9", "ada 1, ada 2, ada elsewhere, ada without, ldap, other"},
	} {
		begin()
		before := countEvents(t, s)
		events, err := s.RevokeProviderSessions(ctx, "oidc", "corp", tc.session, tc.subject, event())
		check(t, "revoke", err)
		if got := left(); got != tc.left || countEvents(t, s) != before+len(events) || len(events) != 6-strings.Count(tc.left, ",")-1 {
			t.Errorf("%q, %q: left are %s and %d events, want %s", tc.session, tc.subject, got, len(events), tc.left)
		}
		_, err = s.RevokeSessions(ctx, 0, event())
		check(t, "revoke all", err)
	}
	begin()
	// Nothing named is not everything.
	for _, provider := range []string{"corp", ""} {
		if _, err := s.RevokeProviderSessions(ctx, "oidc", provider, "", "", event()); err == nil {
			t.Errorf("without a session and a subject: got no error")
		}
	}
	if secret, err := s.SessionSecret(ctx, []byte("ada 1")); string(secret) != "sealed ada 1" || err != nil {
		t.Errorf("got the secret %q, %v", secret, err)
	}
	if _, err := s.SessionSecret(ctx, []byte("gone")); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("of a session that is gone: got %v, want ErrNotFound", err)
	}
}
