package graphql

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
)

// Arguments are the values that the root field gets, with variables and the variables' own defaults put in place:
// strings and enum values as string, numbers as json.Number, booleans, nil, []any and map[string]any. An argument whose
// variable was neither given nor has a default is absent, as it is for graphql-core. Defaults that stand in the schema
// are not filled in. Where the schema wants a list, one value alone means a list of one: read those with List.
func (op *Operation) Arguments(f RootField) (map[string]any, error) {
	values, err := op.values()
	if err != nil {
		return nil, fmt.Errorf("read the variables: %w", err)
	}
	arguments := make(map[string]any, len(f.Arguments))
	for _, a := range f.Arguments {
		if value, given := values.of(a.Value); given {
			arguments[a.Name] = value
		}
	}
	return arguments, nil
}

// List reads a value where the schema has a list, as graphql-core does: null is no list, and any other single value is
// a list of one.
func List(value any) []any {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// values are an operation's variables, to fill in where its document names them.
type values struct {
	given    map[string]any
	declared ast.VariableDefinitionList
}

func (op *Operation) values() (values, error) {
	read := op.variables
	if read == nil { // an Operation that was not made by Parse
		read = op.decodeVariables
	}
	given, err := read()
	return values{given: given, declared: op.Definition.VariableDefinitions}, err
}

// of is the value of a literal, and false when it is a variable that has none. Recursion is bounded by Limits.Depth.
func (vs values) of(v *ast.Value) (any, bool) {
	switch v.Kind {
	case ast.Variable:
		return vs.variable(v.Raw)
	case ast.IntValue, ast.FloatValue:
		return json.Number(v.Raw), true
	case ast.BooleanValue:
		return v.Raw == "true", true
	case ast.NullValue:
		return nil, true
	case ast.ListValue:
		list := make([]any, len(v.Children))
		for i, child := range v.Children {
			list[i], _ = vs.of(child.Value) // in a list a variable without a value is null
		}
		return list, true
	case ast.ObjectValue:
		object := make(map[string]any, len(v.Children))
		for _, child := range v.Children {
			if value, given := vs.of(child.Value); given {
				object[child.Name] = value
			}
		}
		return object, true
	case ast.StringValue, ast.BlockValue, ast.EnumValue:
		return v.Raw, true
	default:
		return nil, false // no kind that the printer lets through
	}
}

// variable knows only the variables that the operation declares: graphql-core ignores all others that are sent.
func (vs values) variable(name string) (any, bool) {
	definition := vs.declared.ForName(name)
	if definition == nil {
		return nil, false
	}
	if value, given := vs.given[name]; given {
		return value, true
	}
	if definition.DefaultValue == nil {
		return nil, false
	}
	return vs.of(definition.DefaultValue)
}

func decodeNumbers(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("decode JSON: %w", err)
	}
	return nil
}
