// Package graphql answers one question: what does this request ask Dagster to do? It reads a GraphQL request from every
// door that Dagster opens and that AuthKit leaves open, finds the one operation that would run and its root fields, and
// writes a new request from what it understood. Only that new request is ever forwarded, so nothing can be judged as one
// thing and executed as another. It also writes the answer to a refused request. It knows no roles and no sessions.
package graphql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// Request is a GraphQL request whatever door it came through.
type Request struct {
	Query string
	// OperationName is empty when none was given. An empty name that was given is refused, as Dagster answers it with 400.
	OperationName string
	// Variables is a compact JSON object or nil. It stays text so that numbers keep every digit.
	Variables json.RawMessage
}

// Limits bound what one request may cost before anything of it is judged.
type Limits struct {
	Body       int64 // bytes of an HTTP body or a WebSocket frame
	Document   int   // bytes of the GraphQL document
	Tokens     int   // tokens of the document, comments not counted
	Depth      int   // nested brackets in the document or in JSON, and nested selections with fragments put in place
	RootFields int   // fields that the operation asks for at the top, with fragments put in place
}

// DefaultLimits are far above what Dagster's own UI sends: its largest document of 1.13.27 has 714 tokens and is
// 11 brackets deep; run configurations of some MB travel in the variables. 15,000 tokens is graphql-java's default.
func DefaultLimits() Limits {
	return Limits{Body: 10 << 20, Document: 1 << 20, Tokens: 15_000, Depth: 200, RootFields: 100}
}

// Error is a request that can't be read, with the HTTP status for it. Message is safe to show to the client.
type Error struct {
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Message }

func badRequest(format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func tooLarge(what string, limit int64) error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("%s is larger than %d bytes", what, limit)}
}

func unsupported(format string, args ...any) error {
	return &Error{Status: http.StatusUnsupportedMediaType, Message: fmt.Sprintf(format, args...)}
}

// Encode is the canonical body to forward as application/json. Only keys that say something are written.
func (r Request) Encode() []byte {
	return encodeJSON(struct {
		Query         string          `json:"query"`
		OperationName string          `json:"operationName,omitempty"`
		Variables     json.RawMessage `json:"variables,omitempty"`
	}{r.Query, r.OperationName, r.Variables})
}

// requestFromJSON reads a JSON body. Keys that Dagster does not read, such as extensions, are dropped.
func requestFromJSON(body []byte, l Limits) (Request, error) {
	fields, err := readObject(body, l.Depth, "query", "operationName", "variables")
	if err != nil {
		return Request{}, err
	}
	req, err := documentAndName(fields, "operationName")
	if err != nil {
		return Request{}, err
	}
	// Dagster reads a string as JSON text that holds the object, as it has to for GET.
	if text, ok := jsonString(fields["variables"]); ok {
		req.Variables, err = variablesFromText(text, l)
	} else {
		req.Variables, err = compactVariables(fields["variables"])
	}
	return req, err
}

// variablesFromText reads variables that came as a text of their own.
func variablesFromText(text string, l Limits) (json.RawMessage, error) {
	if err := checkJSON([]byte(text), l.Depth); err != nil {
		return nil, err
	}
	return compactVariables([]byte(text))
}

// documentAndName takes the document and the operation's name out of a JSON object that was already checked.
func documentAndName(fields map[string]json.RawMessage, nameKey string) (Request, error) {
	raw, given := fields["query"]
	if !given {
		return Request{}, badRequest("no GraphQL query found in the request")
	}
	query, ok := jsonString(raw)
	if !ok {
		return Request{}, badRequest("query must be a string")
	}
	name, err := operationName(fields[nameKey])
	return Request{Query: query, OperationName: name}, err
}

func operationName(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	name, ok := jsonString(raw)
	if !ok {
		return "", badRequest("the operation name must be a string or null")
	}
	if name == "" {
		return "", badRequest("the operation name must not be empty")
	}
	return name, nil
}

// compactVariables takes JSON that was checked. Nothing and null are the same to Dagster.
func compactVariables(raw []byte) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, badRequest("variables are not valid JSON")
	}
	switch text := compact.Bytes(); {
	case string(text) == "null":
		return nil, nil
	case text[0] != '{':
		return nil, badRequest("variables must be an object")
	default:
		return text, nil
	}
}
