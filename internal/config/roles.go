package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"dagster-authkit/internal/identity"
)

// roleName and permissionName keep both fit for the command line and the audit trail. Which permissions there are only
// Dagster knows.
var (
	roleName       = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	permissionName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,99}$`)
)

// takeRoles reads roles: [{name: operator, permissions: [start_schedule]}].
func (f *file) takeRoles(node ast.Node) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		f.fail(node, "roles is no list: write - name: operator, and permissions: [start_schedule] below it")
		return
	}
	f.roles, f.roleLines = map[identity.Role][]identity.Permission{}, map[identity.Role]int{}
	for _, element := range list.Values {
		mapping, ok := element.(*ast.MappingNode)
		if !ok {
			f.fail(element, "a role has a name and permissions: write name: operator, and permissions: [start_schedule] below it")
			continue
		}
		f.takeRole(mapping)
	}
}

func (f *file) takeRole(mapping *ast.MappingNode) {
	var name string
	var permissions []identity.Permission
	given := map[string]bool{}
	for key, value := range f.each(mapping) {
		given[key] = true
		switch key {
		case "name":
			name, _ = f.scalar(key, value)
		case "permissions":
			permissions = f.permissions(value)
		default:
			f.fail(value, "%s is not part of a role%s", shown(key), suggestion(plainKey(key), []string{"name", "permissions"}))
		}
	}
	role := identity.Role(name)
	switch {
	case !given["name"]:
		f.fail(mapping, "the role has no name: write name: operator")
	case slices.Contains(identity.Roles(), role):
		f.fail(mapping, "role %s is built in and can't be defined anew: choose another name", role)
	case !roleName.MatchString(name):
		f.fail(mapping, "role name %.80q: use a lower-case letter and then up to 31 letters, digits, - or _", name)
	case !given["permissions"] || len(permissions) == 0:
		f.fail(mapping, "role %s has no permissions: list at least one", role)
	case f.roles[role] != nil:
		f.fail(mapping, "role %s is there already: leave one of them out", role)
	default:
		f.roles[role], f.roleLines[role] = permissions, line(mapping)
	}
}

// customRoles are those of the file, nil when there is none.
func (f *file) customRoles() map[identity.Role][]identity.Permission {
	if f == nil {
		return nil
	}
	return f.roles
}

// roleValues are the custom roles as Inspect shows them.
func (f *file) roleValues() []Value {
	var values []Value
	for _, role := range slices.Sorted(maps.Keys(f.customRoles())) {
		words := make([]string, len(f.roles[role]))
		for i, permission := range f.roles[role] {
			words[i] = string(permission)
		}
		from := fmt.Sprintf("%s:%d", f.path, f.roleLines[role])
		values = append(values, Value{Name: rolesKey + "." + string(role), Text: strings.Join(words, ", "), From: from})
	}
	return values
}

func (f *file) permissions(node ast.Node) []identity.Permission {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		f.fail(node, "permissions is no list: write [start_schedule, stop_running_schedule]")
		return nil
	}
	var permissions []identity.Permission
	for _, element := range list.Values {
		text, ok := f.scalar("permissions", element)
		permission := identity.Permission(text)
		switch {
		case !ok:
		case !permissionName.MatchString(text):
			f.fail(element, "%.80q is no permission: see dagster-authkit list-permissions", text)
		case !slices.Contains(permissions, permission):
			permissions = append(permissions, permission)
		}
	}
	return permissions
}
