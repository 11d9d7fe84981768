package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"

	"dagster-authkit/internal/identity"
)

// takeGroups reads groups: [{group: data-admins, role: admin}, {group: analysts, location: analytics, role: editor}].
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
		default:
			f.fail(value, "%s is not part of a rule for groups%s", shown(key), suggestion(plainKey(key), []string{"group", "location", "role"}))
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
	case good:
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
		values = append(values, Value{
			Name: groupsKey + "." + rule.Group, Text: text, From: fmt.Sprintf("%s:%d", f.path, f.groupLines[i]),
		})
	}
	return values
}
