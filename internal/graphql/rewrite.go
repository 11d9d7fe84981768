package graphql

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Rule says how a field that tells what a person may do is answered for somebody whom Dagster does not know. The field is
// a Boolean (Permission is given), raw JSON (Flags are given), or else a list of Dagster's Permission objects. Rules are
// the same for everybody whose answers need the same to be known; who may what is for the Judge to say.
type Rule struct {
	// Permission is what a Boolean field is about.
	Permission string
	// Flags are keys of objects in raw JSON, at any depth, and the permission that each is about.
	Flags map[string]string
	// Unnamed says of a list that the judge has one answer to all permissions: their names are not asked for, and where the
	// client did not either, the judge is asked about the empty one.
	Unnamed bool
	// Place is a selection on the type of the object that tells where the object lives, such as
	// "repository { location { name } }". It is asked for before the field and taken out of the answer. Of its fields,
	// those that the schema does not have are left out. Empty: nothing is asked for.
	Place string
}

func (r *Rule) equal(other *Rule) bool {
	if r == nil || other == nil {
		return r == other
	}
	return r.Permission == other.Permission && r.Unnamed == other.Unnamed && r.Place == other.Place &&
		maps.Equal(r.Flags, other.Flags)
}

// lists reports whether the field is a list of Permission objects.
func (r *Rule) lists() bool { return r.Permission == "" && r.Flags == nil }

// Judge says whether a person may do what the permission stands for in a place, and if not, in words for the UI, why.
// The place is a JSON object of what Rule.Place asked for, {"repository":{"location":{"name":"x"}}}; nil is no certain
// place. It must give the same answer to the same question while one answer is rewritten, and not keep the place.
type Judge func(permission string, place json.RawMessage) (allowed bool, reason string)

// Rewriting is what has to be done with the answers to one operation. It can be used many times, and at once.
type Rewriting struct {
	query string
	plan  *entry
	added map[string]addedField
	steps int // selections that were put in place
}

// Swollen reports whether the Rewriting takes far more memory than the document that it was made of, which fragments in one
// another can do: it is not to be kept.
func (r *Rewriting) Swollen() bool { return r != nil && r.steps > len(r.query)/4 }

// NewRewriting finds the fields of the operation that have a rule, by their position in the schema. Rules are asked for by
// the name of the type on which the field stands; for an interface also by the names of the types that it may be. It is
// nil when no field has a rule. Errors that the client made are of type *Error.
func NewRewriting(op *Operation, s *Schema, rules func(parent, field string) *Rule) (*Rewriting, error) {
	root := rootType(op, s)
	finder := ruleFinder{schema: s.raw, rules: rules, fragments: op.Document.Fragments, seen: map[string]bool{}}
	if !finder.set(root, op.Definition.SelectionSet) {
		return nil, nil
	}
	add := newAddition(s.raw, rules, op.Document.Fragments)
	document := add.document(root, op.Definition)
	if add.err != nil {
		return nil, add.err
	}
	text, err := printDocument(document)
	if err != nil {
		return nil, err
	}
	plan, steps, err := newPlan(document, add)
	if err != nil {
		return nil, err
	}
	return &Rewriting{query: text, plan: plan, added: add.added, steps: steps}, nil
}

// Query is the document to forward: the operation's own with what has to be known besides. Variables and the operation's name are
// those of each request: a Rewriting knows nothing of them, since it serves many.
func (r *Rewriting) Query() string { return r.query }

// Writer rewrites one answer, {"data":...,"errors":...}, as it comes. An error of Write or Close means that what follows
// must not be sent: the answer is broken, was cut short or is not of the schema. Close does not close w.
func (r *Rewriting) Writer(w io.Writer, judge Judge) io.WriteCloser {
	return newAnswerWriter(w, r, judge)
}

func rootType(op *Operation, s *Schema) *ast.Definition {
	switch op.Type {
	case ast.Query:
		return s.raw.Query
	case ast.Mutation:
		return s.raw.Mutation
	case ast.Subscription:
		return s.raw.Subscription
	default:
		return nil
	}
}

// fieldType is the type of a field of a type, either of which may be unknown.
func fieldType(schema *ast.Schema, parent *ast.Definition, name string) *ast.Definition {
	if def := fieldDefinition(parent, name); def != nil {
		return schema.Types[def.Type.Name()]
	}
	return nil
}

func fieldDefinition(parent *ast.Definition, name string) *ast.FieldDefinition {
	if parent == nil {
		return nil
	}
	return parent.Fields.ForName(name)
}

// conditionType is the type of a fragment in a place of the given type.
func conditionType(schema *ast.Schema, parent *ast.Definition, condition string) *ast.Definition {
	if condition == "" {
		return parent
	}
	return schema.Types[condition]
}

// ruleFinder looks whether there is any field with a rule. Most documents have none, and end here. Every fragment has its
// own type, so that it is looked through once.
type ruleFinder struct {
	schema    *ast.Schema
	rules     func(parent, field string) *Rule
	fragments ast.FragmentDefinitionList
	seen      map[string]bool
}

func (r *ruleFinder) set(parent *ast.Definition, set ast.SelectionSet) bool {
	for _, selection := range set {
		if r.selection(parent, selection) {
			return true
		}
	}
	return false
}

func (r *ruleFinder) selection(parent *ast.Definition, selection ast.Selection) bool {
	switch s := selection.(type) {
	case *ast.Field:
		return r.ruled(parent, s.Name) ||
			len(s.SelectionSet) > 0 && r.set(fieldType(r.schema, parent, s.Name), s.SelectionSet)
	case *ast.InlineFragment:
		return r.set(conditionType(r.schema, parent, s.TypeCondition), s.SelectionSet)
	case *ast.FragmentSpread:
		fragment := r.fragments.ForName(s.Name)
		if fragment == nil || r.seen[s.Name] {
			return false
		}
		r.seen[s.Name] = true
		return r.set(r.schema.Types[fragment.TypeCondition], fragment.SelectionSet)
	}
	return false
}

func (r *ruleFinder) ruled(parent *ast.Definition, name string) bool {
	if parent == nil || strings.HasPrefix(name, "__") {
		return false
	}
	if r.rules(parent.Name, name) != nil {
		return true
	}
	if !parent.IsAbstractType() {
		return false
	}
	for _, possible := range r.schema.PossibleTypes[parent.Name] {
		if r.rules(possible.Name, name) != nil {
			return true
		}
	}
	return false
}

// errAmbiguous is for what an honest client never asks: one key for a field with a rule and for something else.
func errAmbiguous(key string) error {
	return badRequest("%s stands for a permission and for something else: use two aliases", shorten(key))
}

func errRule(parent, field, problem string) error {
	return fmt.Errorf("rule for %s.%s: %s", parent, field, problem)
}
