package policy

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/graphql"
)

func TestRunTags(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, document, variables string
		want                      []string
	}{
		{
			"literal, block string and escapes", `mutation{launchRun(executionParams:{executionMetadata:{tags:[{key:"b",value:""},{key:"""ecs/cpu""",value:"1"},{key:"\u0064ocker/x",value:"1"}]}}){__typename}}`, ``,
			[]string{"b", "docker/x", "ecs/cpu"},
		},
		{
			"variable", `mutation($p:ExecutionParams!){launchPipelineExecution(executionParams:$p){__typename}}`, `{"p":{"executionMetadata":{"tags":[{"key":"dagster/image","value":"evil"}]}}}`,
			[]string{"dagster/image"},
		},
		{
			"default, and one value for a list", `mutation($t:[ExecutionTag!]={key:"dagster-k8s/config",value:"{}"}){launchRun(executionParams:{executionMetadata:{tags:$t}}){__typename}}`, ``,
			[]string{"dagster-k8s/config"},
		},
		{
			"several runs", `mutation($p:ExecutionParams!){launchMultipleRuns(executionParamsList:[{},$p]){__typename}}`, `{"p":{"executionMetadata":{"tags":[{"key":"a","value":""},{"key":"a","value":""}]}}}`,
			[]string{"a"},
		},
		{
			"re-execution", `mutation{launchRunReexecution(reexecutionParams:{parentRunId:"r",strategy:ALL_STEPS,extraTags:[{key:"a",value:""}]}){__typename}}`, ``,
			[]string{"a"},
		},
		{"backfill", `mutation{launchPartitionBackfill(backfillParams:{tags:[{key:"a",value:""}]}){__typename}}`, ``, []string{"a"}},
		{"run configuration", `mutation{launchRun(executionParams:{runConfigData:{tags:[{key:"a",value:""}]}}){__typename}}`, ``, nil},
	}
	for _, test := range tests {
		op, err := graphql.Parse(graphql.Request{Query: test.document, Variables: json.RawMessage(test.variables)}, graphql.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		arguments, err := op.Arguments(op.Fields[0])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, RunTags(arguments)); diff != "" {
			t.Errorf("%s: tags differ (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestMatchTag(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, key string
		want         bool
	}{
		{"dagster/image", "dagster/image", true},
		{"dagster/image", "dagster/images", false},
		{"dagster/image", "Dagster/image", false},
		{"ecs/*", "ecs/cpu", true},
		{"ecs/*", "ecs/", true},
		{"ecs/*", "ecs", false},
		{"ecs/*", " ecs/cpu", false},
		{"dagster-celery*", "dagster-celery/queue", true},
		{"dagster-celery*", "dagster-celery-k8s/a/b", true},
		{"*", "", true},
		{"*", "a", true},
		{"", "", true},
		{"", "a", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "a/b/b/c", true},
		{"a*b*c", "acb", false},
		{"*b*b", "b", false},
		{"*b*b", "abb", true},
		{"**", "a", true},
		{"a[b]?", "a[b]?", true},
		{"a?", "ab", false},
	}
	for _, test := range tests {
		if got := MatchTag(test.pattern, test.key); got != test.want {
			t.Errorf("MatchTag(%q, %q) = %t, want %t", test.pattern, test.key, got, test.want)
		}
	}
}

// TestDefaultProtectedTags holds the patterns against every tag that the launchers of dagster-k8s, dagster-celery,
// dagster-celery-k8s, dagster-aws and dagster-docker 0.29.27 read.
func TestDefaultProtectedTags(t *testing.T) {
	t.Parallel()
	protected := func(key string) bool {
		return slices.ContainsFunc(DefaultProtectedTags(), func(pattern string) bool { return MatchTag(pattern, key) })
	}
	for _, key := range []string{
		"dagster-k8s/config", "dagster-k8s/resource_requirements", "dagster-celery/queue", "dagster-celery/priority",
		"dagster-celery/run_priority", "dagster-celery/task_id", "ecs/cpu", "ecs/memory", "ecs/ephemeral_storage", "ecs/task_overrides",
		"ecs/container_overrides", "ecs/run_task_kwargs", "ecs/task_arn", "ecs/cluster", "docker/container_id", "dagster/image",
		".dagster/grpc_info",
	} {
		if !protected(key) {
			t.Errorf("%s is not protected", key)
		}
	}
	// What Dagster's own UI sends.
	for _, key := range []string{"dagster/from_ui", "dagster/partition", "dagster/parent_run_id", "dagster/step_selection", "dagster/code_location", "user", "team"} {
		if protected(key) {
			t.Errorf("%s is protected", key)
		}
	}
}
