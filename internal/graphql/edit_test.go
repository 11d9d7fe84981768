package graphql

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mark is the change that the tests make: one more tag at the end.
func mark(value any) any {
	list := append([]any{}, List(value)...)
	return append(list, map[string]any{"key": "by", "value": "me"})
}

var (
	executionTags = []string{"executionParams", "executionMetadata", "tags"}
	listTags      = []string{"executionParamsList", "executionMetadata", "tags"}
)

// TestEdit compares what Dagster would get, as Parse reads it from the edited request.
func TestEdit(t *testing.T) {
	t.Parallel()
	const s = `selector:{jobName:"j"}`
	tests := []struct {
		name, document, variables string
		query                     string // of the edited request
		arguments                 string // of all root fields, as JSON
	}{
		{
			"literal", `mutation{launchRun(executionParams:{` + s + `,executionMetadata:{runId:"r",tags:[{key:"a",value:"b"}]}}){__typename}}`, ``,
			`mutation($authkit_0:[ExecutionTag!]){launchRun(executionParams:{` + s + `,executionMetadata:{runId:"r",tags:$authkit_0}}){__typename}}`,
			`[{"executionParams":{"selector":{"jobName":"j"},"executionMetadata":{"runId":"r","tags":[{"key":"a","value":"b"},{"key":"by","value":"me"}]}}}]`,
		},
		{
			"one value where the schema has a list", `mutation{launchRun(executionParams:{executionMetadata:{tags:{key:"a",value:"b"}}}){__typename}}`, ``,
			`mutation($authkit_0:[ExecutionTag!]){launchRun(executionParams:{executionMetadata:{tags:$authkit_0}}){__typename}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"a","value":"b"},{"key":"by","value":"me"}]}}}]`,
		},
		{
			"no tags, and no metadata", `mutation{a:launchRun(executionParams:{executionMetadata:{}}){__typename} b:launchRun(executionParams:{` + s + `}){__typename} c:launchRun(executionParams:{executionMetadata:null}){__typename}}`, ``,
			`mutation($authkit_0:[ExecutionTag!],$authkit_1:[ExecutionTag!],$authkit_2:[ExecutionTag!]){a:launchRun(executionParams:{executionMetadata:{tags:$authkit_0}}){__typename} b:launchRun(executionParams:{` + s + `,executionMetadata:{tags:$authkit_1}}){__typename} c:launchRun(executionParams:{executionMetadata:{tags:$authkit_2}}){__typename}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}},` +
				`{"executionParams":{"selector":{"jobName":"j"},"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}},` +
				`{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"the whole argument a variable, which keeps order and digits",
			`mutation M($p:ExecutionParams!){launchRun(executionParams:$p){__typename}}`, `{"p":{"runConfigData":{"z":1.50,"a":12345678901234567890},"executionMetadata":null}}`,
			`mutation M($authkit_0:ExecutionParams!){launchRun(executionParams:$authkit_0){__typename}}`,
			`[{"executionParams":{"runConfigData":{"z":1.50,"a":12345678901234567890},"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"a variable of two root fields is copied once", `mutation($p:ExecutionParams!){a:launchRun(executionParams:$p){__typename} b:launchRun(executionParams:$p){__typename}}`, `{"p":{}}`,
			`mutation($authkit_0:ExecutionParams!){a:launchRun(executionParams:$authkit_0){__typename} b:launchRun(executionParams:$authkit_0){__typename}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}},{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"a variable that stands elsewhere too stays there", `mutation($p:ExecutionParams!,$r:String!){launchRun(executionParams:$p){__typename} launchPipelineExecution(executionParams:$p){__typename} terminateRun(runId:$r){__typename}}`, `{"p":{},"r":"x"}`,
			`mutation($p:ExecutionParams!,$r:String!,$authkit_0:ExecutionParams!){launchRun(executionParams:$authkit_0){__typename} launchPipelineExecution(executionParams:$p){__typename} terminateRun(runId:$r){__typename}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}},{"executionParams":{}},{"runId":"x"}]`,
		},
		{
			"variables inside of literals", `mutation($s:JobOrPipelineSelector!,$m:ExecutionMetadata,$t:[ExecutionTag!],$k:String!){` +
				`a:launchRun(executionParams:{selector:$s,executionMetadata:$m}){__typename} b:launchRun(executionParams:{executionMetadata:{tags:$t}}){__typename} c:launchRun(executionParams:{executionMetadata:{tags:[{key:$k,value:"v"}]}}){__typename}}`,
			`{"s":{"jobName":"j"},"m":{"runId":"r"},"t":{"key":"a","value":"b"},"k":"c"}`,
			`mutation($s:JobOrPipelineSelector!,$authkit_0:ExecutionMetadata,$authkit_1:[ExecutionTag!],$authkit_2:[ExecutionTag!]){a:launchRun(executionParams:{selector:$s,executionMetadata:$authkit_0}){__typename} b:launchRun(executionParams:{executionMetadata:{tags:$authkit_1}}){__typename} c:launchRun(executionParams:{executionMetadata:{tags:$authkit_2}}){__typename}}`,
			`[{"executionParams":{"selector":{"jobName":"j"},"executionMetadata":{"runId":"r","tags":[{"key":"by","value":"me"}]}}},` +
				`{"executionParams":{"executionMetadata":{"tags":[{"key":"a","value":"b"},{"key":"by","value":"me"}]}}},` +
				`{"executionParams":{"executionMetadata":{"tags":[{"key":"c","value":"v"},{"key":"by","value":"me"}]}}}]`,
		},
		{
			"variables without a value", `mutation($m:ExecutionMetadata,$t:[ExecutionTag!]){a:launchRun(executionParams:{executionMetadata:$m}){__typename} b:launchRun(executionParams:{executionMetadata:{tags:$t}}){__typename}}`, `{"t":null}`,
			`mutation($authkit_0:[ExecutionTag!],$authkit_1:[ExecutionTag!]){a:launchRun(executionParams:{executionMetadata:{tags:$authkit_0}}){__typename} b:launchRun(executionParams:{executionMetadata:{tags:$authkit_1}}){__typename}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}},{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"a default of the document, whose custom scalars stay literals", `mutation($p:ExecutionParams={runConfigData:{a:[E,1.0]}}){launchRun(executionParams:$p){__typename}}`, `{}`,
			`mutation($authkit_0:[ExecutionTag!]){launchRun(executionParams:{runConfigData:{a:[E,1.0]},executionMetadata:{tags:$authkit_0}}){__typename}}`,
			`[{"executionParams":{"runConfigData":{"a":["E",1.0]},"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"a default that does not count keeps the copy valid", `mutation($p:ExecutionParams={}){launchRun(executionParams:$p){__typename}}`, `{"p":{}}`,
			`mutation($authkit_0:ExecutionParams={}){launchRun(executionParams:$authkit_0){__typename}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"an argument that is null or absent", `mutation($p:ExecutionParams!,$q:ExecutionParams=null){a:launchRun(executionParams:$p){__typename} b:launchRun(executionParams:null){__typename} c:launchRun{__typename} d:launchRun(executionParams:$q){__typename}}`, `{}`,
			`mutation($p:ExecutionParams!){a:launchRun(executionParams:$p){__typename} b:launchRun(executionParams:null){__typename} c:launchRun{__typename} d:launchRun(executionParams:null){__typename}}`,
			`[{},{"executionParams":null},{},{"executionParams":null}]`,
		},
		{
			"lists", `mutation($p:ExecutionParams!,$l:[ExecutionParams!]!,$o:[ExecutionParams!]!){a:launchMultipleRuns(executionParamsList:[$p,{},null]){__typename} b:launchMultipleRuns(executionParamsList:$l){__typename} c:launchMultipleRuns(executionParamsList:$o){__typename} d:launchMultipleRuns(executionParamsList:{}){__typename}}`,
			`{"p":{"mode":"m"},"l":[{},null,{"executionMetadata":{"tags":[]}}],"o":{}}`,
			`mutation($authkit_0:ExecutionParams!,$authkit_1:[ExecutionTag!],$authkit_2:[ExecutionParams!]!,$authkit_3:[ExecutionParams!]!,$authkit_4:[ExecutionTag!]){a:launchMultipleRuns(executionParamsList:[$authkit_0,{executionMetadata:{tags:$authkit_1}},null]){__typename} b:launchMultipleRuns(executionParamsList:$authkit_2){__typename} c:launchMultipleRuns(executionParamsList:$authkit_3){__typename} d:launchMultipleRuns(executionParamsList:{executionMetadata:{tags:$authkit_4}}){__typename}}`,
			`[{"executionParamsList":[{"mode":"m","executionMetadata":{"tags":[{"key":"by","value":"me"}]}},{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}},null]},` +
				`{"executionParamsList":[{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}},null,{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}]},` +
				`{"executionParamsList":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}},` +
				`{"executionParamsList":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"fragments, and one field selected twice", `mutation($s:Boolean!){...F launchRun(executionParams:{mode:"m"}){__typename}} fragment G on Mutation{launchRun(executionParams:{mode:"m"}){... @skip(if:$s){__typename}}} fragment F on Mutation{... on Mutation{...G}}`, `{"s":true}`,
			`mutation($s:Boolean!,$authkit_0:[ExecutionTag!]){...F launchRun(executionParams:{mode:"m",executionMetadata:{tags:$authkit_0}}){__typename}}fragment G on Mutation{launchRun(executionParams:{mode:"m",executionMetadata:{tags:$authkit_0}}){...@skip(if:$s){__typename}}}fragment F on Mutation{...on Mutation{...G}}`,
			`[{"executionParams":{"mode":"m","executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
		{
			"values of the wrong kind are Dagster's to refuse", `mutation($p:ExecutionParams!){a:launchRun(executionParams:"x"){__typename} b:launchRun(executionParams:$p){__typename} c:launchRun(executionParams:$undeclared){__typename}}`, `{"p":7}`,
			`mutation($authkit_0:ExecutionParams!){a:launchRun(executionParams:"x"){__typename} b:launchRun(executionParams:$authkit_0){__typename} c:launchRun(executionParams:$undeclared){__typename}}`,
			`[{"executionParams":"x"},{"executionParams":7},{}]`,
		},
		{
			"a variable that nobody uses is Dagster's to refuse", `mutation($unused:Int,$p:ExecutionParams!){launchRun(executionParams:$p){__typename}}`, `{"p":{},"other":1}`,
			`mutation($unused:Int,$authkit_0:ExecutionParams!){launchRun(executionParams:$authkit_0){__typename}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"by","value":"me"}]}}}]`,
		},
	}
	schema := dagsterSchema(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			op := parseEdit(t, test.document, test.variables)
			before := op.Request
			edited, err := op.Edit(schema, tagEdits(op)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.query, edited.Query); diff != "" {
				t.Errorf("document differs (-want +got):\n%s", diff)
			}
			var want any
			if err := decodeNumbers([]byte(test.arguments), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, allArguments(t, edited)); diff != "" {
				t.Errorf("arguments differ (-want +got):\n%s", diff)
			}
			if again, _ := printDocument(op.Document); again != before.Query {
				t.Errorf("the operation itself became %s", again)
			}
		})
	}
}

func parseEdit(t testing.TB, document, variables string) *Operation {
	t.Helper()
	op, err := Parse(Request{Query: document, Variables: json.RawMessage(variables)}, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// tagEdits mark launchRun and launchMultipleRuns, and nothing else.
func tagEdits(op *Operation) []Edit {
	one, many := Edit{Path: executionTags, Change: mark}, Edit{Path: listTags, Change: mark}
	for _, f := range op.Fields {
		switch f.Name {
		case "launchRun":
			one.Fields = append(one.Fields, f.ResponseKey)
		case "launchMultipleRuns":
			many.Fields = append(many.Fields, f.ResponseKey)
		}
	}
	return []Edit{one, many}
}

func allArguments(t testing.TB, req Request) any {
	t.Helper()
	op, err := Parse(req, roomier())
	if err != nil {
		t.Fatalf("edited to %s, which is refused: %v", req.Query, err)
	}
	all := []any{}
	for _, f := range op.Fields {
		arguments, err := op.Arguments(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, arguments)
	}
	return all
}

func TestEditRefuses(t *testing.T) {
	t.Parallel()
	const launch = `launchRun(executionParams:$p){__typename}`
	many := make([]string, 90)
	for i := range many {
		many[i] = fmt.Sprintf(`a%d:launchRun(executionParams:{executionMetadata:{tags:[{key:"k",value:$v}]}}){__typename}`, i)
	}
	long := `{"v":"` + strings.Repeat("x", 1<<16) + `"}`
	tests := []struct {
		name, document, variables string
		edits                     func(*Operation) []Edit
		status                    int
	}{
		{"ours", `mutation($p:ExecutionParams!){` + launch + `}`, `{"p":{}}`, tagEdits, 0},
		{"a name that is ours", `mutation($p:ExecutionParams!,$authkit_9:Int){` + launch + `}`, `{"p":{}}`, tagEdits, 400},
		{"an unknown input field", `mutation($p:ExecutionParams!){` + launch + `}`, `{"p":{}}`, editAt("launchRun", "executionParams", "nope"), 400},
		{"an unknown input field of a literal", `mutation{launchRun(executionParams:{}){__typename}}`, ``, editAt("launchRun", "executionParams", "nope"), 400},
		{"an unknown argument", `mutation($p:ExecutionParams!){` + launch + `}`, `{"p":{}}`, editAt("launchRun", "nope"), 400},
		{"one argument in two edits", `mutation($p:ExecutionParams!){` + launch + `}`, `{"p":{}}`, func(op *Operation) []Edit { return append(tagEdits(op), tagEdits(op)...) }, 400},
		{"an unknown field", `mutation($p:ExecutionParams!){nope(executionParams:$p)}`, `{"p":{}}`, editAt("nope", "executionParams"), 400},
		{"what would grow beyond measure", `mutation($v:String!){` + strings.Join(many, " ") + `}`, long, tagEdits, 413},
		{"the same, once", `mutation($v:String!){` + many[0] + `}`, long, tagEdits, 0},
	}
	schema := dagsterSchema(t)
	for _, test := range tests {
		op := parseEdit(t, test.document, test.variables)
		_, err := op.Edit(schema, test.edits(op)...)
		refused, ok := errors.AsType[*Error](err)
		if err == nil && test.status != 0 || err != nil && (!ok || refused.Status != test.status) {
			t.Errorf("%s: got error %v, want status %d", test.name, err, test.status)
		}
	}
	op := parseEdit(t, `{version}`, ``)
	if _, err := op.Edit(nil); err == nil {
		t.Error("edited without a schema")
	}
}

func editAt(field string, path ...string) func(*Operation) []Edit {
	return func(*Operation) []Edit { return []Edit{{Fields: []string{field}, Path: path, Change: mark}} }
}

// FuzzEdit checks that the edited request reads back with the same root fields, that what is not edited has the same
// arguments, and that every tag list that is reached ends with the mark.
func FuzzEdit(f *testing.F) {
	f.Add(`mutation($p:ExecutionParams!,$l:[ExecutionParams!]!){a:launchRun(executionParams:$p){__typename} launchMultipleRuns(executionParamsList:$l){__typename} terminateRun(runId:"x"){__typename}}`, `{"p":{"executionMetadata":{"tags":[{"key":"by","value":"x"}]}},"l":[{},null]}`)
	f.Add(`mutation($t:ExecutionTag,$d:ExecutionParams={mode:"m"}){a:launchRun(executionParams:{executionMetadata:{tags:[$t]}}){__typename} ...F}fragment F on Mutation{launchRun(executionParams:$d)@skip(if:true){__typename}}`, `{"t":{}}`)
	f.Add(`mutation($m:ExecutionMetadata){launchRun(executionParams:{executionMetadata:$m}){__typename} launchMultipleRuns(executionParamsList:[{executionMetadata:$m},[{}]]){__typename}}`, `{"m":[null,1.0,"\u2028"]}`)
	schema := dagsterSchema(f)
	f.Fuzz(func(t *testing.T, document, variables string) {
		req := Request{Query: document}
		if v, err := compactVariables([]byte(variables)); err == nil && checkJSON([]byte(variables), 200) == nil {
			req.Variables = v
		}
		op, err := Parse(req, DefaultLimits())
		if err != nil {
			return
		}
		edited, err := op.Edit(schema, tagEdits(op)...)
		if err != nil {
			return
		}
		if back, err := ReadHTTP(post("/graphql", "application/json", string(edited.Encode())), roomier()); err != nil || cmp.Diff(edited, back) != "" {
			t.Fatalf("edited to %q, which reads differently: %v", edited.Encode(), err)
		}
		checkEdited(t, op, edited)
	})
}

func checkEdited(t *testing.T, op *Operation, edited Request) {
	t.Helper()
	again, err := Parse(edited, roomier())
	if err != nil {
		t.Fatalf("edited to %q, which is refused: %v", edited.Query, err)
	}
	if diff := cmp.Diff(rootNames(op), rootNames(again)); diff != "" {
		t.Fatalf("root fields differ (-judged +edited):\n%s", diff)
	}
	for i, f := range op.Fields {
		judged, first := op.Arguments(f)
		forwarded, second := again.Arguments(again.Fields[i])
		if first != nil || second != nil {
			t.Fatalf("arguments can't be read: %v, %v", first, second)
		}
		switch f.Name {
		case "launchRun":
			expect(judged, "executionParams", markedParams)
		case "launchMultipleRuns":
			expect(judged, "executionParamsList", markedList)
		}
		if diff := cmp.Diff(judged, forwarded); diff != "" {
			t.Fatalf("%s edited to %s: arguments differ (-want +got):\n%s", op.Request.Query, edited.Query, diff)
		}
	}
}

// expect makes the change that Edit promises, to arguments that were evaluated before.
func expect(arguments map[string]any, name string, change func(any) any) {
	if value, given := arguments[name]; given {
		arguments[name] = change(value)
	}
}

func markedList(value any) any {
	list, ok := value.([]any)
	if !ok {
		return markedParams(value)
	}
	out := make([]any, len(list))
	for i := range list {
		out[i] = markedParams(list[i])
	}
	return out
}

func markedParams(value any) any {
	params, ok := value.(map[string]any)
	if !ok {
		return value
	}
	out := maps.Clone(params)
	switch metadata := params["executionMetadata"].(type) {
	case nil:
		out["executionMetadata"] = map[string]any{"tags": mark(nil)}
	case map[string]any:
		metadata = maps.Clone(metadata)
		metadata["tags"] = mark(metadata["tags"])
		out["executionMetadata"] = metadata
	}
	return out
}
