package auth

import (
	"errors"
	"fmt"
	"slices"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// RoleRulesOptions are what RoleRules are made of.
type RoleRulesOptions struct {
	// Source is who tells of the groups, and Rules are those for its groups; one for another's is a fault.
	Source string
	Rules  []identity.GroupRule
	// Default is the role of those whom no rule gives one everywhere; empty: they may not sign in unless a rule gives them
	// one in a code location.
	Default identity.Role
	// Roles are those that there are.
	Roles *policy.Roles
	// Normal gives the one form of a group's name in which two spellings of it are equal; nil is identity.NameKey.
	Normal func(group string) string
}

// RoleRules turn the groups that a backend tells of into a role and grants.
type RoleRules struct {
	source      string
	rules       []identity.GroupRule // in the order of the config file, groups in their normal form
	defaultRole identity.Role
	roles       *policy.Roles
	normal      func(string) string
}

// NewRoleRules checks the rules against the roles that there are.
func NewRoleRules(o RoleRulesOptions) (*RoleRules, error) {
	if o.Normal == nil {
		o.Normal = identity.NameKey
	}
	r := &RoleRules{source: o.Source, defaultRole: o.Default, roles: o.Roles, normal: o.Normal}
	var problems []error
	if o.Default != "" && !o.Roles.Known(o.Default) {
		problems = append(problems, fmt.Errorf("the default role %q is no role", o.Default))
	}
	for _, rule := range o.Rules {
		if rule.Source != o.Source {
			problems = append(problems, fmt.Errorf("the rule for the group %q of %q is not for those of %q", rule.Group, rule.Source, o.Source))
		}
		if !o.Roles.Known(rule.Role) {
			problems = append(problems, fmt.Errorf("the group %q is given %q, which is no role", rule.Group, rule.Role))
		}
		rule.Group = o.Normal(rule.Group)
		r.rules = append(r.rules, rule)
	}
	return r, errors.Join(problems...)
}

// Apply sets the user's role and grants by the user's groups, and whose these are. Of several roles the most permissive wins, and of two that each
// have what the other lacks, the one whose rule stands first. Whoever has a role in a code location alone is a viewer
// everywhere. The error is a NoRoleError.
func (r *RoleRules) Apply(user *identity.User) error {
	user.Role, user.RuleGrants, user.GroupSource = r.defaultRole, nil, r.source
	groups := make([]string, len(user.Groups))
	for i, group := range user.Groups {
		groups[i] = r.normal(group)
	}
	for _, rule := range r.rules {
		if rule.Group == "" || !slices.Contains(groups, rule.Group) {
			continue
		}
		grant := identity.Grant{Location: rule.Location, Role: rule.Role}
		switch {
		case rule.Location == "" && (user.Role == "" || r.roles.Exceeds(rule.Role, user.Role)):
			user.Role = rule.Role
		case rule.Location != "" && !slices.Contains(user.RuleGrants, grant):
			user.RuleGrants = append(user.RuleGrants, grant)
		}
	}
	switch {
	case user.Role == "" && len(user.RuleGrants) == 0:
		return &NoRoleError{ID: user.ID(), Username: user.Name, Groups: user.Groups}
	case user.Role == "":
		// Dagster has no notion of hiding a code location: whoever may enter sees everything.
		user.Role = identity.Viewer
	}
	return nil
}
