package graphql

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadFrame(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   string
		want Frame
		out  string
	}{
		"init": {`{"type":"connection_init","payload":{"token":"x"}}`, Frame{Type: FrameInit}, `{"type":"connection_init"}`},
		"start as the UI sends it": {
			`{"id":"1","type":"start","payload":{"variables":{"n": 1.0},"extensions":{},"operationName":"S","query":"subscription S{s}"}}`,
			Frame{FrameStart, "1", Request{"subscription S{s}", "S", json.RawMessage(`{"n":1.0}`)}},
			`{"type":"start","id":"1","payload":{"query":"subscription S{s}","operation_name":"S","variables":{"n":1.0}}}`,
		},
		"start as Dagster reads it": {
			`{"id":"1","type":"start","payload":{"query":"subscription S{s}","operation_name":"S"}}`,
			Frame{FrameStart, "1", Request{Query: "subscription S{s}", OperationName: "S"}},
			`{"type":"start","id":"1","payload":{"query":"subscription S{s}","operation_name":"S"}}`,
		},
		"both names agree": {
			`{"id":"1","type":"start","payload":{"query":"{s}","operation_name":"S","operationName":"S","variables":null}}`,
			Frame{FrameStart, "1", Request{Query: "{s}", OperationName: "S"}},
			`{"type":"start","id":"1","payload":{"query":"{s}","operation_name":"S"}}`,
		},
		"stop":      {`{"type":"stop","id":"a\"b"}`, Frame{Type: FrameStop, ID: `a"b`}, `{"type":"stop","id":"a\"b"}`},
		"terminate": {`{"type":"connection_terminate","id":"9"}`, Frame{Type: FrameTerminate}, `{"type":"connection_terminate"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ReadFrame([]byte(tt.in), DefaultLimits())
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Fatalf("got error %v (-want +got):\n%s", err, diff)
			}
			if out := string(got.Encode()); out != tt.out {
				t.Errorf("got %s, want %s", out, tt.out)
			}
		})
	}
}

func TestReadFrameRefuses(t *testing.T) {
	t.Parallel()
	start := func(payload string) string { return `{"type":"start","id":"1","payload":` + payload + `}` }
	tests := map[string]string{
		"not JSON":             "hello",
		"array":                `[{"type":"connection_init"}]`,
		"no type":              `{"id":"1"}`,
		"unknown type":         `{"type":"subscribe","id":"1","payload":{"query":"{s}"}}`,
		"type in another case": `{"type":"Start","id":"1","payload":{"query":"{s}"}}`,
		"two types":            `{"type":"stop","type":"start","id":"1","payload":{"query":"{s}"}}`,
		"Type":                 `{"type":"connection_init","Type":"start"}`,
		"two payloads":         `{"type":"start","id":"1","payload":{"query":"{s}"},"p\u0061yload":{"query":"{s}"}}`,
		"no id":                `{"type":"start","payload":{"query":"{s}"}}`,
		"id is a number":       `{"type":"stop","id":1}`,
		"id is a list":         `{"type":"stop","id":[]}`,
		"id is empty":          `{"type":"stop","id":""}`,
		"id is long":           `{"type":"stop","id":"` + strings.Repeat("x", 257) + `"}`,
		"no payload":           `{"type":"start","id":"1"}`,
		"payload is null":      start(`null`),
		"payload is text":      start(`"{s}"`),
		"no query":             start(`{}`),
		"two queries":          start(`{"query":"{s}","query":"{t}"}`),
		"names differ":         start(`{"query":"{s}","operationName":"A","operation_name":"B"}`),
		"name is empty":        start(`{"query":"{s}","operation_name":""}`),
		"Operation_Name":       start(`{"query":"{s}","Operation_Name":"B"}`),
		"variables are text":   start(`{"query":"{s}","variables":"{}"}`),
		"lone surrogate":       start(`{"query":"{s}#\udc00"}`),
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadFrame([]byte(in), DefaultLimits())
			wantStatus(t, err, 400)
		})
	}
	limits := DefaultLimits()
	limits.Body = 26
	if _, err := ReadFrame([]byte(`{"type":"connection_init"}`), limits); err != nil {
		t.Errorf("at the limit: got error %v, want none", err)
	}
	_, err := ReadFrame([]byte(`{"type":"connection_init"} `), limits)
	wantStatus(t, err, 413)
}

// TestErrorFrame has the shape in which Dagster 1.13.27 refused a mutation on its WebSocket, without locations.
func TestErrorFrame(t *testing.T) {
	t.Parallel()
	const want = `{"type":"error","id":"1","payload":{"message":"no","extensions":{"code":"FORBIDDEN"}}}`
	if got := string(ErrorFrame("1", "no", "FORBIDDEN")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
