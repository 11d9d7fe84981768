package graphql

import (
	"encoding/json"
	"sync"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// Operation is the one operation of a request that would run, and the request to forward for it.
type Operation struct {
	Type ast.Operation
	// Name is the operation's own name in the document, empty for an anonymous one.
	Name string
	// Fields are all root fields in the order of execution, one for each response key.
	Fields []RootField
	// Request is what to forward: its Query is printed anew from Definition and the fragments that it reaches.
	Request Request
	// Document holds Definition and the fragments that it reaches, nothing else of what the client sent.
	Document   *ast.QueryDocument
	Definition *ast.OperationDefinition
	// Memo keeps what was found out about the document; nil when the document is not kept.
	Memo *Memo

	variables func() (map[string]any, error)
}

// RootField is one thing that the operation asks for. A policy goes by Name: ResponseKey is an alias of the client's
// choosing. __typename, __schema and __type are root fields like any other.
type RootField struct {
	Name, ResponseKey string
	Arguments         ast.ArgumentList
	// Selections has the selection set of each place where the field is asked for; together they make the answer.
	Selections []ast.SelectionSet
}

// Parse finds the operation that graphql-core would execute for the request. Everything that a fragment brings to the
// root counts as asked for, whatever its type condition and whatever @skip or @include say. What is left of the
// document is printed anew and is all that may be forwarded. Errors are of type *Error.
func Parse(req Request, l Limits) (*Operation, error) {
	document, err := parseDocument(req.Query, l)
	if err != nil {
		return nil, err
	}
	definition, err := chooseOperation(document.Operations, req.OperationName)
	if err != nil {
		return nil, err
	}
	fragments, err := reachableFragments(definition, document.Fragments, l.Depth)
	if err != nil {
		return nil, err
	}
	kept := &ast.QueryDocument{Operations: ast.OperationList{definition}, Fragments: fragments}
	text, err := printDocument(kept)
	if err != nil {
		return nil, err
	}
	fields, err := rootFields(definition, fragments, l.RootFields)
	if err != nil {
		return nil, err
	}
	op := &Operation{
		Type: definition.Operation, Name: definition.Name, Fields: fields, Document: kept, Definition: definition,
		Request: Request{Query: text, OperationName: req.OperationName, Variables: req.Variables},
	}
	op.variables = sync.OnceValues(op.decodeVariables)
	return op, nil
}

// parseDocument is the parser behind its limits. The parser takes executable definitions only: a document that defines
// types is refused by it.
func parseDocument(text string, l Limits) (*ast.QueryDocument, error) {
	if len(text) > l.Document {
		return nil, tooLarge("the document", int64(l.Document))
	}
	if !utf8.ValidString(text) {
		return nil, badRequest("the document is not valid UTF-8")
	}
	text, err := plain(text, l.Depth)
	if err != nil {
		return nil, err
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Name: "document", Input: text}, l.Tokens)
	if err != nil {
		return nil, badRequest("the document can't be parsed: %s", shorten(err.Error()))
	}
	return document, nil
}

// shorten keeps a message that quotes the document from being as long as the document.
func shorten(message string) string {
	const longest = 200
	runes := []rune(message)
	if len(runes) <= longest {
		return message
	}
	return string(runes[:longest]) + "..."
}

// chooseOperation does what graphql-core does, and refuses what its validation refuses before anything runs.
func chooseOperation(all ast.OperationList, name string) (*ast.OperationDefinition, error) {
	var chosen *ast.OperationDefinition
	names := make(map[string]bool, len(all))
	for _, op := range all {
		if op.Name == "" && len(all) > 1 {
			return nil, badRequest("an operation without a name must be the only one")
		}
		if names[op.Name] {
			return nil, badRequest("two operations have the same name")
		}
		names[op.Name] = true
		if op.Name == name || name == "" {
			chosen = op
		}
	}
	switch {
	case len(all) == 0:
		return nil, badRequest("the document has no operation")
	case name == "" && len(all) > 1:
		return nil, badRequest("say with operationName which of the operations is meant")
	case chosen == nil:
		return nil, badRequest("the document has no operation of that name")
	}
	return chosen, uniqueVariables(chosen)
}

func uniqueVariables(op *ast.OperationDefinition) error {
	seen := make(map[string]bool, len(op.VariableDefinitions))
	for _, v := range op.VariableDefinitions {
		if seen[v.Variable] {
			return badRequest("two variables have the same name")
		}
		seen[v.Variable] = true
	}
	return nil
}

// Forget gives the memory of decoded variables back. They are decoded anew when somebody asks for Arguments again.
func (op *Operation) Forget() { op.variables = sync.OnceValues(op.decodeVariables) }

// decodeVariables keeps numbers as json.Number, so that none loses digits.
func (op *Operation) decodeVariables() (map[string]any, error) {
	return decodeVariables(op.Request.Variables)
}

func decodeVariables(raw json.RawMessage) (map[string]any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var variables map[string]any
	if err := decodeNumbers(raw, &variables); err != nil {
		return nil, badRequest("variables are not a JSON object")
	}
	return variables, nil
}
