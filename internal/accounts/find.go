package accounts

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/identity"
)

// service is the backend of programs' own accounts.
const service = token.ServiceBackend

// backends are those whose names begin an identity's ID. A word that begins so is never somebody's name: directories and
// providers give names as they like.
var backends = []string{backend, service, "ldap", "oidc", "header", "dummy"}

// rowID is the number of a user's row, and 0, for everybody, when no name is given.
func (s *Service) rowID(ctx context.Context, nameOrID string) (int64, error) {
	if nameOrID == "" {
		return 0, nil
	}
	user, err := s.Get(ctx, nameOrID)
	return user.RowID, err
}

// Get finds one user by ID, "ldap:5b0c...", or by name where only one has it.
func (s *Service) Get(ctx context.Context, nameOrID string) (identity.User, error) {
	all, err := s.users.Users(ctx)
	if err != nil {
		return identity.User{}, err
	}
	named := func(u identity.User) bool { return identity.NameKey(u.Name) == identity.NameKey(nameOrID) }
	if from, subject, isID := cutID(nameOrID); isID {
		named = func(u identity.User) bool { return u.Backend == from && u.Subject == subject }
	}
	found := slices.DeleteFunc(all, func(u identity.User) bool { return !named(u) })
	switch len(found) {
	case 0:
		return identity.User{}, explain(identity.ErrNotFound, nameOrID)
	case 1:
		return found[0], nil
	}
	ids := make([]string, len(found))
	for i, user := range found {
		ids[i] = user.ID()
	}
	last := len(ids) - 1
	return identity.User{}, fmt.Errorf("%d users are called %q: give one of the IDs %s or %s", len(found), nameOrID, strings.Join(ids[:last], ", "), ids[last])
}

// cutID splits an identity's ID. The subjects of accounts that are made here are compared as names are.
func cutID(text string) (from, subject string, isID bool) {
	from, subject, isID = strings.Cut(text, ":")
	if !isID || !slices.Contains(backends, from) {
		return "", "", false
	}
	if from == backend || from == service {
		subject = identity.NameKey(subject)
	}
	return from, subject, true
}

// local is Get for what only local users have; what names it in the error.
func (s *Service) local(ctx context.Context, nameOrID, what string) (identity.User, error) {
	user, err := s.Get(ctx, nameOrID)
	switch {
	case err != nil:
		return user, err
	case user.Backend == service:
		return identity.User{}, fmt.Errorf("%q is a service account, which has no %s: see create-token", user.Name, what)
	case user.Backend != backend:
		return identity.User{}, foreign(user, what)
	}
	return user, nil
}

// ours is Get for what the users have whose accounts are made here, with a password or without.
func (s *Service) ours(ctx context.Context, nameOrID, what string) (identity.User, error) {
	user, err := s.Get(ctx, nameOrID)
	if err == nil && user.Backend != backend && user.Backend != service {
		return identity.User{}, foreign(user, what)
	}
	return user, err
}

// foreign says that the account is another backend's.
func foreign(user identity.User, what string) error {
	return fmt.Errorf("%q is a user of the backend %s, which has the %s: change it there", user.Name, user.Backend, what)
}

// keepAdmin reports whether a change of the user must leave an admin. Admins are counted among local users: a program's account is
// none that anybody signs in with, and a directory's admin can't help when the directory is down.
func keepAdmin(user identity.User, force bool) bool { return !force && user.Backend == backend }
