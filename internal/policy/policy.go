// Package policy answers one question: may this identity do that? It is pure: no HTTP, no SQL, no clock. The server asks
// it before anything is forwarded, the command line prints its table.
//
// The words are Dagster's: a root field of the schema's Mutation type needs permissions of Dagster's Permissions enum, and
// a permission belongs to the least role that has it. Nothing is allowed by silence: a mutation, permission or route that
// the table does not name needs admin, and an identity without a role may not even read.
package policy

import (
	"fmt"
	"slices"
	"strings"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// Action is one thing that a request would do.
type Action struct {
	// Name is the mutation's field, the REST route, or "read".
	Name string
	// ResponseKey is the key under which GraphQL answers the mutation: its alias, or its name.
	ResponseKey string
	// Permissions are all needed; empty for what every signed-in person may do and for what needs Least alone.
	Permissions []identity.Permission
	// Least is the lowest built-in role that may do it.
	Least identity.Role

	kind kind
}

type kind int

const (
	kindRead kind = iota
	kindMutation
	kindWrite
)

// Read is looking at anything that changes nothing: any role may.
func Read() Action { return Action{Name: "read", Least: identity.Viewer, kind: kindRead} }

// ReportAsset is one of Dagster's three POST /report_asset_* routes.
func ReportAsset(route string) Action { return write(route, reportRunlessAssetEvents) }

// UnknownWrite is an HTTP request that may change something on a route that AuthKit does not know.
func UnknownWrite(route string) Action {
	return Action{Name: route, Least: identity.Admin, kind: kindWrite}
}

func write(route string, permissions ...identity.Permission) Action {
	return Action{Name: route, Permissions: permissions, Least: leastFor(permissions), kind: kindWrite}
}

// Mutations lists what a mutation document would do, one action for each root field, in the order of execution.
// It is empty for queries and subscriptions, and for a mutation that selects only introspection fields.
func Mutations(op *graphql.Operation) []Action {
	if op.Type != "mutation" {
		return nil
	}
	actions := make([]Action, 0, len(op.Fields))
	for _, field := range op.Fields {
		// __typename, and on the query root __schema and __type, are the only fields that GraphQL itself answers.
		if field.Name == "__typename" {
			continue
		}
		action := mutation(field.Name)
		action.ResponseKey = field.ResponseKey
		actions = append(actions, action)
	}
	return actions
}

func mutation(field string) Action {
	permissions, known := mutations[field]
	action := Action{Name: field, ResponseKey: field, Permissions: permissions, kind: kindMutation}
	switch {
	case !known:
		action.Least = identity.Admin
	case len(permissions) == 0:
		action.Least = identity.Viewer
	default:
		action.Least = leastFor(permissions)
	}
	return action
}

// Known reports whether the table names the mutation.
func Known(field string) bool {
	_, known := mutations[field]
	return known
}

func leastFor(permissions []identity.Permission) identity.Role {
	least := identity.Viewer
	for _, permission := range permissions {
		if role := LeastRole(permission); role.Includes(least) {
			least = role
		}
	}
	return least
}

// LeastRole is the lowest built-in role that has the permission: admin for one that the table does not know.
func LeastRole(permission identity.Permission) identity.Role {
	if role, known := leastRoles[permission]; known {
		return role
	}
	return identity.Admin
}

// Decision is the answer for a whole request: everything in it is allowed, or nothing of it is done.
type Decision struct {
	Allowed bool
	// Held is the role that was looked at.
	Held identity.Role
	// Needed is the least role that may do all of it.
	Needed identity.Role
	// Actions are what was judged.
	Actions []Action
	// Refused are those of them that the identity may not do.
	Refused []Action
}

// Decide judges the actions of one request. No action at all is as good as reading.
func Decide(id identity.Identity, actions []Action) Decision {
	if len(actions) == 0 {
		actions = []Action{Read()}
	}
	decision := Decision{Held: id.Role, Needed: identity.Viewer, Actions: actions}
	for _, action := range actions {
		if action.Least.Includes(decision.Needed) {
			decision.Needed = action.Least
		}
		if !id.Role.Includes(action.Least) {
			decision.Refused = append(decision.Refused, action)
		}
	}
	decision.Allowed = len(decision.Refused) == 0 && !id.Nobody()
	return decision
}

// Reason is the audit trail's word for a refusal, which the Python AuthKit's users already search for:
// "EDITOR_REQUIRED_FOR_MUTATIONS", "EDITOR_REQUIRED" for REST routes. It is empty for what was allowed.
func (d Decision) Reason() string {
	if d.Allowed {
		return ""
	}
	reason := strings.ToUpper(string(d.Needed)) + "_REQUIRED"
	if slices.ContainsFunc(d.Actions, func(a Action) bool { return a.kind == kindMutation }) {
		reason += "_FOR_MUTATIONS"
	}
	return reason
}

// Message says to a person why the action was refused.
func (d Decision) Message(a Action) string {
	if !slices.ContainsFunc(d.Refused, func(r Action) bool { return r.Name == a.Name }) {
		return "Not run: another operation of the same request was refused."
	}
	permission := ""
	if len(a.Permissions) > 0 {
		names := make([]string, len(a.Permissions))
		for i, p := range a.Permissions {
			names[i] = string(p)
		}
		permission = " (" + strings.Join(names, ", ") + ")"
	}
	return fmt.Sprintf("%s requires the %s role%s. Your role is %s.", a.Name, a.Least.Title(), permission, d.Held.Title())
}
