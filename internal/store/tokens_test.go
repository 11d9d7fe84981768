package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

func give(t *testing.T, s *Store, token identity.Token) {
	t.Helper()
	check(t, "create token", s.CreateToken(t.Context(), token, event()))
}

func testTokens(t *testing.T, s *Store) {
	alice := add(t, s, "alice", identity.Editor)
	bob := add(t, s, "bob", identity.Viewer)
	check(t, "grant", s.SetGrant(t.Context(), identity.Holder{User: alice}, identity.Grant{Location: "etl", Role: "admin"}, event()))
	check(t, "grant", s.SetGrant(t.Context(), identity.Holder{User: alice}, identity.Grant{Location: "ml", Role: "editor"}, event()))
	first := identity.Token{
		Hash: []byte("first"), UserRowID: alice.RowID, Name: "nightly", Role: "launcher", Location: "etl", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
	second := identity.Token{Hash: []byte("second"), UserRowID: bob.RowID, Name: "nightly", CreatedAt: now}
	give(t, s, first)
	give(t, s, second)

	token, owner, err := s.TokenByHash(t.Context(), first.Hash)
	check(t, "read token", err)
	if diff := cmp.Diff(first, token); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	if owner.ID() != "local:alice" || owner.Role != identity.Editor || fmt.Sprint(owner.Grants) != "[{etl admin} {ml editor}]" {
		t.Errorf("owner: got %+v, want alice with both grants", owner)
	}
	_, _, err = s.TokenByHash(t.Context(), []byte("third"))
	wantErr(t, "an unknown token", err, identity.ErrNotFound)

	tokens, owners, err := s.Tokens(t.Context(), 0)
	check(t, "list tokens", err)
	if len(tokens) != 2 || owners[0].Name != "alice" || owners[1].Name != "bob" || len(owners[0].Grants) != 2 {
		t.Errorf("list: got %v of %v, want alice's and bob's", tokens, owners)
	}
	tokens, _, err = s.Tokens(t.Context(), bob.RowID)
	check(t, "list bob's tokens", err)
	if len(tokens) != 1 || string(tokens[0].Hash) != "second" {
		t.Errorf("bob's list: got %v", tokens)
	}

	wantErr(t, "a name that is taken", s.CreateToken(t.Context(), identity.Token{Hash: []byte("x"), UserRowID: bob.RowID, Name: "nightly", CreatedAt: now}, event()), identity.ErrExists)
	before := countEvents(t, s)
	wantErr(t, "an owner who is gone", s.CreateToken(t.Context(), identity.Token{Hash: []byte("x"), UserRowID: 99, Name: "x", CreatedAt: now}, event()), identity.ErrNotFound)
	wantErr(t, "revoking nothing", s.DeleteToken(t.Context(), []byte("x"), event()), identity.ErrNotFound)
	if got := countEvents(t, s); got != before {
		t.Errorf("what failed left %d events", got-before)
	}

	check(t, "revoke", s.DeleteToken(t.Context(), second.Hash, event()))
	_, _, err = s.TokenByHash(t.Context(), second.Hash)
	wantErr(t, "a revoked token", err, identity.ErrNotFound)
	check(t, "delete the owner", s.DeleteUser(t.Context(), alice.RowID, false, event()))
	_, _, err = s.TokenByHash(t.Context(), first.Hash)
	wantErr(t, "a deleted owner's token", err, identity.ErrNotFound)
}

func testTokensUsedAndExpired(t *testing.T, s *Store) {
	alice := add(t, s, "alice", identity.Editor)
	soon := identity.Token{Hash: []byte("soon"), UserRowID: alice.RowID, Name: "soon", CreatedAt: now, ExpiresAt: now.Add(time.Minute)}
	never := identity.Token{Hash: []byte("never"), UserRowID: alice.RowID, Name: "never", CreatedAt: now}
	give(t, s, soon)
	give(t, s, never)
	used := func(hash string) time.Time {
		token, _, err := s.TokenByHash(t.Context(), []byte(hash))
		check(t, "read token", err)
		return token.LastUsedAt
	}
	if got := used("soon"); !got.IsZero() {
		t.Errorf("a new token was used at %v", got)
	}
	check(t, "use", s.TouchToken(t.Context(), soon.Hash, now.Add(2*time.Second)))
	check(t, "use, told late", s.TouchToken(t.Context(), soon.Hash, now.Add(time.Second)))
	check(t, "use of none", s.TouchToken(t.Context(), []byte("none"), now))
	if got := used("soon"); !got.Equal(now.Add(2 * time.Second)) {
		t.Errorf("used at %v, want the later of both", got)
	}

	events, err := s.ExpireTokens(t.Context(), now.Add(time.Minute-time.Millisecond), 10, event())
	check(t, "sweep before", err)
	if len(events) != 0 {
		t.Errorf("a sweep before the end gave %v", events)
	}
	before := countEvents(t, s)
	events, err = s.ExpireTokens(t.Context(), now.Add(time.Minute), 10, event())
	check(t, "sweep", err)
	if len(events) != 1 || events[0].TokenName != "soon" || events[0].Identity != "local:alice" || events[0].Token != soon.PublicID() {
		t.Errorf("a sweep gave %+v, want one event of soon", events)
	}
	if got := countEvents(t, s) - before; got != 1 {
		t.Errorf("a sweep stored %d events, want 1", got)
	}
	_, _, err = s.TokenByHash(t.Context(), soon.Hash)
	wantErr(t, "an expired token", err, identity.ErrNotFound)
	if _, _, err = s.TokenByHash(t.Context(), never.Hash); err != nil {
		t.Errorf("the control, a token without an end: %v", err)
	}
}
