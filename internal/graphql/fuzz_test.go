package graphql

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nastyDocuments are what parsers of GraphQL are known to read in different ways.
func nastyDocuments() []string {
	return []string{
		"{a}", "query A($x:[Int!]!=[1] @d){a:b(x:$x,y:{z:\"s\"}) @skip(if:true){c} ...F ...on T{d}} fragment F on T@e{f}",
		"mutation M{m(x:\"\"\"a\"\"\"\")}", `query A{a(x:["""s""""])} query B{b(y:["])} mutation B{m} #"])}`,
		"{a#}\rb#}\u2028c\n}", "\ufeff{a,\ufeffb}", `{a(x:"\uD83D\uDE00\u{1F600}\uD800")}`, "{a(x:\"\"\"\n  a\r\n\tb\r \"\"\")}",
		"{...F} fragment F on T{...G} fragment G on T{...F}", "{a(x:\"\" y:\"\"\"\"\"\")}", `"d" query A("e" $x:Int){a}`,
		"subscription S{s} query Q{q}", "{a(x:-0.5e+3,y:E,z:null,t:[true,false])}", "{a(x:\"\x01\")}", "{a b:a b:c}", "{a", "}",
	}
}

// FuzzParse checks that what is printed is what was judged: it parses to the same root fields and the same text.
func FuzzParse(f *testing.F) {
	for _, document := range nastyDocuments() {
		f.Add(document, "")
		f.Add(document, "B")
	}
	f.Fuzz(func(t *testing.T, document, name string) {
		if op, err := Parse(Request{Query: document, OperationName: name}, DefaultLimits()); err == nil {
			checkReadsBack(t, op)
		}
	})
}

// roomier lets a document at a limit in again, which printing may have made a little longer.
func roomier() Limits {
	l := DefaultLimits()
	l.Document, l.Tokens, l.Body = 8*l.Document, l.Tokens+1, 8*l.Body
	return l
}

// checkReadsBack sends what is forwarded through the front door again.
func checkReadsBack(t *testing.T, op *Operation) {
	t.Helper()
	req, err := ReadHTTP(post("/graphql", "application/json", string(op.Request.Encode())), roomier())
	if err != nil {
		t.Fatalf("forwarded %q, which is refused: %v", op.Request.Encode(), err)
	}
	if diff := cmp.Diff(op.Request, req); diff != "" {
		t.Fatalf("forwarded request reads differently (-judged +read):\n%s", diff)
	}
	again, err := Parse(req, roomier())
	if err != nil {
		t.Fatalf("forwarded %q, which is refused: %v", req.Query, err)
	}
	if again.Request.Query != op.Request.Query || again.Type != op.Type || again.Name != op.Name {
		t.Fatalf("forwarded %q, printed again %q", op.Request.Query, again.Request.Query)
	}
	if diff := cmp.Diff(rootNames(op), rootNames(again)); diff != "" {
		t.Fatalf("root fields differ (-judged +forwarded):\n%s", diff)
	}
	for i := range op.Fields {
		judged, first := op.Arguments(op.Fields[i])
		forwarded, second := again.Arguments(again.Fields[i])
		if diff := cmp.Diff(judged, forwarded); diff != "" || (first == nil) != (second == nil) {
			t.Fatalf("arguments differ, errors %v and %v (-judged +forwarded):\n%s", first, second, diff)
		}
	}
}

// FuzzFieldsOf checks that an object is taken apart as encoding/json does it.
func FuzzFieldsOf(f *testing.F) {
	for _, text := range []string{
		`{}`, "\t{ \"a\" :\r\n1 , \"b\": [ 1, {\"c\":\"}\"} ] ,\"\":\"\\\"\"}\n", `{"\u0061":-1.5e+3,"x":true}`, `[{"a":1}]`, `null`, `"{}"`, ` 1`,
		`{"query":"{a(x:\"}\")}","variables":{"x":[[]]},"operationName":null}`, `{"a":{},"b":[],"c":""}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkJSON(data, DefaultLimits().Depth) != nil {
			return
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(data, &want) != nil {
			want = nil
		}
		if diff := cmp.Diff(want, fieldsOf(data)); diff != "" {
			t.Errorf("-encoding/json +fieldsOf:\n%s", diff)
		}
	})
}

// FuzzReadHTTP checks that what is read from any door reads back as the same from the one that is forwarded to.
func FuzzReadHTTP(f *testing.F) {
	const asJSON = "application/json"
	f.Add(false, "query=%7Ba%7D&variables=%7B%7D&operationName=A&op=B", "", "")
	f.Add(false, "query={a}&query=mutation{m}", "", "")
	f.Add(true, "", asJSON, `{"query":"query A{a}","operationName":"A","variables":{"x":[1.50,"\ud83d\ude00",null]}}`)
	f.Add(true, "op=A", asJSON, `{"query":"{a}","\u0071uery":"mutation{m}"}`)
	f.Add(true, "", asJSON+";charset=UTF-8", `{"query":"{a}","variables":"{\"x\": {\"y\":1,\"y\":2}}"}`)
	f.Add(true, "", asJSON, `{"query":"{a}","Query":"mutation{m}","extensions":{}}`)
	f.Add(true, "", "application/graphql", "mutation M{m(x:\"\"\"a\"\"\"\")}")
	f.Add(true, "query=", "text/plain; x=application/json", `[]`)
	f.Fuzz(func(t *testing.T, isPost bool, query, contentType, body string) {
		r := newRequest(http.MethodGet, "/graphql", "")
		if isPost {
			r = newRequest(http.MethodPost, "/graphql", body)
			r.Header.Set("Content-Type", contentType)
		}
		r.URL.RawQuery = query
		req, err := ReadHTTP(r, DefaultLimits())
		if err != nil {
			return
		}
		back, err := ReadHTTP(post("/graphql", asJSON, string(req.Encode())), roomier())
		if diff := cmp.Diff(req, back); err != nil || diff != "" {
			t.Fatalf("read back with error %v (-judged +read):\n%s", err, diff)
		}
		if op, err := Parse(req, DefaultLimits()); err == nil {
			checkReadsBack(t, op)
		}
	})
}

// FuzzReadFrame checks that a frame reads back as what it was judged as.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte(`{"type":"connection_init","payload":{}}`))
	f.Add([]byte(`{"id":"1","type":"start","payload":{"query":"subscription S{s}","operationName":"S","variables":{"n":1.0}}}`))
	f.Add([]byte(`{"id":"1","type":"start","payload":{"query":"{a}","operation_name":"S","operationName":"T"}}`))
	f.Add([]byte(`{"id":"\ud83d\ude00","type":"stop"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := ReadFrame(data, DefaultLimits())
		if err != nil {
			return
		}
		back, err := ReadFrame(frame.Encode(), roomier())
		if diff := cmp.Diff(frame, back); err != nil || diff != "" {
			t.Fatalf("read back with error %v (-judged +read):\n%s", err, diff)
		}
	})
}

// FuzzRefuse checks that a refusal is always whole JSON that tells nothing but the refusal.
func FuzzRefuse(f *testing.F) {
	f.Add("mutation{reloadWorkspace{__typename ...on Error{message} ...F}} fragment F on UnauthorizedError{a:message}", "{}")
	f.Add("mutation($l:[X]){launchMultipleRuns(executionParamsList:$l){...on LaunchMultipleRunsResult{launchMultipleRunsResult{...on Error{message}}}}}", `{"l":[{},{}]}`)
	f.Add(`mutation($y:Boolean){terminateRuns(runIds:"x"){...on TerminateRunsResult@skip(if:$y){terminateRunResults{...on TerminateRunFailure{message run{id}}}}} setNuxSeen}`, `{"y":true}`)
	schema := dagsterSchema(f)
	f.Fuzz(func(t *testing.T, document, variables string) {
		req := Request{Query: document}
		if checkJSON([]byte(variables), 200) == nil {
			req.Variables = json.RawMessage(variables)
		}
		op, err := Parse(req, DefaultLimits())
		if err != nil {
			return
		}
		var answer struct {
			Data   map[string]any
			Errors []any
		}
		if err := json.Unmarshal(Refuse(op, schema, nil), &answer); err != nil {
			t.Fatalf("refused with %s: %v", Refuse(op, schema, nil), err)
		}
		if (answer.Data == nil) != (len(answer.Errors) > 0) || answer.Data != nil && len(answer.Data) != len(op.Fields) {
			t.Fatalf("refused with %s, want one answer or one error for each of %v", Refuse(op, schema, nil), rootNames(op))
		}
	})
}

// FuzzParseIntrospection checks that no answer makes the reader fall over, and that what it accepts can be used.
func FuzzParseIntrospection(f *testing.F) {
	f.Add([]byte(`{"data":{"__schema":{"queryType":{"name":"Q"},"mutationType":{"name":"Q"},"types":[` +
		`{"kind":"OBJECT","name":"Q","fields":[{"name":"a","args":[{"name":"x","type":{"kind":"LIST","ofType":{"kind":"SCALAR","name":"S"}}}],"type":{"kind":"NON_NULL","ofType":{"kind":"UNION","name":"U"}}}]},` +
		`{"kind":"SCALAR","name":"S"},{"kind":"UNION","name":"U","possibleTypes":[{"name":"UnauthorizedError"}]},` +
		`{"kind":"OBJECT","name":"UnauthorizedError","fields":[{"name":"message","type":{"name":"S"}}]}]}}}`))
	f.Add([]byte(`{"data":{"__schema":{}}}`))
	op, err := Parse(Request{Query: "mutation{a(x:1){__typename ...on UnauthorizedError{message}}}"}, DefaultLimits())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseIntrospection(data)
		if err != nil {
			return
		}
		s.MutationFields()
		if answer := Refuse(op, s, nil); !json.Valid(answer) {
			t.Fatalf("refused with %q", answer)
		}
	})
}
