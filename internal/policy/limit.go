package policy

import (
	"slices"
	"strings"

	"dagster-authkit/internal/identity"
)

// Limit is what somebody gives away of their own rights, in a token: never more than they have themselves.
type Limit struct {
	// Role is the most that is given; empty: all that the owner has.
	Role identity.Role
	// Location is the one code location in which it is given, beside reading everything; empty: wherever the owner has it.
	Location string
}

// Limited is who the owner is within the limit: what both the owner and the limit may do, at this moment. Without a code
// location the role and each grant are cut to the limit's role. With one, reading is all that is left everywhere, and there
// the owner's role and grants count, cut in the same way. An owner's or a limit's role that there is not, or is no more, leaves
// nothing, not even reading.
func (r *Roles) Limited(owner identity.Identity, by Limit) identity.Identity {
	cut := func(role identity.Role) identity.Role {
		if by.Role == "" {
			return role
		}
		return r.both(role, by.Role)
	}
	limited := owner
	limited.Role, limited.Grants = cut(owner.Role), nil
	grants := owner.Grants
	if by.Location != "" && r.Known(limited.Role) {
		// What the owner may do everywhere, the owner may do there.
		grants = append([]identity.Grant{{Location: by.Location, Role: owner.Role}}, owner.Grants...)
		limited.Role = identity.Viewer
	}
	for _, grant := range grants {
		grant.Role = cut(grant.Role)
		elsewhere := by.Location != "" && grant.Location != by.Location
		if !elsewhere && grant.Role != limited.Role && !slices.Contains(limited.Grants, grant) {
			limited.Grants = append(limited.Grants, grant)
		}
	}
	return limited
}

// joint stands between the names of two roles in the name of a role that has what both have. No role that can be given has it
// in its name.
const joint = "&"

// both is the role that may do what each of the two may: the lesser of them where that is known from what they are, whatever
// the Dagster that runs now has, else one that is named for both. When there is no role of one of the names, it is that one,
// which may do nothing.
func (r *Roles) both(a, b identity.Role) identity.Role {
	switch {
	case !r.Known(a):
		return a
	case !r.Known(b):
		return b
	case a == b, b.Includes(a), a == identity.Viewer, b == identity.Admin:
		return a
	case a.Includes(b), b == identity.Viewer, a == identity.Admin:
		return b
	}
	names := append(strings.Split(string(a), joint), strings.Split(string(b), joint)...)
	slices.Sort(names)
	return identity.Role(strings.Join(slices.Compact(names), joint))
}

// joined gives the roles that a role is named for, and false for a plain one.
func joined(role identity.Role) ([]identity.Role, bool) {
	if !strings.Contains(string(role), joint) {
		return nil, false
	}
	var roles []identity.Role
	for name := range strings.SplitSeq(string(role), joint) {
		roles = append(roles, identity.Role(name))
	}
	return roles, true
}
