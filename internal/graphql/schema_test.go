package graphql

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
)

// introspected is what dagster-webserver 1.13.27 answered to IntrospectionQuery.
func introspected(tb testing.TB) []byte {
	tb.Helper()
	packed, err := os.ReadFile("testdata/schema-1.13.27.json.gz")
	if err != nil {
		tb.Fatal(err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		tb.Fatal(err)
	}
	data, err := io.ReadAll(reader)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func dagsterSchema(tb testing.TB) *Schema {
	tb.Helper()
	s, err := ParseIntrospection(introspected(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// readOnlyAnswers is what dagster-webserver --read-only of that version answered to each mutation.
func readOnlyAnswers(t *testing.T, version string) map[string]any {
	t.Helper()
	data, err := fs.ReadFile(os.DirFS("testdata"), "readonly-mutations-"+version+".json")
	if err != nil {
		t.Fatal(err)
	}
	var facts struct {
		Mutations map[string]struct{ Result any }
	}
	if err := json.Unmarshal(data, &facts); err != nil {
		t.Fatal(err)
	}
	answers := map[string]any{}
	for name, m := range facts.Mutations {
		answers[name] = m.Result
	}
	return answers
}

func TestParseIntrospection(t *testing.T) {
	t.Parallel()
	s := dagsterSchema(t)
	var want []string
	for name := range readOnlyAnswers(t, "1.13.27") {
		want = append(want, name)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, s.MutationFields()); diff != "" {
		t.Errorf("mutations differ from those that were measured (-want +got):\n%s", diff)
	}
	if got := len(s.Raw().Types); got != 623 {
		t.Errorf("got %d types, want 623", got)
	}
	launch := s.Raw().Mutation.Fields.ForName("launchMultipleRuns")
	if got, want := launch.Arguments.ForName("executionParamsList").Type.String(), "[ExecutionParams!]!"; got != want {
		t.Errorf("got argument type %s, want %s", got, want)
	}
	if got, want := launch.Type.String(), "LaunchMultipleRunsResultOrError!"; got != want {
		t.Errorf("got type %s, want %s", got, want)
	}
	if got, want := s.Raw().Types[launch.Type.Name()].Types, []string{"LaunchMultipleRunsResult", "PythonError"}; !slices.Equal(got, want) {
		t.Errorf("got members %v, want %v", got, want)
	}
	policy := s.Raw().Types["TerminateRunPolicy"]
	if policy.Kind != ast.Enum {
		t.Errorf("got %s, want an enum", policy.Kind)
	}
	if f := s.Raw().Types["ExecutionParams"].Fields.ForName("selector"); f == nil || f.Type.String() != "JobOrPipelineSelector!" {
		t.Errorf("got input field %v, want selector: JobOrPipelineSelector!", f)
	}
	if s.Raw().Subscription.Fields.ForName("pipelineRunLogs") == nil {
		t.Error("the subscription type lacks pipelineRunLogs")
	}
}

func TestIntrospectionQueryIsOneOperation(t *testing.T) {
	t.Parallel()
	op := mustParse(t, Request{Query: IntrospectionQuery()})
	if diff := cmp.Diff([]string{"__schema:__schema"}, rootNames(op)); diff != "" || op.Type != ast.Query {
		t.Errorf("got type %s (-want +got):\n%s", op.Type, diff)
	}
}

func TestParseIntrospectionRefuses(t *testing.T) {
	t.Parallel()
	const types = `{"kind":"OBJECT","name":"Q","fields":[{"name":"a","args":[],"type":{"kind":"SCALAR","name":"S"}}]},{"kind":"SCALAR","name":"S"}`
	schema := func(query, types string) string {
		return `{"data":{"__schema":{"queryType":` + query + `,"types":[` + types + `]}}}`
	}
	if _, err := ParseIntrospection([]byte(schema(`{"name":"Q"}`, types))); err != nil {
		t.Fatalf("control: got error %v, want none", err)
	}
	tests := map[string]string{
		"not JSON":            `{`,
		"errors":              `{"errors":[{"message":"no"}]}`,
		"no query type":       schema("null", types),
		"unknown query type":  schema(`{"name":"R"}`, types),
		"unknown field type":  schema(`{"name":"Q"}`, strings.Replace(types, `"name":"S"}}`, `"name":"X"}}`, 1)),
		"type without a name": schema(`{"name":"Q"}`, types+`,{"kind":"SCALAR"}`),
		"type twice":          schema(`{"name":"Q"}`, types+`,{"kind":"SCALAR","name":"S"}`),
		"unknown kind":        schema(`{"name":"Q"}`, types+`,{"kind":"MODULE","name":"M"}`),
		"unknown member":      schema(`{"name":"Q"}`, types+`,{"kind":"UNION","name":"U","possibleTypes":[{"kind":"OBJECT","name":"X"}]}`),
		"too large":           strings.Repeat(" ", maxSchema+1),
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if s, err := ParseIntrospection([]byte(in)); err == nil {
				t.Errorf("got schema %v, want an error", s)
			}
		})
	}
}
