package graphql

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Edit is a change to one part of the arguments of some root fields.
type Edit struct {
	// Fields are the response keys of the root fields to change.
	Fields []string
	// Path is the name of an argument and then of input fields below it. Where the schema has a list on the way, every
	// element is changed, and one value alone counts as a list of one. An argument that is not given, or null, stays so,
	// and so does null as an element; input fields below that are missing or null are made.
	Path []string
	// Change gets what stands at the end of the path, in the form of Arguments, or nil for nothing, and returns what is
	// to stand there in its place. It must not write into what it gets. What it gets must have no custom scalar inside:
	// those have a meaning as a literal that no JSON need have.
	Change func(value any) any
}

// variablePrefix is for variables that are made here; clients must not use it.
const variablePrefix = "authkit_"

// Edit writes the request anew with the changes made, wherever the client wrote the arguments: as literals, as
// variables, or as variables inside of literals. Everything else keeps its meaning. The operation itself stays as it is.
// Errors are of type *Error.
func (op *Operation) Edit(schema *Schema, edits ...Edit) (Request, error) {
	if schema == nil {
		return Request{}, &Error{Status: http.StatusServiceUnavailable, Message: "Dagster has not said yet what it can do"}
	}
	for _, v := range op.Definition.VariableDefinitions {
		if strings.HasPrefix(v.Variable, variablePrefix) {
			return Request{}, badRequest("names of variables must not begin with %s", variablePrefix)
		}
	}
	given, err := rawVariables(op.Request.Variables)
	if err != nil {
		return Request{}, err
	}
	values, err := op.values()
	if err != nil {
		return Request{}, err
	}
	e := editor{
		op: op, schema: schema.Raw(), values: values, given: given,
		edited: map[string]ast.ArgumentList{}, copies: map[copyOf]string{},
		budget: 2*(len(op.Request.Query)+len(op.Request.Variables)) + 1<<20,
	}
	for _, field := range op.Fields {
		if err := e.field(field, edits); err != nil {
			return Request{}, err
		}
	}
	return e.request()
}

// editor collects what changes. It keeps the client's syntax tree as it is and copies what it changes.
type editor struct {
	op     *Operation
	schema *ast.Schema
	values values
	given  map[string]json.RawMessage
	edited map[string]ast.ArgumentList // by response key
	fresh  ast.VariableDefinitionList
	copies map[copyOf]string
	// budget is how many bytes may be written: a variable that is used a hundred times must not be sent on a hundred times.
	budget int

	edit int // the place of the Edit that is being made
}

// copyOf is a variable with an edit made to it, which serves wherever the same is needed again.
type copyOf struct {
	edit, depth int
	variable    string
}

// field makes the edits of one root field, each of another argument.
func (e *editor) field(field RootField, edits []Edit) error {
	arguments, edited := slices.Clone(field.Arguments), map[string]bool{}
	for i, edit := range edits {
		if !slices.Contains(edit.Fields, field.ResponseKey) {
			continue
		}
		name := edit.Path[0]
		definition := e.argument(field.Name, name)
		if definition == nil || edited[name] {
			return badRequest("this Dagster has no %s(%s:) to change", field.Name, name)
		}
		edited[name], e.edit = true, i
		for j, a := range arguments {
			if a.Name != name {
				continue
			}
			w := editWalk{editor: e, path: edit.Path[1:], change: edit.Change}
			value, err := w.value(a.Value, definition.Type, 0)
			if err != nil {
				return err
			}
			arguments[j] = &ast.Argument{Name: name, Value: value, Position: a.Position}
		}
	}
	if len(edited) > 0 {
		e.edited[field.ResponseKey] = arguments
	}
	return nil
}

func (e *editor) argument(field, name string) *ast.ArgumentDefinition {
	root := map[ast.Operation]*ast.Definition{
		ast.Query: e.schema.Query, ast.Mutation: e.schema.Mutation, ast.Subscription: e.schema.Subscription,
	}[e.op.Type]
	if root == nil {
		return nil
	}
	if definition := root.Fields.ForName(field); definition != nil {
		return definition.Arguments.ForName(name)
	}
	return nil
}

// spend takes what is about to be written from the budget.
func (e *editor) spend(bytes int) error {
	if e.budget -= bytes; e.budget < 0 {
		return tooLarge("the request, with its variables written where they are used,", int64(2*len(e.op.Request.Encode())))
	}
	return nil
}

// variable declares a fresh variable and gives it a value.
func (e *editor) variable(definition ast.VariableDefinition, value json.RawMessage) (*ast.Value, error) {
	if err := e.spend(len(value)); err != nil {
		return nil, err
	}
	definition.Variable = variablePrefix + strconv.Itoa(len(e.fresh))
	e.fresh = append(e.fresh, &definition)
	e.given[definition.Variable] = value
	return &ast.Value{Kind: ast.Variable, Raw: definition.Variable}, nil
}

// request puts the parts together: a variable that nothing uses any more must go, or Dagster's validation refuses it.
func (e *editor) request() (Request, error) {
	if len(e.edited) == 0 {
		return e.op.Request, nil
	}
	document := e.document()
	before, after := usedVariables(e.op.Document), usedVariables(document)
	definition := document.Operations[0]
	definition.VariableDefinitions = nil
	for _, v := range e.op.Definition.VariableDefinitions {
		if before[v.Variable] && !after[v.Variable] {
			delete(e.given, v.Variable)
			continue
		}
		definition.VariableDefinitions = append(definition.VariableDefinitions, v)
	}
	definition.VariableDefinitions = append(definition.VariableDefinitions, e.fresh...)
	text, err := printDocument(document)
	if err != nil {
		return Request{}, err
	}
	out := Request{Query: text, OperationName: e.op.Request.OperationName}
	if len(e.given) > 0 {
		out.Variables = encodeJSON(e.given)
	}
	return out, nil
}

// document is the client's with the arguments of the edited root fields exchanged, in fragments too.
func (e *editor) document() *ast.QueryDocument {
	definition := *e.op.Definition
	c := rootCopier{edited: e.edited, all: e.op.Document.Fragments, fragments: map[string]*ast.FragmentDefinition{}}
	definition.SelectionSet = c.set(definition.SelectionSet)
	document := &ast.QueryDocument{Operations: ast.OperationList{&definition}}
	for _, f := range e.op.Document.Fragments {
		if copied := c.fragments[f.Name]; copied != nil {
			f = copied
		}
		document.Fragments = append(document.Fragments, f)
	}
	return document
}

// rootCopier copies the selections of the operation's root and the fragments that belong to it.
type rootCopier struct {
	edited    map[string]ast.ArgumentList
	all       ast.FragmentDefinitionList
	fragments map[string]*ast.FragmentDefinition
}

func (c *rootCopier) set(set ast.SelectionSet) ast.SelectionSet {
	out := make(ast.SelectionSet, len(set))
	for i, selection := range set {
		out[i] = selection
		switch s := selection.(type) {
		case *ast.Field:
			if arguments, edited := c.edited[s.Alias]; edited {
				changed := *s
				changed.Arguments = arguments
				out[i] = &changed
			}
		case *ast.InlineFragment:
			inline := *s
			inline.SelectionSet = c.set(s.SelectionSet)
			out[i] = &inline
		case *ast.FragmentSpread:
			c.fragment(s.Name)
		}
	}
	return out
}

// fragment copies each fragment once; Parse has made sure that none spreads itself.
func (c *rootCopier) fragment(name string) {
	if c.fragments[name] != nil {
		return
	}
	copied := *c.all.ForName(name)
	c.fragments[name] = &copied
	copied.SelectionSet = c.set(copied.SelectionSet)
}

// rawVariables are the variables as the client wrote them: what is not changed keeps its order and every digit.
func rawVariables(raw json.RawMessage) (map[string]json.RawMessage, error) {
	given := map[string]json.RawMessage{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &given); err != nil {
			return nil, badRequest("variables are not a JSON object")
		}
	}
	return given, nil
}

// rawMember is one member of a JSON object.
type rawMember struct {
	name  string
	value json.RawMessage
}

// rawObject reads a JSON object in its order.
func rawObject(raw json.RawMessage) ([]rawMember, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	var members []rawMember
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		m := rawMember{}
		m.name, _ = name.(string)
		if err := decoder.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

func encodeObject(members []rawMember) json.RawMessage {
	out := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, encodeJSON(m.name)...)
		out = append(out, ':')
		out = append(out, m.value...)
	}
	return append(out, '}')
}
