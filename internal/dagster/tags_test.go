package dagster

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/graphql"
)

func dagsterSchema(t testing.TB, version string) *graphql.Schema {
	t.Helper()
	file, err := os.Open("../graphql/testdata/schema-" + version + ".json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := graphql.ParseIntrospection(data)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestRunTagPaths(t *testing.T) {
	t.Parallel()
	schema := dagsterSchema(t, "1.13.27")
	got := map[string][][]string{}
	for _, mutation := range schema.MutationFields() {
		if paths := runTagPaths(schema, mutation); len(paths) > 0 {
			got[mutation] = paths
		}
	}
	execution := []string{"executionParams", "executionMetadata", "tags"}
	reexecution := []string{"reexecutionParams", "extraTags"}
	want := map[string][][]string{
		"launchPartitionBackfill":    {{"backfillParams", "tags"}},
		"launchPipelineExecution":    {execution},
		"launchRun":                  {execution},
		"launchMultipleRuns":         {{"executionParamsList", "executionMetadata", "tags"}},
		"launchPipelineReexecution":  {execution, reexecution},
		"launchRunReexecution":       {execution, reexecution},
		"reexecutePartitionBackfill": {reexecution},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places of run tags differ (-want +got):\n%s", diff)
	}
}

func parse(t testing.TB, document, variables string) *graphql.Operation {
	t.Helper()
	op, err := graphql.Parse(graphql.Request{Query: document, Variables: json.RawMessage(variables)}, graphql.DefaultLimits())
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return op
}

// argumentsOf are the arguments of all root fields, as JSON.
func argumentsOf(t testing.TB, request graphql.Request) string {
	t.Helper()
	op, err := graphql.Parse(request, graphql.DefaultLimits())
	if err != nil {
		t.Fatalf("signed as %s, which is refused: %v", request.Query, err)
	}
	var all []map[string]any
	for _, field := range op.Fields {
		arguments, err := op.Arguments(field)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, arguments)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSignRuns(t *testing.T) {
	t.Parallel()
	const (
		bob      = `{"key":"user","value":"bob@example.org"}`
		byParent = `mutation($e:ExecutionParams,$r:ReexecutionParams){launchPipelineReexecution(executionParams:$e,reexecutionParams:$r){__typename}}`
	)
	tests := []struct{ name, document, variables, want string }{
		{
			"launch", `mutation($p:ExecutionParams!){launchRun(executionParams:$p){__typename}}`,
			`{"p":{"executionMetadata":{"tags":[{"key":"user","value":"eve"},{"key":"k","value":"v"},{"key":"user","value":"eve"}]}}}`,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"k","value":"v"},` + bob + `]}}}]`,
		},
		{
			"keys are compared as Dagster does", `mutation{launchPipelineExecution(executionParams:{executionMetadata:{tags:[{key:"User",value:"a"},{key:" user",value:"b"},{key:"""user""",value:"c"},{key:"us\u0065r",value:"d"}]}}){__typename}}`, ``,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"User","value":"a"},{"key":" user","value":"b"},` + bob + `]}}}]`,
		},
		{
			"creators", `mutation{launchRun(executionParams:{executionMetadata:{tags:[{key:"dagster/schedule_name",value:"s"},{key:"dagster/sensor_name",value:"s"},{key:"dagster/created_by",value:"auto_materialize"},{key:"dagster/auto_materialize",value:"true"},{key:"dagster/auto_observe",value:"true"},{key:"dagster/retry_number",value:"1"},{key:"dagster/reporting_user",value:"eve"},{key:"dagster/partition",value:"p"}]}}){__typename}}`, ``,
			`[{"executionParams":{"executionMetadata":{"tags":[{"key":"dagster/partition","value":"p"},` + bob + `]}}}]`,
		},
		{
			"several runs", `mutation($l:[ExecutionParams!]!){launchMultipleRuns(executionParamsList:$l){__typename}}`, `{"l":[{},{"executionMetadata":{"tags":{"key":"user","value":"eve"}}}]}`,
			`[{"executionParamsList":[{"executionMetadata":{"tags":[` + bob + `]}},{"executionMetadata":{"tags":[` + bob + `]}}]}]`,
		},
		{
			"re-execution with parameters", byParent, `{"e":{"executionMetadata":{"parentRunId":"p"}},"r":null}`,
			`[{"executionParams":{"executionMetadata":{"parentRunId":"p","tags":[` + bob + `]}},"reexecutionParams":null}]`,
		},
		{
			"re-execution by the parent's ID", byParent, `{"r":{"parentRunId":"p","strategy":"ALL_STEPS"}}`,
			`[{"reexecutionParams":{"extraTags":[` + bob + `],"parentRunId":"p","strategy":"ALL_STEPS"}}]`,
		},
		{
			"backfill", `mutation($b:LaunchBackfillParams!){launchPartitionBackfill(backfillParams:$b){__typename}}`, `{"b":{"allPartitions":true,"tags":[{"key":"user","value":"eve"}]}}`,
			`[{"backfillParams":{"allPartitions":true,"tags":[` + bob + `]}}]`,
		},
		{"what launches nothing", `mutation{terminateRun(runId:"r"){__typename} setNuxSeen}`, ``, `[{"runId":"r"},{}]`},
	}
	schema := dagsterSchema(t, "1.13.27")
	for _, test := range tests {
		signed, err := Parents(nil).SignRuns(parse(t, test.document, test.variables), schema, "user", "bob@example.org")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := argumentsOf(t, signed); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestSignRunsByAnotherTag(t *testing.T) {
	t.Parallel()
	schema := dagsterSchema(t, "1.13.27")
	const document = `mutation{launchRun(executionParams:{executionMetadata:{tags:[{key:"user",value:"u"},{key:"by",value:"eve"}]}}){__typename}}`
	tests := []struct{ tag, want string }{
		{"by", `[{"executionParams":{"executionMetadata":{"tags":[{"key":"user","value":"u"},{"key":"by","value":"bob"}]}}}]`},
		{"", `[{"executionParams":{"executionMetadata":{"tags":[{"key":"user","value":"u"},{"key":"by","value":"eve"}]}}}]`},
	}
	for _, test := range tests {
		signed, err := Parents(nil).SignRuns(parse(t, document, ``), schema, test.tag, "bob")
		if err != nil {
			t.Fatal(err)
		}
		if got := argumentsOf(t, signed); got != test.want {
			t.Errorf("tag %q: got %s, want %s", test.tag, got, test.want)
		}
	}
	if _, err := Parents(nil).SignRuns(parse(t, document, ``), nil, "user", "bob"); err == nil {
		t.Error("a launch is signed by no schema")
	}
}

// TestSignInherited: a scheduled run that Bob re-executes by its ID is Bob's, and keeps what else it had.
func TestSignInherited(t *testing.T) {
	t.Parallel()
	parents := Parents{"scheduled": {"dagster/partition": "p", "user": "alice", "z": "1"}}
	const bob = `{"key":"user","value":"bob"}`
	tests := []struct{ name, params, want string }{
		{
			"scheduled", `{parentRunId:$id,strategy:ALL_STEPS,extraTags:[{key:"z",value:"2"},{key:"user",value:"eve"}]}`,
			`[{"reexecutionParams":{"extraTags":[{"key":"dagster/partition","value":"p"},{"key":"z","value":"1"},{"key":"z","value":"2"},` + bob + `],"parentRunId":"scheduled","strategy":"ALL_STEPS","useParentRunTags":false}}]`,
		},
		{
			"without the parent's tags", `{parentRunId:$id,strategy:ALL_STEPS,useParentRunTags:false}`,
			`[{"reexecutionParams":{"extraTags":[` + bob + `],"parentRunId":"scheduled","strategy":"ALL_STEPS","useParentRunTags":false}}]`,
		},
		{
			"another run", `{parentRunId:"other",strategy:FROM_FAILURE,useParentRunTags:true}`,
			`[{"reexecutionParams":{"extraTags":[` + bob + `],"parentRunId":"other","strategy":"FROM_FAILURE","useParentRunTags":true}}]`,
		},
		{"null", `null`, `[{"reexecutionParams":null}]`},
	}
	schema := dagsterSchema(t, "1.13.27")
	for _, test := range tests {
		op := parse(t, `mutation($id:String!){launchRunReexecution(reexecutionParams:`+test.params+`){__typename}}`, `{"id":"scheduled"}`)
		signed, err := parents.SignRuns(op, schema, "user", "bob")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := argumentsOf(t, signed); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestParents asks a stand-in: what a real Dagster makes of the answer is seen by the tests of the whole program.
func TestParents(t *testing.T) {
	t.Parallel()
	scheduled := `{"key":"dagster/schedule_name","value":"s"},{"key":"dagster/will_retry","value":"x"},{"key":"k","value":"v"}`
	tests := []struct {
		name, tags, status string
		want               Parents
	}{
		{"by a person", `{"key":"user","value":"alice"}`, "", Parents{}},
		{"by a schedule", scheduled, "", Parents{"r": {"k": "v"}}},
		{"by a retry", `{"key":"dagster/retry_number","value":"1"}`, "", Parents{}},
		{"by a running backfill", scheduled + `,{"key":"dagster/backfill","value":"b"}`, "REQUESTED", Parents{"r": {"k": "v", "dagster/backfill": "b"}}},
		{"by a finished backfill", scheduled + `,{"key":"dagster/backfill","value":"b"}`, "COMPLETED_SUCCESS", Parents{"r": {"k": "v"}}},
	}
	op := parse(t, `mutation{launchRunReexecution(reexecutionParams:{parentRunId:"r",strategy:ALL_STEPS}){__typename}}`, ``)
	for _, test := range tests {
		var questions int
		u, base := standIn(t, func(document string) string {
			questions++
			if strings.Contains(document, "AuthKitBackfills") {
				return `{"b0":{"status":"` + test.status + `"}}`
			}
			return `{"runs":{"__typename":"Runs","results":[{"runId":"r","tags":[` + test.tags + `]}]}}`
		})
		got, err := u.Parents(t.Context(), base, op)
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: got error %v, parents differ (-want +got):\n%s", test.name, err, diff)
		}
		if questions == 0 {
			t.Errorf("%s: Dagster was not asked", test.name)
		}
	}
}

func TestParentsAsksNothing(t *testing.T) {
	t.Parallel()
	u, base := standIn(t, func(document string) string {
		t.Errorf("asked %s", document)
		return `{}`
	})
	for _, document := range []string{
		`mutation{launchRun(executionParams:{executionMetadata:{parentRunId:"r"}}){__typename}}`,
		`mutation{launchRunReexecution(reexecutionParams:{parentRunId:"r",strategy:ALL_STEPS,useParentRunTags:false}){__typename}}`,
		`mutation{reexecutePartitionBackfill(reexecutionParams:{parentRunId:"b",strategy:ALL_STEPS}){__typename}}`,
	} {
		if got, err := u.Parents(t.Context(), base, parse(t, document, ``)); err != nil || got != nil {
			t.Errorf("%s: got %v, %v, want nothing", document, got, err)
		}
	}
}

func TestParentsFails(t *testing.T) {
	t.Parallel()
	u, base := standIn(t, func(string) string { return `{"runs":{"__typename":"PythonError"}}` })
	op := parse(t, `mutation{launchRunReexecution(reexecutionParams:{parentRunId:"r",strategy:ALL_STEPS}){__typename}}`, ``)
	if got, err := u.Parents(t.Context(), base, op); err == nil {
		t.Errorf("got %v from an answer that is none", got)
	}
}

// standIn is an Upstream that knows the schema of 1.13.27, before something that answers as told.
func standIn(t *testing.T, answer func(document string) string) (*Upstream, *url.URL) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question struct{ Query string }
		if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, `{"data":`+answer(question.Query)+`}`)
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	u := New(Options{Log: zerolog.Nop()})
	u.about.Store(&about{version: "1.13.27", schema: dagsterSchema(t, "1.13.27")})
	return u, base
}

// FuzzSignRuns checks that a signed request runs what was judged, and says exactly once who launches it.
func FuzzSignRuns(f *testing.F) {
	f.Add(`mutation($p:ExecutionParams!,$r:ReexecutionParams){launchRun(executionParams:$p){__typename} launchRunReexecution(reexecutionParams:$r){__typename}}`, `{"p":{"executionMetadata":{"tags":[{"key":"user","value":"eve"}]}},"r":{"parentRunId":"scheduled"}}`)
	f.Add(`mutation($t:[ExecutionTag!]){launchPartitionBackfill(backfillParams:{tags:$t}){__typename} launchMultipleRuns(executionParamsList:[{},{executionMetadata:{tags:{key:"user"}}}]){__typename}}`, `{"t":[null,{"key":"dagster/schedule_name","value":"s"}]}`)
	schema := dagsterSchema(f, "1.13.27")
	parents := Parents{"scheduled": {"user": "alice"}}
	f.Fuzz(func(t *testing.T, document, variables string) {
		request := graphql.Request{Query: document}
		if json.Valid([]byte(variables)) && strings.HasPrefix(variables, "{") {
			request.Variables = json.RawMessage(variables)
		}
		op, err := graphql.Parse(request, graphql.DefaultLimits())
		if err != nil || op.Type != "mutation" {
			return
		}
		signed, err := parents.SignRuns(op, schema, "user", "bob")
		if err != nil {
			return
		}
		limits := graphql.DefaultLimits()
		limits.Document, limits.Tokens, limits.Depth = 8*limits.Document, 8*limits.Tokens, 2*limits.Depth
		again, err := graphql.Parse(signed, limits)
		if err != nil || len(again.Fields) != len(op.Fields) {
			t.Fatalf("%s is signed as %s: %v", op.Request.Query, signed.Query, err)
		}
		for i, field := range again.Fields {
			if field.Name != op.Fields[i].Name || field.ResponseKey != op.Fields[i].ResponseKey {
				t.Fatalf("%s is signed as %s", op.Request.Query, signed.Query)
			}
			arguments, err := again.Arguments(field)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range runTagPaths(schema, field.Name) {
				// A list counts where the schema has one; elsewhere Dagster refuses it.
				values := []any{arguments[path[0]]}
				if path[0] == "executionParamsList" {
					values = graphql.List(arguments[path[0]])
				}
				for _, value := range values {
					checkSigned(t, value, path[1:])
				}
			}
		}
	})
}

// checkSigned follows a path; what is null, or no object where one is wanted, launches nothing.
func checkSigned(t *testing.T, value any, path []string) {
	t.Helper()
	if len(path) == 0 {
		count := 0
		for _, tag := range graphql.List(value) {
			if tagKey(tag) == "user" {
				count++
			}
		}
		if list, _ := value.([]any); count != 1 || tagKey(list[len(list)-1]) != "user" {
			t.Fatalf("signed with %v", value)
		}
		return
	}
	if object, ok := value.(map[string]any); ok {
		if object[path[0]] == nil {
			t.Fatalf("no %s in %v", path[0], object)
		}
		checkSigned(t, object[path[0]], path[1:])
	}
}
