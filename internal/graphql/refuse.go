package graphql

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
)

// maxAnswer bounds what a refusal writes: an answer to launchMultipleRuns has as many parts as the client asked runs.
const maxAnswer = 1 << 20

const defaultMessage = "You do not have permission to do this"

// errNoShape says that the refusal can't be put in the words of the schema, so that the whole answer is an error.
var errNoShape = errors.New("no shape for a refusal")

// Refuse writes the answer to an operation of which nothing is run: what a read-only Dagster answers, with a message of
// ours for each response key. Where Dagster's schema has no word for a refusal, or the client wants to know of it what
// can't be known, where the selections do not fit the schema or s is nil, the answer is data: null and FORBIDDEN.
func Refuse(op *Operation, s *Schema, messages map[string]string) []byte {
	if s != nil {
		r := refusal{op: op, schema: s.raw}
		if r.operation(messages) == nil {
			return r.out.Bytes()
		}
	}
	failed := make([]answerError, 0, len(op.Fields))
	for _, f := range op.Fields {
		failed = append(failed, answerError{
			Message: messageFor(f, messages), Path: []string{f.ResponseKey}, Extensions: answerCode{"FORBIDDEN"},
		})
	}
	return errorBody(failed...)
}

// ErrorBody is a whole answer that says one thing, in the form that Dagster's UI takes for a GraphQL result.
func ErrorBody(message, code string) []byte {
	return errorBody(answerError{Message: message, Extensions: answerCode{code}})
}

type answerError struct {
	Message    string     `json:"message"`
	Path       []string   `json:"path,omitempty"`
	Extensions answerCode `json:"extensions"`
}

type answerCode struct {
	Code string `json:"code"`
}

func errorBody(failed ...answerError) []byte {
	return encodeJSON(struct {
		Data   *struct{}     `json:"data"`
		Errors []answerError `json:"errors"`
	}{Errors: failed})
}

func messageFor(f RootField, messages map[string]string) string {
	if m := messages[f.ResponseKey]; m != "" {
		return m
	}
	return defaultMessage
}

// refusal writes one answer, in the order in which Dagster would.
type refusal struct {
	op     *Operation
	schema *ast.Schema
	out    bytes.Buffer
}

func (r *refusal) operation(messages map[string]string) error {
	root := r.root()
	if root == nil {
		return errNoShape
	}
	r.out.WriteString(`{"data":{`)
	for i, f := range r.op.Fields {
		r.key(i, f.ResponseKey)
		if err := r.rootField(root, f, messageFor(f, messages)); err != nil {
			return fmt.Errorf("refuse %s: %w", f.ResponseKey, err)
		}
	}
	r.out.WriteString("}}")
	return nil
}

func (r *refusal) root() *ast.Definition {
	if r.op.Type == ast.Mutation {
		return r.schema.Mutation
	}
	return nil // no answer to a query has a word for it, and subscriptions are refused by ErrorFrame
}

func (r *refusal) rootField(root *ast.Definition, f RootField, message string) error {
	if f.Name == "__typename" && !anySelection(f.Selections) {
		return r.text(root.Name)
	}
	def := root.Fields.ForName(f.Name)
	if def == nil || def.Type.Elem != nil {
		return errNoShape
	}
	if denied := r.denial(def.Type); denied != nil {
		return r.object(denied, f.Selections, refusedFields{message: message})
	}
	for _, list := range refusedLists() {
		if denied := r.possible(def.Type, list.result); denied != nil {
			return r.list(denied, f, list, message)
		}
	}
	return errNoShape
}

// denial is the member of a result type in which a read-only Dagster of 1.10 to 1.13 refuses. TerminateRunFailure goes
// first: the termination results have both, and Dagster uses this one.
func (r *refusal) denial(result *ast.Type) *ast.Definition {
	for _, name := range []string{"TerminateRunFailure", "UnauthorizedError"} {
		if def := r.possible(result, name); def != nil {
			return def
		}
	}
	return nil
}

// refusedList is a result in which Dagster refuses each element of a list argument by itself.
type refusedList struct{ result, field, argument string }

func refusedLists() []refusedList {
	return []refusedList{
		{result: "LaunchMultipleRunsResult", field: "launchMultipleRunsResult", argument: "executionParamsList"},
		{result: "TerminateRunsResult", field: "terminateRunResults", argument: "runIds"},
	}
}

func (r *refusal) list(result *ast.Definition, f RootField, list refusedList, message string) error {
	def := result.Fields.ForName(list.field)
	arguments, err := r.op.Arguments(f)
	if err != nil || def == nil || def.Type.Elem == nil {
		return errNoShape
	}
	element := r.denial(def.Type.Elem)
	if element == nil {
		return errNoShape
	}
	return r.object(result, f.Selections, refusedFields{
		message: message, list: list.field, element: element, length: len(List(arguments[list.argument])),
	})
}

// possible is the object type of that name, if it may stand where result is expected.
func (r *refusal) possible(result *ast.Type, name string) *ast.Definition {
	if result.Elem != nil {
		return nil
	}
	for _, def := range r.schema.PossibleTypes[result.NamedType] {
		if def.Name == name {
			return def
		}
	}
	return nil
}

// refusedFields is all that is known of a refused object: a message, and for some a list of refused elements.
type refusedFields struct {
	message string
	list    string // name of the list field; empty: none
	element *ast.Definition
	length  int
}

func (r *refusal) object(def *ast.Definition, sets []ast.SelectionSet, known refusedFields) error {
	fields, err := r.selected(def, sets)
	if err != nil {
		return err
	}
	if len(fields) == 0 && !anySelection(sets) {
		return errNoShape // an object needs a selection
	}
	r.out.WriteByte('{')
	for i, f := range fields {
		r.key(i, f.key)
		if err := r.field(def, f, known); err != nil {
			return err
		}
	}
	r.out.WriteByte('}')
	return nil
}

func (r *refusal) field(object *ast.Definition, f selectedField, known refusedFields) error {
	if f.name == "__typename" && !anySelection(f.sets) {
		return r.text(object.Name)
	}
	def := object.Fields.ForName(f.name)
	if def == nil || anySelection(f.sets) == r.leaf(def.Type) {
		return errNoShape
	}
	switch {
	case f.name == "message":
		return r.text(known.message)
	case f.name == known.list:
		return r.elements(f.sets, known)
	case def.Type.NonNull:
		return errNoShape
	}
	r.out.WriteString("null")
	return nil
}

// elements writes one element and repeats it, as all are refused alike.
func (r *refusal) elements(sets []ast.SelectionSet, known refusedFields) error {
	r.out.WriteByte('[')
	start := r.out.Len()
	if err := r.object(known.element, sets, refusedFields{message: known.message}); err != nil {
		return err
	}
	one := bytes.Clone(r.out.Bytes()[start:])
	r.out.Truncate(start)
	if start+known.length*(len(one)+1) > maxAnswer {
		return errNoShape
	}
	for i := range known.length {
		if i > 0 {
			r.out.WriteByte(',')
		}
		r.out.Write(one)
	}
	r.out.WriteByte(']')
	return nil
}

func (r *refusal) leaf(t *ast.Type) bool {
	def := r.schema.Types[t.Name()]
	return def == nil || def.IsLeafType()
}

func (r *refusal) key(i int, key string) {
	if i > 0 {
		r.out.WriteByte(',')
	}
	r.out.Write(encodeJSON(key))
	r.out.WriteByte(':')
}

func (r *refusal) text(value string) error {
	if r.out.Len()+len(value) > maxAnswer {
		return errNoShape
	}
	r.out.Write(encodeJSON(value))
	return nil
}
