package store

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

// TestUpsertOfTheSameTakesNoLock: an account that is as it is to be is read while somebody else writes; any difference waits.
func TestUpsertOfTheSameTakesNoLock(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	user := identity.User{
		Backend: "header", Subject: "vic", Name: "Vic", Email: "vic@x", FullName: "V", Role: identity.Viewer,
		Groups: []string{"a", "b", ""}, GroupSource: "ldap", RuleGrants: []identity.Grant{{Location: "ml", Role: identity.Editor}},
	}
	first, err := s.UpsertUser(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := s.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.UpsertUser(t.Context(), user)
	if diff := cmp.Diff(first, again); err != nil || diff != "" {
		t.Errorf("the same again: error %v, (-first +again):\n%s", err, diff)
	}
	for name, change := range map[string]func(u *identity.User){
		"name":       func(u *identity.User) { u.Name = "VIC" },
		"email":      func(u *identity.User) { u.Email = "v@x" },
		"full name":  func(u *identity.User) { u.FullName = "W" },
		"role":       func(u *identity.User) { u.Role = identity.Admin },
		"a group":    func(u *identity.User) { u.Groups = []string{"a", "b", "c"} },
		"less":       func(u *identity.User) { u.Groups = []string{"a"} },
		"rule grant": func(u *identity.User) { u.RuleGrants = nil },
		"account":    func(u *identity.User) { u.Subject = "victor" },
	} {
		other := user
		change(&other)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := s.UpsertUser(ctx, other); err == nil {
			t.Errorf("another %s was taken for the same", name)
		}
		cancel()
	}
	if err := writer.Rollback(); err != nil {
		t.Fatal(err)
	}
}
