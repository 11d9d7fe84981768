// Package policy answers one question: may this identity do that? It is pure: no HTTP, no SQL, no clock. The server asks
// it before anything is forwarded, the command line prints its table.
//
// The words are Dagster's: a root field of the schema's Mutation type needs permissions of Dagster's Permissions enum, and
// a permission belongs to the least role that has it. Nothing is allowed by silence: a mutation, permission or route that
// the table does not name needs admin, and an identity without a role may not even read.
//
//	Actions(operation)         what a request would do, and in which things' code locations
//	Unlocated(identity, ...)   which of these things have to be looked up in Dagster before deciding
//	Decide(identity, ...)      the answer, and why
package policy

import (
	"errors"
	"fmt"
	"slices"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// Options of a Policy.
type Options struct {
	// Roles is nil for the built-in ones alone.
	Roles *Roles
	// ProtectedTags are the patterns of run tags that reach the infrastructure; see MatchTag.
	ProtectedTags []string
	// ProtectedTagsRole is the least built-in role that may set them.
	ProtectedTagsRole identity.Role
}

// Policy holds what the operator chose: the custom roles and the protected tags.
type Policy struct {
	roles         *Roles
	protected     []string
	protectedRole identity.Role
}

// New checks the options.
func New(o Options) (*Policy, error) {
	if o.Roles == nil {
		var err error
		if o.Roles, err = NewRoles(nil); err != nil {
			return nil, err
		}
	}
	if len(o.ProtectedTags) > 0 && !slices.Contains(identity.Roles(), o.ProtectedTagsRole) {
		return nil, errors.New("policy: the role that may set protected tags must be one of viewer, launcher, editor and admin, which have an order")
	}
	return &Policy{roles: o.Roles, protected: o.ProtectedTags, protectedRole: o.ProtectedTagsRole}, nil
}

// Need is one thing that an action takes: a permission or a role, held in the code locations of all things in Where.
type Need struct {
	// Permission is empty when a role alone is asked for.
	Permission identity.Permission
	// Role is the least built-in role that has the permission, or that is asked for itself.
	Role identity.Role
	// Where is empty when the need is deployment-wide.
	Where []Reference
	// Tag is the protected run tag that asks for the role, if that is why.
	Tag string
	// Inherited is set when the tag may be one of the parent run's.
	Inherited Inherited
}

// Action is one thing that a request would do.
type Action struct {
	// Name is the mutation's field, "Type.field" of a query that runs code, the REST route, or "read".
	Name string
	// ResponseKey is the key under which GraphQL answers it: the alias of the root field, or its name.
	ResponseKey string
	// Needs must all be met; whoever may read may do what has none.
	Needs []Need

	kind kind
}

type kind int

const (
	kindRead kind = iota
	kindQuery
	kindMutation
	kindWrite
)

// Least is the lowest built-in role that may do it everywhere.
func (a Action) Least() identity.Role {
	least := identity.Viewer
	for _, need := range a.Needs {
		if need.Role.Includes(least) {
			least = need.Role
		}
	}
	return least
}

// Permissions are those that the action needs, each once.
func (a Action) Permissions() []identity.Permission {
	var permissions []identity.Permission
	for _, need := range a.Needs {
		if need.Permission != "" && !slices.Contains(permissions, need.Permission) {
			permissions = append(permissions, need.Permission)
		}
	}
	return permissions
}

// Read is looking at anything that changes nothing and runs nobody's code: any role may.
func Read() Action { return Action{Name: "read", kind: kindRead} }

// ReportAsset is one of Dagster's three POST /report_asset_* routes. An asset key that the address does not hold is nil: the
// report counts as deployment-wide then.
func ReportAsset(route string, asset []string) Action {
	var p places
	p.asset(asset)
	return Action{Name: route, Needs: []Need{permissionIn(reportRunlessAssetEvents, p.where())}, kind: kindWrite}
}

// UnknownWrite is an HTTP request that may change something on a route that AuthKit does not know.
func UnknownWrite(route string) Action {
	return Action{Name: route, Needs: []Need{{Role: identity.Admin}}, kind: kindWrite}
}

func permissionIn(permission identity.Permission, where []Reference) Need {
	return Need{Permission: permission, Role: LeastRole(permission), Where: where}
}

// Actions lists what an operation would do beyond reading: one action for each root field of a mutation, in the order of
// execution, and one for each field anywhere in it that runs people's code. It is empty for plain queries and
// subscriptions, and for a mutation that selects only introspection fields. Without a schema fields that run code are
// known by their names alone.
func (p *Policy) Actions(op *graphql.Operation, schema *graphql.Schema) []Action {
	var actions []Action
	if op.Type == "mutation" {
		for _, field := range op.Fields {
			// __typename, and on the query root __schema and __type, are the only fields that GraphQL itself answers.
			if field.Name != "__typename" {
				actions = append(actions, p.mutation(op, field))
			}
		}
	}
	return append(actions, codeActions(op, schema)...)
}

func (p *Policy) mutation(op *graphql.Operation, field graphql.RootField) Action {
	action := Action{Name: field.Name, ResponseKey: field.ResponseKey, kind: kindMutation}
	permissions, known := mutations[field.Name]
	if !known {
		action.Needs = []Need{{Role: identity.Admin}}
		return action
	}
	// What can't be evaluated names nothing: the need is deployment-wide then, and Dagster will refuse it in its own words.
	arguments, err := op.Arguments(field)
	if err != nil {
		arguments = nil
	}
	where := wherefore(field.Name, arguments)
	for _, permission := range permissions {
		if field.Name == "deleteDynamicPartitions" && permission == wipeAssets && !mayBe(true, arguments["wipeMaterializations"]) {
			continue // Dagster asks for it only when the partitions' assets are wiped too
		}
		action.Needs = append(action.Needs, permissionIn(permission, where))
	}
	inherited := inheritable(field.Name, arguments)
	for _, tag := range RunTags(arguments) {
		if p.isProtected(tag) {
			action.Needs = append(action.Needs, Need{Role: p.protectedRole, Where: where, Tag: tag, Inherited: inherited[tag]})
		}
	}
	return action
}

// mayBe reports whether Dagster could read the argument as that: an argument that was not given is null, and what is not
// false may be true.
func mayBe(wanted bool, argument any) bool { return argument != nil && argument != !wanted }

func (p *Policy) isProtected(tag string) bool {
	return slices.ContainsFunc(p.protected, func(pattern string) bool { return MatchTag(pattern, tag) })
}

// Known reports whether the table names the mutation.
func Known(field string) bool {
	_, known := mutations[field]
	return known
}

// LeastRole is the lowest built-in role that has the permission: admin for one that the table does not know.
func LeastRole(permission identity.Permission) identity.Role {
	if role, known := leastRoles[permission]; known {
		return role
	}
	return identity.Admin
}

// String is the need in a person's words.
func (n Need) String() string {
	switch {
	case n.Tag != "":
		return fmt.Sprintf("the %s role for the protected tag %s", n.Role.Title(), n.Tag)
	case n.Permission != "":
		return fmt.Sprintf("the %s role (%s)", n.Role.Title(), n.Permission)
	}
	return fmt.Sprintf("the %s role", n.Role.Title())
}

// KnownWith are the permissions that Dagster announces and those that its mutations and queries need here, which may be more:
// before 1.13 it has none for dry runs.
func KnownWith(announced []identity.Permission, schema *graphql.Schema) []identity.Permission {
	known := append([]identity.Permission{scheduleDryRun, sensorDryRun, launchPipelineExecution}, announced...) // of the queries, in every version
	for _, field := range schema.MutationFields() {
		known = append(known, mutations[field]...)
	}
	slices.Sort(known)
	return slices.Compact(known)
}
