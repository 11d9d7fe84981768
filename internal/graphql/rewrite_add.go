package graphql

import (
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// addedPrefix begins every alias under which AuthKit asks for something that the client did not.
const addedPrefix = "authkit_"

// The fields of Dagster's type Permission.
const (
	permissionName   = "permission"
	permissionValue  = "value"
	permissionReason = "disabledReason"
)

// addedField is what an added alias stands for.
type addedField struct {
	name string
	// contained says that an error in it can't make anything null that the client asked for.
	contained bool
}

// fieldFacts is what is known of a field of the new document.
type fieldFacts struct {
	id      uint32
	rule    *Rule
	reaches bool // a field with a rule is somewhere below
}

// addition writes the document anew, with what the rules need to know. Its first error is kept.
type addition struct {
	schema    *ast.Schema
	rules     func(parent, field string) *Rule
	old       ast.FragmentDefinitionList
	fragments map[string]*newFragment
	places    map[string][]*ast.Field
	facts     map[*ast.Field]fieldFacts
	ids       uint32
	naming    map[string]bool // fragments, whether they ask for the permission's name
	added     map[string]addedField
	reserved  string // a key of the client that looks like one of ours
	err       error
}

type newFragment struct {
	definition *ast.FragmentDefinition
	reaches    bool
}

func newAddition(schema *ast.Schema, rules func(parent, field string) *Rule, fragments ast.FragmentDefinitionList) *addition {
	return &addition{
		schema: schema, rules: rules, old: fragments, fragments: map[string]*newFragment{},
		places: map[string][]*ast.Field{}, facts: map[*ast.Field]fieldFacts{}, added: map[string]addedField{}, naming: map[string]bool{},
	}
}

func (a *addition) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// document is the operation and its fragments, in their order.
func (a *addition) document(root *ast.Definition, op *ast.OperationDefinition) *ast.QueryDocument {
	operation := *op
	operation.SelectionSet, _ = a.set(root, op.SelectionSet)
	document := &ast.QueryDocument{Operations: ast.OperationList{&operation}}
	for _, f := range a.old {
		document.Fragments = append(document.Fragments, a.fragment(f.Name).definition)
	}
	if len(a.added) > 0 && a.reserved != "" {
		a.fail(badRequest("%s: keys that begin with %s are taken: use another alias", shorten(a.reserved), addedPrefix))
	}
	return document
}

// set is a selection set with what is added, and whether there is a field with a rule in it.
func (a *addition) set(parent *ast.Definition, set ast.SelectionSet) (ast.SelectionSet, bool) {
	var first ast.SelectionSet
	rest := make(ast.SelectionSet, 0, len(set))
	reaches := false
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			field, found := a.field(parent, s)
			rest = append(rest, field)
			reaches = reaches || found
			if rule := a.facts[field].rule; rule != nil {
				first = a.place(first, parent, rule)
			}
		case *ast.InlineFragment:
			fragment := *s
			below := false
			fragment.SelectionSet, below = a.set(conditionType(a.schema, parent, s.TypeCondition), s.SelectionSet)
			rest = append(rest, &fragment)
			reaches = reaches || below
		case *ast.FragmentSpread:
			rest = append(rest, s)
			reaches = a.fragment(s.Name).reaches || reaches
		}
	}
	return append(first, rest...), reaches
}

func (a *addition) fragment(name string) *newFragment {
	if known := a.fragments[name]; known != nil {
		return known
	}
	fragment := &newFragment{}
	a.fragments[name] = fragment // before it is looked into: a circle, which Parse refuses, would end here
	old := a.old.ForName(name)
	if old == nil {
		a.fail(badRequest("the document spreads a fragment that it does not define"))
		return fragment
	}
	definition := *old
	fragment.definition = &definition
	definition.SelectionSet, fragment.reaches = a.set(a.schema.Types[old.TypeCondition], old.SelectionSet)
	return fragment
}

func (a *addition) field(parent *ast.Definition, old *ast.Field) (*ast.Field, bool) {
	if strings.HasPrefix(old.Alias, addedPrefix) {
		a.reserved = old.Alias
	}
	field := *old
	a.ids++
	facts := fieldFacts{id: a.ids, rule: a.rule(parent, old.Name)}
	kind := fieldType(a.schema, parent, old.Name)
	if len(old.SelectionSet) > 0 {
		field.SelectionSet, facts.reaches = a.set(kind, old.SelectionSet)
	}
	if facts.rule != nil {
		a.check(parent, old.Name, facts.rule, kind)
		if kind != nil && facts.rule.lists() && !facts.rule.Unnamed && !a.named(kind, old.SelectionSet) {
			field.SelectionSet = append(ast.SelectionSet{a.name(kind)}, field.SelectionSet...)
		}
	}
	a.facts[&field] = facts
	return &field, facts.rule != nil || facts.reaches
}

// rule is the one rule of the field for everything that the object can be.
func (a *addition) rule(parent *ast.Definition, name string) *Rule {
	if parent == nil || strings.HasPrefix(name, "__") {
		return nil
	}
	declared := a.rules(parent.Name, name)
	if !parent.IsAbstractType() {
		return declared
	}
	rule := declared
	for i, possible := range a.schema.PossibleTypes[parent.Name] {
		own := a.rules(possible.Name, name)
		if own == nil {
			own = declared
		}
		if i == 0 {
			rule = own
		} else if !rule.equal(own) {
			a.fail(badRequest("%s is a permission of some types only: ask for it in fragments on them", shorten(name)))
		}
	}
	return rule
}

// check makes sure that the rule fits the schema, so that no value is taken for another.
func (a *addition) check(parent *ast.Definition, name string, rule *Rule, kind *ast.Definition) {
	def := fieldDefinition(parent, name)
	if def == nil {
		return // Dagster refuses the document
	}
	isList := def.Type.Elem != nil
	switch {
	case !rule.lists() && (isList || kind == nil || !kind.IsLeafType()):
		a.fail(errRule(parent.Name, name, "the field is not of the kind that the rule is for"))
	case rule.lists() && (!isList || fieldDefinition(kind, permissionName) == nil || fieldDefinition(kind, permissionValue) == nil):
		a.fail(errRule(parent.Name, name, "the field is no list of permissions"))
	}
}

// named reports whether the set asks for the permission's name whatever the variables are.
func (a *addition) named(kind *ast.Definition, set ast.SelectionSet) bool {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if s.Name == permissionName && len(s.Directives) == 0 {
				return true
			}
		case *ast.InlineFragment:
			fits := s.TypeCondition == "" || s.TypeCondition == kind.Name
			if fits && len(s.Directives) == 0 && a.named(kind, s.SelectionSet) {
				return true
			}
		case *ast.FragmentSpread:
			if len(s.Directives) == 0 && a.namedFragment(kind, s.Name) {
				return true
			}
		}
	}
	return false
}

// namedFragment looks into each fragment once.
func (a *addition) namedFragment(kind *ast.Definition, name string) bool {
	if known, ok := a.naming[name]; ok {
		return known
	}
	a.naming[name] = false
	fragment := a.old.ForName(name)
	a.naming[name] = fragment != nil && fragment.TypeCondition == kind.Name && a.named(kind, fragment.SelectionSet)
	return a.naming[name]
}

// name asks for the permission's name.
func (a *addition) name(kind *ast.Definition) *ast.Field {
	alias := addedPrefix + permissionName
	a.added[alias] = addedField{name: permissionName, contained: contained(kind, permissionName)}
	return &ast.Field{Alias: alias, Name: permissionName}
}

func contained(parent *ast.Definition, name string) bool {
	def := fieldDefinition(parent, name)
	return def != nil && !def.Type.NonNull
}

// place asks for the rule's place on the type, or, where an interface does not have it, on each type that it may be.
func (a *addition) place(first ast.SelectionSet, parent *ast.Definition, rule *Rule) ast.SelectionSet {
	if rule.Place == "" {
		return first
	}
	for _, field := range a.placeFields(rule.Place) {
		if a.has(parent, field) {
			first = appendField(first, a.placeField(parent, field))
			continue
		}
		if !parent.IsAbstractType() {
			continue
		}
		for _, possible := range a.schema.PossibleTypes[parent.Name] {
			if a.has(possible, field) {
				first = append(first, &ast.InlineFragment{
					TypeCondition: possible.Name, SelectionSet: ast.SelectionSet{a.placeField(possible, field)},
				})
			}
		}
	}
	return first
}

// appendField leaves out what is asked for already.
func appendField(set ast.SelectionSet, field *ast.Field) ast.SelectionSet {
	for _, selection := range set {
		if known, ok := selection.(*ast.Field); ok && known.Alias == field.Alias && sameSelections(known, field) {
			return set
		}
	}
	return append(set, field)
}

func sameSelections(a, b *ast.Field) bool {
	return len(a.SelectionSet) == len(b.SelectionSet) && (len(a.SelectionSet) == 0 || &a.SelectionSet[0] == &b.SelectionSet[0])
}

// placeField has an alias that no two types share, so that the fields can always be merged.
func (a *addition) placeField(parent *ast.Definition, field *ast.Field) *ast.Field {
	alias := addedPrefix + parent.Name + "_" + field.Alias
	a.added[alias] = addedField{name: field.Alias, contained: contained(parent, field.Name)}
	return &ast.Field{Alias: alias, Name: field.Name, Arguments: field.Arguments, SelectionSet: field.SelectionSet}
}

// placeFields reads a place, which is text of ours.
func (a *addition) placeFields(place string) []*ast.Field {
	if known, ok := a.places[place]; ok {
		return known
	}
	document, err := parser.ParseQuery(&ast.Source{Name: "place", Input: "{" + place + "}"})
	if err != nil {
		a.fail(fmt.Errorf("read the place %q: %w", place, err))
		return nil
	}
	var fields []*ast.Field
	for _, selection := range document.Operations[0].SelectionSet {
		field, ok := selection.(*ast.Field)
		if !ok {
			a.fail(fmt.Errorf("read the place %q: it must be made of fields", place))
			return nil
		}
		fields = append(fields, field)
	}
	a.places[place] = fields
	return fields
}

// has reports whether the schema has the field on that type, and all that is asked for below it.
func (a *addition) has(parent *ast.Definition, field *ast.Field) bool {
	def := fieldDefinition(parent, field.Name)
	if def == nil {
		return field.Name == "__typename" && parent != nil
	}
	return a.hasAll(a.schema.Types[def.Type.Name()], field.SelectionSet)
}

func (a *addition) hasAll(parent *ast.Definition, set ast.SelectionSet) bool {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if !a.has(parent, s) {
				return false
			}
		case *ast.InlineFragment:
			condition := conditionType(a.schema, parent, s.TypeCondition)
			if condition == nil || !a.hasAll(condition, s.SelectionSet) {
				return false
			}
		default:
			return false
		}
	}
	return true
}
