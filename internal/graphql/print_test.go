package graphql

import (
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
)

// TestPrintRefusesWhatIsNoToken hands the printer trees that no parser should make. Were one made all the same, its
// parts must not become more tokens than were judged.
func TestPrintRefusesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	field := func(f ast.Field) *ast.QueryDocument {
		return &ast.QueryDocument{Operations: ast.OperationList{{Operation: ast.Query, SelectionSet: ast.SelectionSet{&f}}}}
	}
	value := func(kind ast.ValueKind, raw string) *ast.QueryDocument {
		return field(ast.Field{Alias: "a", Name: "a", Arguments: ast.ArgumentList{{Name: "x", Value: &ast.Value{Kind: kind, Raw: raw}}}})
	}
	if text, err := printDocument(value(ast.IntValue, "-10")); err != nil || text != "query{a(x:-10)}" {
		t.Fatalf("control: got %q and error %v, want it printed", text, err)
	}
	spread := func(s ast.Selection) *ast.QueryDocument {
		return &ast.QueryDocument{Operations: ast.OperationList{{Operation: ast.Query, SelectionSet: ast.SelectionSet{s}}}}
	}
	variable := func(name string, kind *ast.Type) *ast.QueryDocument {
		doc := field(ast.Field{Alias: "a", Name: "a"})
		doc.Operations[0].VariableDefinitions = ast.VariableDefinitionList{{Variable: name, Type: kind}}
		return doc
	}
	tests := map[string]*ast.QueryDocument{
		"field":            field(ast.Field{Alias: "a", Name: "a}mutation{b"}),
		"alias":            field(ast.Field{Alias: "a b", Name: "a"}),
		"empty name":       field(ast.Field{}),
		"name with digit":  field(ast.Field{Alias: "1a", Name: "1a"}),
		"line end":         field(ast.Field{Alias: "a\n", Name: "a\n"}),
		"letter":           field(ast.Field{Alias: "ä", Name: "ä"}),
		"directive":        field(ast.Field{Alias: "a", Name: "a", Directives: ast.DirectiveList{{Name: "d b"}}}),
		"int":              value(ast.IntValue, "1 b:2"),
		"int with line":    value(ast.IntValue, "1\n"),
		"float":            value(ast.FloatValue, "1.5e"),
		"enum":             value(ast.EnumValue, "E,b"),
		"variable":         value(ast.Variable, "x)"),
		"unknown kind":     value(ast.ValueKind(99), "x"),
		"no value":         field(ast.Field{Alias: "a", Name: "a", Arguments: ast.ArgumentList{{Name: "x"}}}),
		"input field":      field(ast.Field{Alias: "a", Name: "a", Arguments: ast.ArgumentList{{Name: "x", Value: &ast.Value{Kind: ast.ObjectValue, Children: ast.ChildValueList{{Name: "y:1,z", Value: &ast.Value{Kind: ast.NullValue, Raw: "null"}}}}}}}),
		"operation":        {Operations: ast.OperationList{{Operation: "query A{a}mutation", SelectionSet: ast.SelectionSet{&ast.Field{Alias: "a", Name: "a"}}}}},
		"fragment on":      spread(&ast.FragmentSpread{Name: "on"}),
		"condition":        spread(&ast.InlineFragment{TypeCondition: "T{a}", SelectionSet: ast.SelectionSet{&ast.Field{Alias: "a", Name: "a"}}}),
		"empty selection":  spread(&ast.InlineFragment{TypeCondition: "T"}),
		"nil selection":    spread(nil),
		"variable's name":  variable("a:Int $b", ast.NamedType("Int", nil)),
		"variable's type":  variable("a", ast.NamedType("Int=1", nil)),
		"variable untyped": variable("a", nil),
	}
	for name, document := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := printDocument(document)
			if err == nil {
				t.Fatalf("printed %q, want an error", text)
			}
			wantStatus(t, err, 400)
		})
	}
}
