package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dagster-authkit/internal/identity"
)

// The settings for backends that keep their users elsewhere.

// leastRefresh keeps a directory from being asked all the time.
const leastRefresh = 10 * time.Second

// longestContact is in characters: a sentence.
const longestContact = 200

func backendSettings() []setting {
	return []setting{
		{
			Setting{
				Env:     "DAGSTER_AUTH_DEFAULT_ROLE",
				Meaning: "Role of those who sign in by ldap, oidc or header and whose groups give them none; without it they are shown a page that says so.",
			},
			func(c *Config, text string) error { c.DefaultRole = identity.Role(strings.ToLower(text)); return nil },
		},
		{
			Setting{
				Env:     "DAGSTER_AUTH_CONTACT",
				Meaning: "Whom to ask for a role, as it stands on that page, such as the data platform team (#data-platform).",
			},
			func(c *Config, text string) error { c.Contact = text; return checkContact(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_REFRESH_INTERVAL", Default: "15m",
				Meaning: "How often ldap and oidc are asked whether somebody who is signed in is still there, and in which groups.",
			},
			func(c *Config, text string) error { return into(&c.RefreshInterval)(durationFrom(text, leastRefresh)) },
		},
	}
}

func checkContact(text string) error {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > longestContact || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("it is too long or no text: write at most %d visible characters", longestContact)
	}
	return nil
}

// knownRole reports whether there is a role of that name, built in or in the config file.
func (c Config) knownRole(role identity.Role) bool {
	_, custom := c.Roles[role]
	return custom || slices.Contains(identity.Roles(), role)
}

// checkRoles looks for roles that are given and not there.
func (c Config) checkRoles(in *input) []error {
	var problems []error
	if c.DefaultRole != "" && !c.knownRole(c.DefaultRole) {
		problems = append(problems, fmt.Errorf("%s: %q is no role: write viewer, launcher, editor, admin or one of the config file's",
			in.givenOr("DAGSTER_AUTH_DEFAULT_ROLE"), c.DefaultRole))
	}
	if in.file == nil {
		return problems
	}
	for i, rule := range c.GroupRules {
		if !c.knownRole(rule.Role) {
			problems = append(problems, in.file.at(in.file.groupLines[i], "the group %q is given %q, which is no role: "+
				"write viewer, launcher, editor, admin or one of the roles in this file", rule.Group, rule.Role))
		}
	}
	return problems
}

// checkGroup says what is wrong with a group's or code location's name.
func checkGroup(text string) error {
	const longest = 1024 // a distinguished name
	if strings.TrimSpace(text) == "" || len(text) > longest || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("it is empty, too long or has control characters: write a name or a DN")
	}
	return nil
}

// rolePlace is where the name of a role's group stands in a pattern.
const rolePlace = "{role}"

// patternRules are the rules that a pattern stands for, as the Python AuthKit has it: the groups admins, editors, launchers and
// viewers have those roles.
func patternRules(source, pattern string) []identity.GroupRule {
	if pattern == "" {
		return nil
	}
	rules := make([]identity.GroupRule, 0, len(identity.Roles()))
	for _, role := range slices.Backward(identity.Roles()) {
		rules = append(rules, identity.GroupRule{Source: source, Group: strings.Replace(pattern, rolePlace, string(role)+"s", 1), Role: role})
	}
	return rules
}

func checkGroupPattern(text string) error {
	if strings.Count(text, rolePlace) != 1 {
		return errors.New("it must have {role} in one place: write cn={role},ou=groups,dc=example,dc=com")
	}
	return checkGroup(text)
}
