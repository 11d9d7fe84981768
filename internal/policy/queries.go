package policy

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// codeActions are the fields of an operation, at whatever depth and in answers to mutations and subscriptions too, for which
// Dagster runs the code of pipelines, or shows what only such code may see (docs/decisions/0009).
func codeActions(op *graphql.Operation, schema *graphql.Schema) []Action {
	if !mentionsCode(op.Document) {
		return nil
	}
	walk := codeWalk{op: op, schema: &ast.Schema{}, seen: map[codeSpread]bool{}}
	if schema != nil {
		walk.schema = schema.Raw()
	}
	root := walk.rootType()
	for _, field := range op.Fields {
		walk.root = field
		clear(walk.seen)
		at := codePlace{chain: field.Name, instigator: dryRuns[field.Name]}
		walk.field(root, field.Name, at)
		for _, set := range field.Selections {
			walk.selections(walk.typeOf(root, field.Name), set, at)
		}
	}
	return walk.actions
}

// mentionsCode is a quick look at the field names of the whole document: nearly all have none of these.
func mentionsCode(document *ast.QueryDocument) bool {
	for _, definition := range document.Operations {
		if mentions(definition.SelectionSet) {
			return true
		}
	}
	return slices.ContainsFunc(document.Fragments, func(f *ast.FragmentDefinition) bool { return mentions(f.SelectionSet) })
}

func mentions(set ast.SelectionSet) bool {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if codeNames[s.Name] || mentions(s.SelectionSet) {
				return true
			}
		case *ast.InlineFragment:
			if mentions(s.SelectionSet) {
				return true
			}
		}
	}
	return false
}

// codePlace is where in the operation the walk is: the path of field names from the root while that is one of knownChains or
// the beginning of one, and the schedule or sensor that it came through last.
type codePlace struct{ chain, instigator string }

type codeSpread struct {
	fragment string
	at       codePlace
}

type codeWalk struct {
	op      *graphql.Operation
	schema  *ast.Schema
	root    graphql.RootField
	seen    map[codeSpread]bool
	actions []Action
}

func (w *codeWalk) rootType() *ast.Definition {
	switch w.op.Type {
	case ast.Mutation:
		return w.schema.Mutation
	case ast.Subscription:
		return w.schema.Subscription
	case ast.Query:
	}
	return w.schema.Query
}

// typeOf is the type of a field; nil when the schema does not know it, from where on names alone count.
func (w *codeWalk) typeOf(parent *ast.Definition, name string) *ast.Definition {
	if parent == nil {
		return nil
	}
	if field := parent.Fields.ForName(name); field != nil {
		return w.schema.Types[field.Type.Name()]
	}
	return nil
}

func (w *codeWalk) selections(parent *ast.Definition, set ast.SelectionSet, at codePlace) {
	if parent != nil && (parent.Name == "Schedule" || parent.Name == "Sensor") {
		at.instigator = parent.Name
	}
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			below := codePlace{chain: at.then(s.Name), instigator: at.instigator}
			w.field(parent, s.Name, below)
			w.selections(w.typeOf(parent, s.Name), s.SelectionSet, below)
		case *ast.InlineFragment:
			w.selections(w.narrowed(parent, s.TypeCondition), s.SelectionSet, at)
		case *ast.FragmentSpread:
			w.spread(parent, s.Name, at)
		}
	}
}

func (w *codeWalk) spread(parent *ast.Definition, name string, at codePlace) {
	fragment := w.op.Document.Fragments.ForName(name)
	key := codeSpread{name, at}
	if fragment == nil || w.seen[key] {
		return
	}
	w.seen[key] = true
	w.selections(w.narrowed(parent, fragment.TypeCondition), fragment.SelectionSet, at)
}

func (w *codeWalk) narrowed(parent *ast.Definition, condition string) *ast.Definition {
	if condition == "" {
		return parent
	}
	return w.schema.Types[condition]
}

// then is the chain one field further on, empty once it leads elsewhere.
func (at codePlace) then(name string) string {
	chain := at.chain + "." + name
	for known := range knownChains {
		if known == chain || strings.HasPrefix(known, chain+".") {
			return chain
		}
	}
	return ""
}

// field notes what selecting the field of that name on parent needs.
func (w *codeWalk) field(parent *ast.Definition, name string, at codePlace) {
	if !codeNames[name] || !w.runsCode(parent, name) {
		return
	}
	title := name
	if parent != nil && parent != w.rootType() {
		title = parent.Name + "." + name
	}
	action := Action{Name: title, ResponseKey: w.root.ResponseKey, kind: kindQuery}
	where := w.where(at)
	for _, permission := range codePermissions(name, at) {
		action.Needs = append(action.Needs, permissionIn(permission, where))
	}
	if !slices.ContainsFunc(w.actions, func(a Action) bool { return a.same(action) }) {
		w.actions = append(w.actions, action)
	}
}

// same spares a document that asks one thing many times as many verdicts.
func (a Action) same(b Action) bool {
	return a.Name == b.Name && a.ResponseKey == b.ResponseKey && slices.EqualFunc(a.Needs, b.Needs, func(x, y Need) bool {
		return x.Permission == y.Permission && slices.Equal(x.Where, y.Where)
	})
}

// runsCode tells the field on that type; on a type that the schema does not know the name is enough.
func (w *codeWalk) runsCode(parent *ast.Definition, name string) bool {
	if parent == nil || parent.Fields.ForName(name) == nil {
		return true
	}
	if codeFields[parent.Name+"."+name] || parent == w.schema.Query && codeFields["Query."+name] {
		return true
	}
	return slices.ContainsFunc(w.schema.PossibleTypes[parent.Name], func(d *ast.Definition) bool { return codeFields[d.Name+"."+name] })
}

func codePermissions(name string, at codePlace) []identity.Permission {
	if name != "evaluationResult" {
		return []identity.Permission{launchPipelineExecution}
	}
	switch at.instigator {
	case "Schedule":
		return []identity.Permission{scheduleDryRun}
	case "Sensor":
		return []identity.Permission{sensorDryRun}
	}
	return []identity.Permission{scheduleDryRun, sensorDryRun}
}

// where is the code location that the root field's selector names, when the field is reached from it by a path that can't
// leave the location. Everything else counts as deployment-wide.
func (w *codeWalk) where(at codePlace) []Reference {
	argument, known := knownChains[at.chain]
	if !known {
		return nil
	}
	arguments, err := w.op.Arguments(w.root)
	if err != nil {
		return nil
	}
	var p places
	p.named(Location, member(arguments, argument, "repositoryLocationName"))
	return p.where()
}
