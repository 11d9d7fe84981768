package graphql

import (
	"fmt"
	"strings"
	"testing"
)

// largeDocument has the measure of the largest document of Dagster's UI: 7 KB, 700 tokens, 40 fragments.
func largeDocument() string {
	text := "query LargeQuery($runId: ID!, $limit: Int = 25) {\n  runOrError(runId: $runId) {\n    __typename\n    ...F0\n  }\n}\n"
	for i := range 40 {
		text += fmt.Sprintf("fragment F%d on Run {\n  id\n  status\n  someRatherLongFieldName%d\n  tags {\n    key\n    value\n  }\n"+
			"  ... on PythonError {\n    message\n    stack\n  }\n", i, i)
		if i < 39 {
			text += fmt.Sprintf("  ...F%d\n", i+1)
		}
		text += "}\n"
	}
	return text
}

func BenchmarkReadAndParse(b *testing.B) {
	body := string(Request{Query: largeDocument(), OperationName: "LargeQuery", Variables: []byte(`{"runId":"x"}`)}.Encode())
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		req, err := ReadHTTP(post("/graphql?op=LargeQuery", "application/json", body), DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		op, err := Parse(req, DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		op.Request.Encode()
	}
}

// BenchmarkReadVariables is a run configuration of 1 MB, which travels in the variables.
func BenchmarkReadVariables(b *testing.B) {
	config := `{"query":"mutation($c:X){m(c:$c)}","variables":{"c":[` + strings.Repeat(`{"key":"value","other":[1,2,3]},`, 32_000) + `null]}}`
	b.SetBytes(int64(len(config)))
	b.ReportAllocs()
	for b.Loop() {
		req, err := ReadHTTP(post("/graphql", "application/json", config), DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		req.Encode()
	}
}

func BenchmarkParseIntrospection(b *testing.B) {
	data := introspected(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseIntrospection(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefuse(b *testing.B) {
	schema := dagsterSchema(b)
	op, err := Parse(Request{Query: "mutation M{reloadWorkspace{__typename ...on UnauthorizedError{message}}}"}, DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Refuse(op, schema, map[string]string{"reloadWorkspace": "no"})
	}
}
