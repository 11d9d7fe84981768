package graphql

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// reachableFragments are the fragments that the operation spreads, directly or through others, in the document's order.
// Unknown fragments, fragments that spread themselves, two of one name, and the old experiment of fragments with
// variables are refused: for each of them parsers differ on what would run.
func reachableFragments(op *ast.OperationDefinition, all ast.FragmentDefinitionList, maxDepth int) (ast.FragmentDefinitionList, error) {
	walk := fragmentWalk{byName: make(map[string]*ast.FragmentDefinition, len(all)), height: map[string]int{}}
	for _, f := range all {
		if walk.byName[f.Name] != nil {
			return nil, badRequest("two fragments have the same name")
		}
		if len(f.VariableDefinition) > 0 {
			return nil, badRequest("fragments can't define variables")
		}
		walk.byName[f.Name] = f
	}
	height, err := walk.selections(op.SelectionSet)
	if err != nil {
		return nil, err
	}
	if height > maxDepth {
		return nil, badRequest("the selections are nested more than %d levels deep", maxDepth)
	}
	var reached ast.FragmentDefinitionList
	for _, f := range all {
		if walk.height[f.Name] > 0 {
			reached = append(reached, f)
		}
	}
	return reached, nil
}

// fragmentWalk measures how deep selections go with fragments put in place. Each fragment is walked once, so the work
// is bounded by the size of the document; the recursion is bounded by its tokens.
type fragmentWalk struct {
	byName map[string]*ast.FragmentDefinition
	height map[string]int // of a fragment that was walked; inProgress while it is
}

const inProgress = -1

func (w *fragmentWalk) selections(set ast.SelectionSet) (int, error) {
	deepest := 0
	for _, selection := range set {
		height, err := w.selection(selection)
		if err != nil {
			return 0, err
		}
		deepest = max(deepest, height)
	}
	return deepest, nil
}

func (w *fragmentWalk) selection(selection ast.Selection) (int, error) {
	switch s := selection.(type) {
	case *ast.Field:
		height, err := w.selections(s.SelectionSet)
		return height + 1, err
	case *ast.InlineFragment:
		return w.selections(s.SelectionSet)
	case *ast.FragmentSpread:
		return w.fragment(s.Name)
	default:
		return 0, badRequest("the document holds a selection of an unknown kind")
	}
}

func (w *fragmentWalk) fragment(name string) (int, error) {
	switch height := w.height[name]; {
	case height == inProgress:
		return 0, badRequest("a fragment spreads itself")
	case height > 0:
		return height, nil
	case w.byName[name] == nil:
		return 0, badRequest("the document spreads a fragment that it does not define")
	}
	w.height[name] = inProgress
	height, err := w.selections(w.byName[name].SelectionSet)
	w.height[name] = height
	return height, err
}

// rootFields puts the fragments of the root in place. As in graphql-core each fragment counts once and fields of one
// response key are merged; that they are the same field with the same arguments is made sure of here, as a policy
// looks at one of them only.
func rootFields(op *ast.OperationDefinition, fragments ast.FragmentDefinitionList, limit int) ([]RootField, error) {
	c := rootCollector{
		fragments: fragments, limit: limit,
		seen: map[string]bool{}, index: map[string]int{}, arguments: map[string]string{},
	}
	err := c.collect(op.SelectionSet)
	return c.fields, err
}

type rootCollector struct {
	fragments ast.FragmentDefinitionList
	seen      map[string]bool   // fragments
	index     map[string]int    // response key to its place in fields
	arguments map[string]string // response key to its printed field and arguments
	fields    []RootField
	count     int
	limit     int
}

func (c *rootCollector) collect(set ast.SelectionSet) error {
	for _, selection := range set {
		var err error
		switch s := selection.(type) {
		case *ast.Field:
			err = c.add(s)
		case *ast.InlineFragment:
			err = c.collect(s.SelectionSet)
		case *ast.FragmentSpread:
			if !c.seen[s.Name] {
				c.seen[s.Name] = true
				err = c.collect(c.fragments.ForName(s.Name).SelectionSet)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *rootCollector) add(f *ast.Field) error {
	if c.count++; c.count > c.limit {
		return badRequest("the operation asks for more than %d root fields", c.limit)
	}
	var p printer
	p.name(f.Name)
	p.arguments(f.Arguments)
	printed := p.out.String()
	i, merged := c.index[f.Alias]
	if !merged {
		c.index[f.Alias], c.arguments[f.Alias] = len(c.fields), printed
		c.fields = append(c.fields, RootField{
			Name: f.Name, ResponseKey: f.Alias, Arguments: f.Arguments, Selections: []ast.SelectionSet{f.SelectionSet},
		})
		return p.err
	}
	if c.arguments[f.Alias] != printed {
		return badRequest("%s stands for two different things", strings.ToValidUTF8(f.Alias, ""))
	}
	c.fields[i].Selections = append(c.fields[i].Selections, f.SelectionSet)
	return p.err
}
