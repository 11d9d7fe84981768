package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// liveSchema is the schema that the Dagster under test announces. The oracle's requests are made from it, so that a new
// Dagster's new mutations and permission fields are noticed.
type liveSchema map[string]*liveType

type liveType struct {
	Kind, Name    string
	Fields        []liveField
	PossibleTypes []liveRef
	Interfaces    []liveRef
}

type liveField struct {
	Name string
	Args []struct {
		Name         string
		Type         liveRef
		DefaultValue *string
	}
	Type liveRef
}

type liveRef struct {
	Kind, Name string
	OfType     *liveRef
}

func (r liveRef) named() string {
	if r.OfType != nil {
		return r.OfType.named()
	}
	return r.Name
}

func (f liveField) needsArguments() bool {
	for _, argument := range f.Args {
		if argument.Type.Kind == "NON_NULL" && argument.DefaultValue == nil {
			return true
		}
	}
	return false
}

const introspection = `query Introspection { __schema { types { kind name
	fields(includeDeprecated: true) { name args { name defaultValue type { kind } } type { ...Ref } }
	possibleTypes { name } interfaces { name } } } }
	fragment Ref on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } }`

func introspect(t *testing.T, c *client) liveSchema {
	t.Helper()
	var answer struct{ Types []*liveType }
	got := c.graphql(introspection, nil)
	if err := json.Unmarshal(got.Data["__schema"], &answer); err != nil || len(answer.Types) == 0 {
		t.Fatalf("introspection: %v\n%.500s", err, got.Body)
	}
	schema := liveSchema{}
	for _, typ := range answer.Types {
		schema[typ.Name] = typ
	}
	return schema
}

func (s liveSchema) has(parent, field string) bool {
	return s[parent] != nil && slices.ContainsFunc(s[parent].Fields, func(f liveField) bool { return f.Name == field })
}

func (s liveSchema) isLeaf(r liveRef) bool {
	kind := s[r.named()].Kind
	return kind == "SCALAR" || kind == "ENUM"
}

// fieldKey is the response key of the generated selections. It holds the type, as members of a union may have fields of one
// name and several types, and so that an answer tells which fields of which types it has.
func fieldKey(parent, field string) string { return field + "__" + parent }

func ofKey(key string) (parent, field string) {
	field, parent, _ = strings.Cut(key, "__")
	return parent, field
}

// everything selects all of a type that needs no arguments, for unions of each member, as deep as that; it runs nobody's code.
func (s liveSchema) everything(name string, depth int) string {
	typ := s[name]
	var out strings.Builder
	out.WriteString("{ __typename")
	for _, member := range typ.PossibleTypes {
		fmt.Fprintf(&out, " ... on %s %s", member.Name, s.everything(member.Name, depth))
	}
	if typ.Kind == "OBJECT" {
		for _, field := range typ.Fields {
			if field.needsArguments() || slices.Contains(codeFields, name+"."+field.Name) {
				continue
			}
			if s.isLeaf(field.Type) {
				fmt.Fprintf(&out, " %s: %s", fieldKey(name, field.Name), field.Name)
			} else if depth > 0 {
				fmt.Fprintf(&out, " %s: %s %s", fieldKey(name, field.Name), field.Name, s.everything(field.Type.named(), depth-1))
			}
		}
	}
	return out.String() + " }"
}

// mayField is what the fields look like that tell what somebody may do. canTerminate and canReset do not depend on it, but
// are so near that they are compared as well.
var mayField = regexp.MustCompile(`^(has\w*Permissions?|can[A-Z]\w*|permissions)$`)

func isMayField(parent, field string) bool {
	return mayField.MatchString(field) || parent == "Repository" && field == "assetManifest"
}

// mayFields are all of the schema.
func (s liveSchema) mayFields() []string {
	var found []string
	for name, typ := range s {
		for _, field := range typ.Fields {
			if isMayField(name, field.Name) {
				found = append(found, name+"."+field.Name)
			}
		}
	}
	slices.Sort(found)
	return found
}

// wayTo is how the search for permission fields came to a type: by a field of another one, or by being one of its members.
type wayTo struct {
	from  string
	field string // empty for a member of a union, an implementation of an interface, or an interface of an object
}

// isError tells the types of failures, by which everything could be reached from everywhere. Unions of something with its
// failures are not meant.
func (s liveSchema) isError(name string) bool {
	return s[name].Kind != "UNION" && strings.HasSuffix(name, "Error")
}

// maySelection selects the permission fields on a type and on all that can be reached from it without arguments, each type
// by the shortest way. It is empty when there are none.
func (s liveSchema) maySelection(root string) string {
	ways, order := map[string]wayTo{root: {}}, []string{root}
	for i := 0; i < len(order); i++ {
		typ := s[order[i]]
		note := func(name, field string) {
			if _, known := ways[name]; !known && name != "Query" && !s.isError(name) {
				ways[name] = wayTo{typ.Name, field}
				order = append(order, name)
			}
		}
		for _, member := range append(slices.Clone(typ.PossibleTypes), typ.Interfaces...) {
			note(member.Name, "")
		}
		for _, field := range typ.Fields {
			if !field.needsArguments() && !s.isLeaf(field.Type) && field.Type.named() != "Permission" {
				note(field.Type.named(), field.Name)
			}
		}
	}
	below := map[string]string{}
	for _, name := range slices.Backward(order) {
		selection := s.ownMayFields(name) + below[name]
		if way := ways[name]; selection != "" && way.field != "" {
			below[way.from] += " " + fieldKey(way.from, way.field) + ": " + way.field + " { __typename" + selection + " }"
		} else if selection != "" {
			below[way.from] += " ... on " + name + " {" + selection + " }"
		}
	}
	if below[""] == "" {
		return ""
	}
	return "{ __typename" + below[""] + " }"
}

func (s liveSchema) ownMayFields(name string) string {
	var out strings.Builder
	for _, field := range s[name].Fields {
		if !isMayField(name, field.Name) || field.needsArguments() {
			continue
		}
		fmt.Fprintf(&out, " %s: %s", fieldKey(name, field.Name), field.Name)
		if !s.isLeaf(field.Type) {
			out.WriteString(" { permission value disabledReason }")
		}
	}
	return out.String()
}
