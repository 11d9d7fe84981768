package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"dagster-authkit/internal/identity"
)

// takeGroups reads groups: [{group: data-admins, role: admin}, {group: analysts, provider: company, location: analytics, role: editor}].
func (f *file) takeGroups(node ast.Node) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		f.fail(node, "groups is no list: write - group: data-admins, and role: admin below it")
		return
	}
	for _, element := range list.Values {
		mapping, ok := element.(*ast.MappingNode)
		if !ok {
			f.fail(element, "a rule has a group and a role: write group: data-admins, and role: admin below it")
			continue
		}
		f.takeGroup(mapping)
	}
}

func (f *file) takeGroup(mapping *ast.MappingNode) {
	var rule identity.GroupRule
	var backend, provider string
	given, good := map[string]bool{}, true
	for key, value := range f.each(mapping) {
		text, ok := f.scalar(key, value)
		given[key], good = true, good && ok
		switch key {
		case "group":
			rule.Group = text
		case "location":
			rule.Location = text
		case "role":
			rule.Role = identity.Role(text)
			continue
		case "backend":
			backend = strings.ToLower(text)
			continue
		case "provider":
			provider = text
			continue
		default:
			f.fail(value, "%s is not part of a rule for groups%s", shown(key), suggestion(plainKey(key), []string{"group", "location", "role", "backend", "provider"}))
			continue
		}
		if err := checkGroup(text); ok && err != nil {
			f.fail(value, "%s: %w", key, err)
			good = false
		}
	}
	switch {
	case !given["group"]:
		f.fail(mapping, "the rule has no group: write group: data-admins")
	case !given["role"]:
		f.fail(mapping, "the rule for the group has no role: write role: viewer")
	case given["provider"] && given["backend"] && backend != BackendOIDC:
		f.fail(mapping, "the rule for the group has a provider, and a backend that has none: leave one of them out")
	case given["provider"] && !providerID.MatchString(provider):
		f.fail(mapping, "the provider %.80q is no ID: write that of one of the providers", provider)
	case given["backend"] && !slices.Contains([]string{BackendLDAP, BackendHeader, BackendOIDC}, backend):
		f.fail(mapping, "the backend %.80q tells of no groups: write ldap, header, or oidc", backend)
	case good:
		rule.Source = cmp.Or(provider, backend)
		f.groups, f.groupLines = append(f.groups, rule), append(f.groupLines, line(mapping))
	}
}

// groupRules are those of the file, nil when there is none.
func (f *file) groupRules() []identity.GroupRule {
	if f == nil {
		return nil
	}
	return f.groups
}

// groupValues are the rules as Inspect shows them.
func (f *file) groupValues() []Value {
	values := make([]Value, 0, len(f.groupRules()))
	for i, rule := range f.groupRules() {
		text := string(rule.Role)
		if rule.Location != "" {
			text += " in " + rule.Location
		}
		if rule.Source != "" {
			text += ", of " + rule.Source
		}
		values = append(values, Value{
			Name: groupsKey + "." + rule.Group, Text: text, From: fmt.Sprintf("%s:%d", f.path, f.groupLines[i]),
		})
	}
	return values
}

// groupSources are those that tell of groups: backends, and each OpenID Connect provider, whose IDs are none of their names.
func (c Config) groupSources() []string {
	var sources []string
	for _, backend := range c.Backends {
		switch backend {
		case BackendLDAP, BackendHeader:
			sources = append(sources, backend)
		case BackendOIDC:
			for _, provider := range c.OIDC {
				sources = append(sources, provider.ID)
			}
		}
	}
	return sources
}

// RulesFor are the config file's rules for the groups of that source: ldap, header or a provider's ID.
func (c Config) RulesFor(source string) []identity.GroupRule {
	return slices.DeleteFunc(slices.Clone(c.GroupRules), func(rule identity.GroupRule) bool { return rule.Source != source })
}

// settleGroups says of each rule whose groups it is for. It need not be written when there is one that tells of groups: with
// several, a group of the same name may be anybody's.
func (c *Config) settleGroups(in *input) []error {
	sources := c.groupSources()
	// Of what could not be read nothing can be said.
	if in.file == nil || in.bad["DAGSTER_AUTH_BACKEND"] || len(in.file.problems) > 0 {
		return nil
	}
	var problems []error
	c.GroupRules = slices.Clone(c.GroupRules)
	for i := range c.GroupRules {
		rule := &c.GroupRules[i]
		candidates := sources
		if rule.Source == BackendOIDC {
			candidates = slices.DeleteFunc(slices.Clone(sources), func(source string) bool { return source == BackendLDAP || source == BackendHeader })
		}
		open := rule.Source == "" || rule.Source == BackendOIDC
		switch {
		case open && len(candidates) == 1:
			rule.Source = candidates[0]
		case open && len(candidates) > 1:
			problems = append(problems, in.file.at(in.file.groupLines[i], "the rule for the group %q does not say whose group that is, "+
				"and several tell of groups: write %s in it", rule.Group, sourceWords(candidates)))
		case rule.Source != "" && !slices.Contains(sources, rule.Source):
			problems = append(problems, in.file.at(in.file.groupLines[i], "the rule for the group %q is for those of %s, which is not in use%s",
				rule.Group, rule.Source, orWrite(sources)))
		}
	}
	in.file.groups = c.GroupRules
	return problems
}

func orWrite(sources []string) string {
	if len(sources) == 0 {
		return ": leave the rule out"
	}
	return ": write " + sourceWords(sources)
}

// sourceWords are what to write in a rule for one of the sources.
func sourceWords(sources []string) string {
	words := make([]string, len(sources))
	for i, source := range sources {
		words[i] = "provider: " + source
		if source == BackendLDAP || source == BackendHeader {
			words[i] = "backend: " + source
		}
	}
	return strings.Join(words, " or ")
}
