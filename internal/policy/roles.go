package policy

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"dagster-authkit/internal/identity"
)

// Roles knows what each role may do: the four built-in ones, which have an order, and those of the config file, each a list
// of permissions without any. It is safe for concurrent use.
type Roles struct {
	custom map[identity.Role][]identity.Permission
	// known are the permissions that the running Dagster has; nil before anybody asked it, when all count.
	known atomic.Pointer[map[identity.Permission]bool]
	// changes counts how often known became another set.
	changes atomic.Int64
}

// customName keeps a custom role's name fit for the command line, the audit trail and Prometheus.
var customName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// NewRoles checks the custom roles and puts them beside the built-in ones. Whether Dagster has their permissions is not known
// before it runs: see Restrict.
func NewRoles(custom map[identity.Role][]identity.Permission) (*Roles, error) {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		switch {
		case slices.Contains(identity.Roles(), name):
			problems = append(problems, fmt.Errorf("role %s is built in and can't be defined anew: choose another name", name))
		case !customName.MatchString(string(name)):
			problems = append(problems, fmt.Errorf("role name %q: use a lower-case letter and then up to 31 letters, digits, - or _", name))
		case len(custom[name]) == 0:
			problems = append(problems, fmt.Errorf("role %s has no permissions: list at least one", name))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &Roles{custom: custom}, nil
}

// Names are all roles: the built-in ones, least first, then the custom ones by name.
func (r *Roles) Names() []identity.Role {
	return append(identity.Roles(), slices.Sorted(maps.Keys(r.custom))...)
}

// Known reports whether there is such a role.
func (r *Roles) Known(role identity.Role) bool {
	if roles, is := joined(role); is {
		return !slices.ContainsFunc(roles, func(one identity.Role) bool { return !r.Known(one) })
	}
	_, custom := r.custom[role]
	return custom || slices.Contains(identity.Roles(), role)
}

// Parse reads a role's name as a person typed it.
func (r *Roles) Parse(name string) (identity.Role, error) {
	role := identity.Role(strings.ToLower(strings.TrimSpace(name)))
	if slices.Contains(r.Names(), role) {
		return role, nil
	}
	names := make([]string, 0, len(r.custom)+4)
	for _, known := range r.Names() {
		names = append(names, string(known))
	}
	last := len(names) - 1
	return "", fmt.Errorf("unknown role %q: use %s or %s", name, strings.Join(names[:last], ", "), names[last])
}

// Custom reports whether the role comes from the config file.
func (r *Roles) Custom(role identity.Role) bool { return len(r.custom[role]) > 0 }

// Has reports whether a role has a permission. A custom role has what it lists, as far as Dagster has it too; an unknown
// role has nothing.
func (r *Roles) Has(role identity.Role, permission identity.Permission) bool {
	if roles, is := joined(role); is {
		return !slices.ContainsFunc(roles, func(one identity.Role) bool { return !r.Has(one, permission) })
	}
	if permissions, custom := r.custom[role]; custom {
		known := r.known.Load()
		return slices.Contains(permissions, permission) && (known == nil || (*known)[permission])
	}
	return role.Includes(LeastRole(permission))
}

// Exceeds reports whether a role may do all that another may, and more. Of two that each have what the other lacks, neither
// exceeds the other.
func (r *Roles) Exceeds(role, other identity.Role) bool {
	return r.covers(role, other) && !r.covers(other, role)
}

func (r *Roles) covers(role, other identity.Role) bool {
	switch {
	case !r.Custom(role) && !r.Custom(other):
		return role.Includes(other)
	case other == identity.Admin: // what no table knows, too
		return false
	}
	for _, permission := range r.announced() {
		if r.Has(other, permission) && !r.Has(role, permission) {
			return false
		}
	}
	return true
}

// Restrict notes which permissions there are, and returns those that custom roles list beside them: they grant nothing.
func (r *Roles) Restrict(known []identity.Permission) (unknown map[identity.Role][]identity.Permission) {
	set := make(map[identity.Permission]bool, len(known))
	for _, permission := range known {
		set[permission] = true
	}
	if before := r.known.Load(); before == nil || !maps.Equal(*before, set) {
		r.known.Store(&set)
		r.changes.Add(1)
	}
	unknown = map[identity.Role][]identity.Permission{}
	for role, permissions := range r.custom {
		for _, permission := range permissions {
			if !set[permission] {
				unknown[role] = append(unknown[role], permission)
			}
		}
	}
	return unknown
}

// announced are the permissions of the running Dagster, or those of the table before anybody asked it.
func (r *Roles) announced() []identity.Permission {
	if known := r.known.Load(); known != nil {
		return slices.Collect(maps.Keys(*known))
	}
	return slices.Collect(maps.Keys(leastRoles))
}
