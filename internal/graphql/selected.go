package graphql

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// selectedField is a field of an answer: what all selections of one response key ask for together.
type selectedField struct {
	key, name string
	sets      []ast.SelectionSet
}

// selected are the fields that the selections want of an object of the given type, as graphql-core collects them:
// fragments count when their type condition holds for the type, @skip and @include do what they say.
func (r *refusal) selected(def *ast.Definition, sets []ast.SelectionSet) ([]selectedField, error) {
	c := fieldCollector{refusal: r, object: def, seen: map[string]bool{}, index: map[string]int{}}
	values, err := r.op.values()
	if err != nil {
		return nil, err
	}
	c.values = values
	for _, set := range sets {
		if err := c.collect(set); err != nil {
			return nil, err
		}
	}
	return c.fields, nil
}

type fieldCollector struct {
	refusal *refusal
	object  *ast.Definition
	values  values
	seen    map[string]bool // fragments, each of which counts once
	index   map[string]int  // response key to its place in fields
	fields  []selectedField
}

func (c *fieldCollector) collect(set ast.SelectionSet) error {
	for _, selection := range set {
		if err := c.selection(selection); err != nil {
			return err
		}
	}
	return nil
}

func (c *fieldCollector) selection(selection ast.Selection) error {
	switch s := selection.(type) {
	case *ast.Field:
		if c.included(s.Directives) {
			return c.add(s)
		}
	case *ast.InlineFragment:
		if c.included(s.Directives) && c.applies(s.TypeCondition) {
			return c.collect(s.SelectionSet)
		}
	case *ast.FragmentSpread:
		fragment := c.refusal.op.Document.Fragments.ForName(s.Name)
		if !c.included(s.Directives) || c.seen[s.Name] || fragment == nil || !c.applies(fragment.TypeCondition) {
			return nil
		}
		c.seen[s.Name] = true
		return c.collect(fragment.SelectionSet)
	}
	return nil
}

// add refuses what Dagster's validation refuses: one key for two fields, and arguments that the field does not have.
func (c *fieldCollector) add(f *ast.Field) error {
	if def := c.object.Fields.ForName(f.Name); def != nil {
		for _, a := range f.Arguments {
			if def.Arguments.ForName(a.Name) == nil {
				return errNoShape
			}
		}
	}
	i, merged := c.index[f.Alias]
	if !merged {
		c.index[f.Alias] = len(c.fields)
		c.fields = append(c.fields, selectedField{key: f.Alias, name: f.Name, sets: []ast.SelectionSet{f.SelectionSet}})
		return nil
	}
	if c.fields[i].name != f.Name {
		return errNoShape
	}
	c.fields[i].sets = append(c.fields[i].sets, f.SelectionSet)
	return nil
}

// applies reports whether an object of the type fits the condition: its own name, an interface of it, or a union.
func (c *fieldCollector) applies(condition string) bool {
	return condition == "" || condition == c.object.Name ||
		slices.Contains(c.refusal.schema.PossibleTypes[condition], c.object)
}

func (c *fieldCollector) included(directives ast.DirectiveList) bool {
	return !c.condition(directives, "skip", false) && c.condition(directives, "include", true)
}

// condition is the value of a directive's argument if, and otherwise where there is no such directive or no boolean.
func (c *fieldCollector) condition(directives ast.DirectiveList, name string, otherwise bool) bool {
	directive := directives.ForName(name)
	if directive == nil {
		return otherwise
	}
	argument := directive.Arguments.ForName("if")
	if argument == nil {
		return otherwise
	}
	value, _ := c.values.of(argument.Value)
	if decided, ok := value.(bool); ok {
		return decided
	}
	return otherwise
}

// anySelection reports whether a field was given braces. It looks at what was asked for, before any condition.
func anySelection(sets []ast.SelectionSet) bool {
	return slices.ContainsFunc(sets, func(set ast.SelectionSet) bool { return len(set) > 0 })
}
