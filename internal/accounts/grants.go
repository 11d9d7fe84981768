package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// maxPlace is the longest name of a code location or group, in characters. It has room for a group's name in a directory.
const maxPlace = 256

// Grants are roles in code locations, as they are stored. Changes store their event in the same transaction.
type Grants interface {
	// Grants lists all that were given, GrantsOf what one user has, own ones, those by groups and those that rules give.
	Grants(ctx context.Context) ([]identity.HeldGrant, error)
	GrantsOf(ctx context.Context, userRowID int64) ([]identity.HeldGrant, error)
	// SetGrant replaces what its holder has there. It gives identity.ErrNotFound when the user is gone.
	SetGrant(ctx context.Context, to identity.Holder, grant identity.Grant, event audit.Event) error
	// DeleteGrant gives identity.ErrNotFound when there is none.
	DeleteGrant(ctx context.Context, from identity.Holder, location string, event audit.Event) error
}

// Grantee says by name whom a grant is for: a user, or a group when Group is not empty, as identity.GroupName has it. A group
// need not be known: its members are those of whom that source tells so when they sign in.
type Grantee struct{ User, Group string }

// Grant gives a role in a code location, from the next request on, and returns what was given to whom, and the role that they
// had there before, if any. It only ever adds to what they may do elsewhere.
func (s *Service) Grant(ctx context.Context, by string, to Grantee, grant identity.Grant) (identity.HeldGrant, identity.Role, error) {
	var err error
	if grant.Role, err = s.roles.Parse(string(grant.Role)); err != nil {
		return identity.HeldGrant{}, "", err
	}
	if err := checkPlace("code location", grant.Location); err != nil {
		return identity.HeldGrant{}, "", err
	}
	if to.Group != "" && to.User == "" {
		// Revoking takes any name that is there: releases before this one gave grants to names alone, which nobody's groups have.
		if err := cmp.Or(checkPlace("group", to.Group), identity.CheckGroupName(to.Group)); err != nil {
			return identity.HeldGrant{}, "", err
		}
	}
	holder, held, err := s.held(ctx, to)
	if err != nil {
		return identity.HeldGrant{}, "", err
	}
	given, old := identity.HeldGrant{Grant: grant, Holder: holder}, held[grant.Location]
	if old == grant.Role {
		return given, old, nil // nothing happened, and the trail should not say that something did
	}
	ev := grantEvent(audit.EventGrantAdded, holder, grant, by)
	if old != "" {
		ev.Targets["old_roles"] = []string{string(old)}
	}
	return given, old, s.change(ev, func(ev audit.Event) error { return s.users.SetGrant(ctx, holder, grant, ev) })
}

// RevokeGrant takes away what Grant gave in that code location, from the next request on, and returns what that was. What a
// user has by a group stays.
func (s *Service) RevokeGrant(ctx context.Context, by string, from Grantee, location string) (identity.HeldGrant, error) {
	if err := checkPlace("code location", location); err != nil {
		return identity.HeldGrant{}, err
	}
	holder, held, err := s.held(ctx, from)
	if err != nil {
		return identity.HeldGrant{}, err
	}
	role, ok := held[location]
	if !ok {
		return identity.HeldGrant{}, problem{fmt.Sprintf("%s has no grant in %.80q: see list-grants", who(holder), location), identity.ErrNotFound}
	}
	taken := identity.HeldGrant{Grant: identity.Grant{Location: location, Role: role}, Holder: holder}
	ev := grantEvent(audit.EventGrantRemoved, holder, taken.Grant, by)
	return taken, s.change(ev, func(ev audit.Event) error { return s.users.DeleteGrant(ctx, holder, location, ev) })
}

// ListGrants lists what was given: to everybody, or what that user has, by groups and by rules too, or to that group.
func (s *Service) ListGrants(ctx context.Context, of Grantee) ([]identity.HeldGrant, error) {
	if of.User != "" {
		user, err := s.Get(ctx, of.User)
		if err != nil {
			return nil, err
		}
		return s.users.GrantsOf(ctx, user.RowID)
	}
	all, err := s.users.Grants(ctx)
	if of.Group != "" {
		all = slices.DeleteFunc(all, func(h identity.HeldGrant) bool { return h.Group != of.Group })
	}
	return all, err
}

// held finds the holder, and what the holder was given itself, by code location.
func (s *Service) held(ctx context.Context, name Grantee) (holder identity.Holder, roles map[string]identity.Role, err error) {
	if name.User != "" && name.Group != "" {
		return identity.Holder{}, nil, errors.New("a grant is for a user or for a group: give one of them")
	}
	if name.User == "" {
		holder.Group = name.Group
		err = checkPlace("group", name.Group)
	} else {
		holder.User, err = s.Get(ctx, name.User)
	}
	if err != nil {
		return identity.Holder{}, nil, err
	}
	all, err := s.users.Grants(ctx)
	if err != nil {
		return identity.Holder{}, nil, err
	}
	roles = map[string]identity.Role{}
	for _, h := range all {
		if h.Group == holder.Group && h.User.RowID == holder.User.RowID {
			roles[h.Location] = h.Role
		}
	}
	return holder, roles, nil
}

func grantEvent(kind string, holder identity.Holder, grant identity.Grant, by string) audit.Event {
	ev := event(kind, holder.User, by)
	ev.Roles = []string{string(grant.Role)}
	ev.Targets = map[string][]string{"code_location": {grant.Location}}
	if holder.Group != "" {
		ev.Identity = ""
		ev.Targets["group"] = []string{holder.Group}
	}
	return ev
}

// who names a holder in a sentence.
func who(holder identity.Holder) string {
	if holder.Group != "" {
		return fmt.Sprintf("the group %.80q", holder.Group)
	}
	return fmt.Sprintf("%q", holder.User.Name)
}

// checkPlace says what is wrong with the name of a code location or group. Dagster and directories know few limits for
// theirs, so that only what nobody can have meant is refused.
func checkPlace(what, name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("the %s is empty: give its name", what)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("the name of the %s has control characters or is not UTF-8: give it as it is shown elsewhere", what)
	case utf8.RuneCountInString(name) > maxPlace:
		return fmt.Errorf("the name of the %s is too long: give at most %d characters", what, maxPlace)
	}
	return nil
}
