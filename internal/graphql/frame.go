package graphql

import (
	"encoding/json"
)

// The messages that a client may send in the protocol graphql-ws as Dagster speaks it, which is the older
// subscriptions-transport-ws (dagster_webserver/graphql.py, class GraphQLWS).
const (
	FrameInit      = "connection_init"
	FrameStart     = "start"
	FrameStop      = "stop"
	FrameTerminate = "connection_terminate"
)

// maxFrameID bounds the name that a client gives a subscription, in bytes. Dagster's UI counts from 1.
const maxFrameID = 256

// Frame is one message of a client.
type Frame struct {
	Type string
	// ID names the subscription. Only start and stop have one.
	ID string
	// Request is what start asks for. Whether it is a subscription shows when it is parsed.
	Request Request
}

// ReadFrame reads a text message. Unknown types are refused: Dagster ignores them today, and may not tomorrow. The
// payload of connection_init, which Dagster does not look at, is dropped. Errors are of type *Error.
func ReadFrame(data []byte, l Limits) (Frame, error) {
	if int64(len(data)) > l.Body {
		return Frame{}, tooLarge("the message", l.Body)
	}
	fields, err := readObject(data, l.Depth, "type", "id", "payload")
	if err != nil {
		return Frame{}, err
	}
	kind, _ := jsonString(fields["type"])
	frame := Frame{Type: kind}
	switch kind {
	case FrameInit, FrameTerminate:
		return frame, nil
	case FrameStart, FrameStop:
	default:
		return Frame{}, badRequest("the message is of an unknown type")
	}
	frame.ID, err = frameID(fields["id"])
	if err == nil && kind == FrameStart {
		frame.Request, err = requestFromPayload(fields["payload"], l)
	}
	if err != nil {
		return Frame{}, err
	}
	return frame, nil
}

func frameID(raw json.RawMessage) (string, error) {
	id, ok := jsonString(raw)
	if !ok || id == "" || len(id) > maxFrameID {
		return "", badRequest("id must be a string of 1 to %d bytes", maxFrameID)
	}
	return id, nil
}

// requestFromPayload reads what start carries. The name of the operation has two spellings: operationName is what the
// protocol says and clients send, operation_name is what Dagster reads. Either is taken, and both when they agree.
func requestFromPayload(payload json.RawMessage, l Limits) (Request, error) {
	if len(payload) == 0 {
		return Request{}, badRequest("the message has no payload")
	}
	fields, err := readObject(payload, l.Depth, "query", "variables", "operationName", "operation_name")
	if err != nil {
		return Request{}, err
	}
	req, err := documentAndName(fields, "operationName")
	if err != nil {
		return Request{}, err
	}
	name, err := operationName(fields["operation_name"])
	switch {
	case err != nil:
		return Request{}, err
	case name != "" && req.OperationName != "" && name != req.OperationName:
		return Request{}, badRequest("operationName and operation_name differ")
	case name != "":
		req.OperationName = name
	}
	req.Variables, err = compactVariables(fields["variables"])
	return req, err
}

// Encode is the message to forward, with the spelling of the operation's name that Dagster reads.
func (f Frame) Encode() []byte {
	type payload struct {
		Query         string          `json:"query"`
		OperationName string          `json:"operation_name,omitempty"`
		Variables     json.RawMessage `json:"variables,omitempty"`
	}
	out := struct {
		Type    string   `json:"type"`
		ID      string   `json:"id,omitempty"`
		Payload *payload `json:"payload,omitempty"`
	}{Type: f.Type, ID: f.ID}
	if f.Type == FrameStart {
		out.Payload = &payload{f.Request.Query, f.Request.OperationName, f.Request.Variables}
	}
	return encodeJSON(out)
}

// ErrorFrame is the message with which Dagster itself refuses a subscription, with a code of ours.
func ErrorFrame(id, message, code string) []byte {
	return encodeJSON(struct {
		Type    string      `json:"type"`
		ID      string      `json:"id"`
		Payload answerError `json:"payload"`
	}{"error", id, answerError{Message: message, Extensions: answerCode{code}}})
}
