package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

func testRefresh(t *testing.T, s *Store) {
	ctx := t.Context()
	user, err := s.UpsertUser(ctx, identity.User{Backend: "oidc", Subject: "iss|1", Name: "ada", Role: identity.Viewer, CreatedAt: now})
	check(t, "sign in", err)
	seen := func(want time.Time) {
		t.Helper()
		if at, err := s.LastSeen(ctx, user.RowID); err != nil || !at.Equal(want) {
			t.Errorf("last seen: got %v, %v, want %v", at, err, want)
		}
	}
	seen(time.Time{})
	check(t, "signed in", s.SignedIn(ctx, user.RowID, now.Add(-3*time.Hour)))
	seen(now.Add(-3 * time.Hour))
	make := func(token string, by identity.Voucher) {
		check(t, "create session", s.CreateSession(ctx, identity.Session{
			TokenHash: []byte(token), UserRowID: user.RowID, UserEpoch: user.Epoch, CreatedAt: now, ExpiresAt: now.Add(24 * time.Hour), LastSeenAt: now, Voucher: by,
		}))
	}
	make("never", identity.Voucher{})
	seen(now.Add(-3 * time.Hour))
	make("late", identity.Voucher{Provider: "corp", ProviderSession: "sid-1", RefreshedAt: now.Add(-time.Hour), Secret: []byte("sealed")})
	make("later", identity.Voucher{Provider: "corp", RefreshedAt: now.Add(-2 * time.Hour)})
	make("fresh", identity.Voucher{Provider: "corp", RefreshedAt: now})
	seen(now)
	version, err := s.Version(ctx)
	check(t, "version", err)

	due := func(at time.Time) (tokens []string) {
		t.Helper()
		sessions, users, err := s.DueSessions(ctx, now.Add(-time.Minute), at, 10)
		check(t, "due sessions", err)
		for i, session := range sessions {
			if users[i].ID() != "oidc:iss|1" || session.Secret != nil {
				t.Errorf("got %s with the secret %q, want oidc:iss|1 without", users[i].ID(), session.Secret)
			}
			tokens = append(tokens, string(session.TokenHash))
		}
		return tokens
	}
	if diff := cmp.Diff([]string{"later", "late"}, due(now)); diff != "" {
		t.Errorf("due, the longest waiting first (-want +got):\n%s", diff)
	}
	read, _, err := s.SessionByHash(ctx, []byte("late"))
	if err != nil || read.Provider != "corp" || read.ProviderSession != "sid-1" || !read.RefreshedAt.Equal(now.Add(-time.Hour)) || read.Secret != nil {
		t.Errorf("got %+v, %v", read.Voucher, err)
	}

	// Many claim at once: one gets it, and the secret.
	var won atomic.Int32
	var claims sync.WaitGroup
	for range 8 {
		claims.Go(func() {
			secret, claimed, err := s.ClaimSession(ctx, []byte("late"), now.Add(-time.Hour), now, now.Add(time.Minute))
			if err != nil {
				t.Errorf("claim: %v", err)
			}
			if claimed {
				won.Add(1)
				if string(secret) != "sealed" {
					t.Errorf("claimed with the secret %q, want sealed", secret)
				}
			}
		})
	}
	claims.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claims were given, want 1", won.Load())
	}
	if diff := cmp.Diff([]string{"later"}, due(now)); diff != "" {
		t.Errorf("due while one is claimed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"later", "late"}, due(now.Add(time.Minute))); diff != "" {
		t.Errorf("due after the claim ran out (-want +got):\n%s", diff)
	}
	check(t, "release", s.ReleaseSession(ctx, []byte("late"), now.Add(time.Minute), now.Add(time.Second)))
	if diff := cmp.Diff([]string{"later", "late"}, due(now.Add(time.Second))); diff != "" {
		t.Errorf("due after the release (-want +got):\n%s", diff)
	}
	if _, claimed, err := s.ClaimSession(ctx, []byte("late"), now.Add(-2*time.Hour), now.Add(time.Minute), now.Add(2*time.Minute)); claimed || err != nil {
		t.Errorf("claiming what was refreshed since: got %t, %v, want no claim", claimed, err)
	}
	if _, claimed, err := s.ClaimSession(ctx, []byte("gone"), now, now, now.Add(time.Minute)); claimed || err != nil {
		t.Errorf("claiming what is gone: got %t, %v, want no claim", claimed, err)
	}
	if secret, claimed, err := s.ClaimSession(ctx, []byte("late"), now.Add(-time.Hour), now.Add(time.Minute), now.Add(2*time.Minute)); string(secret) != "sealed" || !claimed || err != nil {
		t.Errorf("claiming again: got %q, %t, %v, want the secret", secret, claimed, err)
	}
	// Whoever held the first claim was held up, and must not write over what the second one finds out.
	check(t, "refresh too late", s.RefreshSession(ctx, []byte("late"), now.Add(time.Minute), now, []byte("stale"), time.Time{}))
	check(t, "release too late", s.ReleaseSession(ctx, []byte("late"), now.Add(time.Minute), now))
	if diff := cmp.Diff([]string{"later"}, due(now.Add(time.Minute))); diff != "" {
		t.Errorf("due after answers of a claim that ran out (-want +got):\n%s", diff)
	}
	check(t, "refresh", s.RefreshSession(ctx, []byte("late"), now.Add(2*time.Minute), now, []byte("next"), time.Time{}))
	check(t, "refresh of nothing", s.RefreshSession(ctx, []byte("gone"), now, now, nil, time.Time{}))
	if diff := cmp.Diff([]string{"later"}, due(now.Add(time.Hour))); diff != "" {
		t.Errorf("due after the refresh (-want +got):\n%s", diff)
	}
	if secret, claimed, err := s.ClaimSession(ctx, []byte("late"), now, now, now.Add(time.Minute)); string(secret) != "next" || !claimed || err != nil {
		t.Errorf("after the refresh: got %q, %t, %v, want the next secret", secret, claimed, err)
	}
	if v, err := s.Version(ctx); err != nil || v != version {
		t.Errorf("the version moved from %d to %d, %v, though nobody's rights changed", version, v, err)
	}
}

func testRuleGrants(t *testing.T, s *Store) {
	ctx := t.Context()
	user := identity.User{
		Backend: "ldap", Subject: "1", Name: "ada", Role: identity.Viewer, CreatedAt: now,
		RuleGrants: []identity.Grant{{Location: "etl", Role: identity.Editor}, {Location: "etl", Role: "operator"}, {Location: "ml", Role: identity.Launcher}},
	}
	signedIn, err := s.UpsertUser(ctx, user)
	check(t, "sign in", err)
	want := []identity.Grant{{Location: "etl", Role: identity.Editor}, {Location: "etl", Role: "operator"}, {Location: "ml", Role: identity.Launcher}}
	if diff := cmp.Diff(want, signedIn.Grants); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	check(t, "a grant of one's own", s.SetGrant(ctx, identity.Holder{User: signedIn}, identity.Grant{Location: "own", Role: identity.Editor}, event()))
	listed, err := s.GrantsOf(ctx, signedIn.RowID)
	check(t, "list", err)
	holder := identity.Holder{User: identity.User{RowID: signedIn.RowID, Backend: "ldap", Subject: "1", Name: "ada"}}
	own := identity.HeldGrant{Grant: identity.Grant{Location: "own", Role: identity.Editor}, Holder: holder}
	all := []identity.HeldGrant{own}
	for _, grant := range want {
		all = append(all, identity.HeldGrant{Grant: grant, Holder: holder, Rule: true})
	}
	if diff := cmp.Diff(all, listed); diff != "" {
		t.Errorf("what the user has (-want +got):\n%s", diff)
	}
	if given, err := s.Grants(ctx); err != nil || !cmp.Equal(given, []identity.HeldGrant{own}) {
		t.Errorf("what was given: %+v, %v", given, err)
	}
	version, err := s.Version(ctx)
	check(t, "version", err)
	if _, err := s.UpsertUser(ctx, user); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.Version(ctx); v != version {
		t.Error("the version moved, though nothing changed")
	}
	user.RuleGrants = []identity.Grant{{Location: "ml", Role: identity.Launcher}}
	signedIn, err = s.UpsertUser(ctx, user)
	check(t, "sign in again", err)
	want = []identity.Grant{{Location: "ml", Role: identity.Launcher}, {Location: "own", Role: identity.Editor}}
	if diff := cmp.Diff(want, signedIn.Grants); diff != "" {
		t.Errorf("grants after the rules gave less (-want +got):\n%s", diff)
	}
	if v, _ := s.Version(ctx); v == version {
		t.Error("the version stands, though grants changed")
	}
	check(t, "delete", s.DeleteUser(ctx, signedIn.RowID, false, event()))
	if left, err := names(ctx, s.readers, `SELECT location FROM rule_grants`); err != nil || len(left) != 0 {
		t.Errorf("left of a deleted user: %v, %v", left, err)
	}
}

func testLoseRole(t *testing.T, s *Store) {
	ctx := t.Context()
	user := identity.User{
		Backend: "oidc", Subject: "iss|1", Name: "ada", Role: identity.Editor, CreatedAt: now, Groups: []string{"data"},
		GroupSource: "corp", RuleGrants: []identity.Grant{{Location: "etl", Role: identity.Admin}},
	}
	other := user
	other.Subject, other.Name = "iss|2", "bob"
	for _, u := range []identity.User{user, other} {
		_, err := s.UpsertUser(ctx, u)
		check(t, "sign in", err)
	}
	check(t, "a group's grant", s.SetGrant(ctx, identity.Holder{Group: "corp:data"}, identity.Grant{Location: "ml", Role: identity.Editor}, event()))
	version, err := s.Version(ctx)
	check(t, "version", err)
	check(t, "lose the role", s.LoseRole(ctx, "oidc", "iss|1"))
	got, err := s.UserByName(ctx, "oidc", "iss|1")
	if err != nil || got.Role != "" || len(got.Grants) != 0 {
		t.Errorf("without a role: got %+v, %v, want none and no grant", got, err)
	}
	if v, err := s.Version(ctx); err != nil || v == version {
		t.Errorf("the version stands at %d, %v, though somebody lost a role", v, err)
	}
	if kept, err := s.UserByName(ctx, "oidc", "iss|2"); err != nil || kept.Role != identity.Editor || len(kept.Grants) != 2 {
		t.Errorf("somebody else: got %+v, %v, want all as it was", kept, err)
	}
	version, err = s.Version(ctx)
	check(t, "version", err)
	check(t, "lose it again", s.LoseRole(ctx, "oidc", "iss|1"))
	check(t, "nobody", s.LoseRole(ctx, "oidc", "iss|3"))
	if v, _ := s.Version(ctx); v != version {
		t.Error("the version moved, though nothing changed")
	}
	back, err := s.UpsertUser(ctx, user)
	if err != nil || back.Role != identity.Editor || len(back.Grants) != 2 {
		t.Errorf("with the groups again: got %+v, %v", back, err)
	}
}
