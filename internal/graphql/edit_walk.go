package graphql

import (
	"encoding/json"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// editWalk follows the path of one Edit through one argument. depth is how much of the path lies behind; recursion is
// bounded by the path and by the lists of types, of which the schema has few.
type editWalk struct {
	*editor
	path   []string
	change func(any) any
}

// value is what a literal or a variable that is given becomes. One that stands for nothing stays.
func (w *editWalk) value(v *ast.Value, t *ast.Type, depth int) (*ast.Value, error) {
	switch {
	case v.Kind == ast.NullValue:
		return v, nil
	case v.Kind == ast.Variable:
		return w.variableUse(v, t, depth)
	case depth == len(w.path):
		return w.last(v, t)
	case t.Elem != nil && v.Kind == ast.ListValue:
		return w.list(v, t.Elem, depth)
	case t.Elem != nil:
		return w.value(v, t.Elem, depth)
	case v.Kind == ast.ObjectValue:
		return w.object(v, t, depth)
	}
	return v, nil // a value of the wrong kind, which Dagster refuses
}

// last is the end of the path: what stands there, with its variables put in, becomes a variable of the schema's type.
func (w *editWalk) last(v *ast.Value, t *ast.Type) (*ast.Value, error) {
	value, _ := w.values.of(v)
	return w.changed(value, t)
}

func (w *editWalk) changed(value any, t *ast.Type) (*ast.Value, error) {
	return w.variable(ast.VariableDefinition{Type: t}, encodeJSON(w.change(value)))
}

func (w *editWalk) list(v *ast.Value, element *ast.Type, depth int) (*ast.Value, error) {
	out := *v
	out.Children = make(ast.ChildValueList, len(v.Children))
	for i, child := range v.Children {
		value, err := w.value(child.Value, element, depth)
		if err != nil {
			return nil, err
		}
		out.Children[i] = &ast.ChildValue{Name: child.Name, Value: value, Position: child.Position}
	}
	return &out, nil
}

func (w *editWalk) object(v *ast.Value, t *ast.Type, depth int) (*ast.Value, error) {
	name := w.path[depth]
	inner, err := w.inputField(t, name)
	if err != nil {
		return nil, err
	}
	out := *v
	out.Children = slices.Clone(v.Children)
	for i, child := range out.Children {
		if child.Name != name {
			continue
		}
		value, err := w.inputValue(child.Value, inner, depth+1)
		out.Children[i] = &ast.ChildValue{Name: name, Value: value, Position: child.Position}
		return &out, err
	}
	value, err := w.made(inner, depth+1)
	out.Children = append(out.Children, &ast.ChildValue{Name: name, Value: value})
	return &out, err
}

func (w *editWalk) inputValue(v *ast.Value, t *ast.Type, depth int) (*ast.Value, error) {
	if given, exists := w.values.of(v); exists && given != nil {
		return w.value(v, t, depth)
	}
	return w.made(t, depth)
}

func (w *editWalk) inputField(t *ast.Type, name string) (*ast.Type, error) {
	definition := w.schema.Types[t.NamedType]
	if definition != nil && definition.Kind == ast.InputObject {
		if field := definition.Fields.ForName(name); field != nil {
			return field.Type, nil
		}
	}
	return nil, badRequest("this Dagster has no %s in %s", name, t.NamedType)
}

// made is a value for an input field that the client did not give. A list that is not the end of the path has no
// elements to change.
func (w *editWalk) made(t *ast.Type, depth int) (*ast.Value, error) {
	switch {
	case depth == len(w.path):
		return w.changed(nil, t)
	case t.Elem != nil:
		return &ast.Value{Kind: ast.NullValue, Raw: "null"}, nil
	}
	return w.object(&ast.Value{Kind: ast.ObjectValue}, t, depth)
}

// variableUse is for a variable on the way: a copy of it, of the type that the client declared, gets the change. A
// default of the document, where it counts, is written in the variable's place.
func (w *editWalk) variableUse(v *ast.Value, t *ast.Type, depth int) (*ast.Value, error) {
	declared := w.values.declared.ForName(v.Raw)
	if declared == nil {
		return v, nil
	}
	raw, given := w.given[v.Raw]
	switch {
	case !given && declared.DefaultValue == nil, given && string(raw) == "null":
		return v, nil
	case !given:
		var p printer
		p.value(declared.DefaultValue)
		if err := w.spend(p.out.Len()); err != nil {
			return nil, err
		}
		return w.value(declared.DefaultValue, t, depth)
	}
	key := copyOf{edit: w.edit, depth: depth, variable: v.Raw}
	if name, copied := w.copies[key]; copied {
		return &ast.Value{Kind: ast.Variable, Raw: name}, nil
	}
	changed, err := w.json(raw, t, depth)
	if err != nil {
		return nil, err
	}
	use, err := w.variable(*declared, changed)
	if err == nil {
		w.copies[key] = use.Raw
	}
	return use, err
}

// json is value for JSON text.
func (w *editWalk) json(raw json.RawMessage, t *ast.Type, depth int) (json.RawMessage, error) {
	kind := byte(0)
	if len(raw) > 0 {
		kind = raw[0]
	}
	switch {
	case string(raw) == "null":
		return raw, nil
	case depth == len(w.path):
		return w.lastJSON(raw)
	case t.Elem != nil && kind == '[':
		return w.listJSON(raw, t.Elem, depth)
	case t.Elem != nil:
		return w.json(raw, t.Elem, depth)
	case kind == '{':
		return w.objectJSON(raw, t, depth)
	}
	return raw, nil
}

func (w *editWalk) lastJSON(raw json.RawMessage) (json.RawMessage, error) {
	var value any
	if err := decodeNumbers(raw, &value); err != nil {
		return nil, badRequest("a variable is not valid JSON")
	}
	return encodeJSON(w.change(value)), nil
}

func (w *editWalk) listJSON(raw json.RawMessage, element *ast.Type, depth int) (json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, badRequest("a variable is not valid JSON")
	}
	for i := range list {
		var err error
		if list[i], err = w.json(list[i], element, depth); err != nil {
			return nil, err
		}
	}
	return encodeJSON(list), nil
}

func (w *editWalk) objectJSON(raw json.RawMessage, t *ast.Type, depth int) (json.RawMessage, error) {
	name := w.path[depth]
	inner, err := w.inputField(t, name)
	if err != nil {
		return nil, err
	}
	members, err := rawObject(raw)
	if err != nil {
		return nil, badRequest("a variable is not valid JSON")
	}
	i := slices.IndexFunc(members, func(m rawMember) bool { return m.name == name })
	if i < 0 {
		i = len(members)
		members = append(members, rawMember{name: name, value: json.RawMessage("null")})
	}
	if string(members[i].value) == "null" {
		members[i].value, err = w.madeJSON(inner, depth+1)
	} else {
		members[i].value, err = w.json(members[i].value, inner, depth+1)
	}
	return encodeObject(members), err
}

// madeJSON is made for JSON text.
func (w *editWalk) madeJSON(t *ast.Type, depth int) (json.RawMessage, error) {
	switch {
	case depth == len(w.path):
		return encodeJSON(w.change(nil)), nil
	case t.Elem != nil:
		return json.RawMessage("null"), nil
	}
	return w.objectJSON(json.RawMessage("{}"), t, depth)
}

// usedVariables are the names of all variables that the document's operation and fragments use.
func usedVariables(document *ast.QueryDocument) map[string]bool {
	used := variableUses{}
	for _, op := range document.Operations {
		used.directives(op.Directives)
		used.selections(op.SelectionSet)
	}
	for _, f := range document.Fragments {
		used.directives(f.Directives)
		used.selections(f.SelectionSet)
	}
	return used
}

type variableUses map[string]bool

func (u variableUses) selections(set ast.SelectionSet) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			u.arguments(s.Arguments)
			u.directives(s.Directives)
			u.selections(s.SelectionSet)
		case *ast.InlineFragment:
			u.directives(s.Directives)
			u.selections(s.SelectionSet)
		case *ast.FragmentSpread:
			u.directives(s.Directives)
		}
	}
}

func (u variableUses) directives(list ast.DirectiveList) {
	for _, d := range list {
		u.arguments(d.Arguments)
	}
}

func (u variableUses) arguments(list ast.ArgumentList) {
	for _, a := range list {
		u.value(a.Value)
	}
}

func (u variableUses) value(v *ast.Value) {
	if v.Kind == ast.Variable {
		u[v.Raw] = true
	}
	for _, child := range v.Children {
		u.value(child.Value)
	}
}
