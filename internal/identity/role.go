package identity

import (
	"fmt"
	"strings"
)

// Role is the name of a set of permissions. The four built-in ones, Dagster+'s, are ordered; the zero Role and any
// unknown name include nothing and are included by nothing.
type Role string

// The built-in roles, least first.
const (
	Viewer   Role = "viewer"
	Launcher Role = "launcher"
	Editor   Role = "editor"
	Admin    Role = "admin"
)

// Permission is a value of Dagster's Permissions enum, "launch_pipeline_execution".
type Permission string

// Roles lists the built-in roles, least first.
func Roles() []Role { return []Role{Viewer, Launcher, Editor, Admin} }

func (r Role) rank() int {
	switch r {
	case Viewer:
		return 1
	case Launcher:
		return 2
	case Editor:
		return 3
	case Admin:
		return 4
	default:
		return 0
	}
}

// Includes reports whether r may do all that other may. It is false whenever one of them is not a built-in role.
func (r Role) Includes(other Role) bool { return other.rank() > 0 && r.rank() >= other.rank() }

// Title is the role as it is shown to people: "Editor".
func (r Role) Title() string {
	if r == "" {
		return "No role"
	}
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}

// ParseRole reads a role's name, without regard to case.
func ParseRole(name string) (Role, error) {
	role := Role(strings.ToLower(strings.TrimSpace(name)))
	if role.rank() == 0 {
		return "", fmt.Errorf("unknown role %q: use viewer, launcher, editor or admin", name)
	}
	return role, nil
}
