package dagster

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

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
