package policy

import (
	"maps"
	"slices"
	"strings"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// DefaultProtectedTags are the patterns of the run tags that Dagster's own run launchers and executors take orders from.
// Where each is read:
//
//	dagster-k8s/*       dagster_k8s/job.py, get_user_defined_k8s_config: config and resource_requirements go into the pod, for
//	                    K8sRunLauncher and CeleryK8sRunLauncher alike
//	dagster-celery*     dagster_celery/tags.py: queue, priority, run_priority, and task_id, which is the task that is stopped
//	ecs/*               dagster_aws/ecs/launcher.py: cpu, memory, ephemeral_storage, task_overrides, container_overrides and
//	                    run_task_kwargs go into the task; task_arn and cluster are the task that is stopped
//	docker/*            dagster_docker/docker_run_launcher.py: container_id is the container that is stopped
//	dagster/image       written by the Docker and Kubernetes launchers; launchers of one's own read it
//	.dagster/grpc_info  dagster/_core/launcher/default_run_launcher.py: the address to which a run's end is sent
func DefaultProtectedTags() []string {
	return []string{"dagster-k8s/*", "dagster-celery*", "ecs/*", "docker/*", "dagster/image", ".dagster/grpc_info"}
}

// RunTags are the keys of all run tags that a mutation's arguments set, each once, as the client wrote them: in
// executionMetadata.tags, extraTags and a backfill's tags. They are known by the shape of Dagster's ExecutionTag, {key,
// value}, at any depth, so that a tag in a place that a newer Dagster adds is not overlooked. Run configuration has no
// tags: what looks like one there is the job's own.
func RunTags(arguments map[string]any) []string {
	tags := map[string]bool{}
	collectTags(tags, arguments)
	return slices.Sorted(maps.Keys(tags))
}

func collectTags(tags map[string]bool, value any) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			collectTags(tags, element)
		}
	case map[string]any:
		if key, ok := value["key"].(string); ok {
			tags[key] = true
		}
		for name, inner := range value {
			if name != "runConfigData" {
				collectTags(tags, inner)
			}
		}
	}
}

// MatchTag reports whether a run tag's key fits a pattern, in which each * stands for any characters, / too. Letters
// count with their case, as they do where Dagster looks a tag up.
func MatchTag(pattern, key string) bool {
	parts := strings.Split(pattern, "*")
	last := len(parts) - 1
	if last == 0 {
		return pattern == key
	}
	rest, found := strings.CutPrefix(key, parts[0])
	if !found || !strings.HasSuffix(rest, parts[last]) {
		return false
	}
	rest = strings.TrimSuffix(rest, parts[last])
	for _, part := range parts[1:last] {
		if _, rest, found = strings.Cut(rest, part); !found {
			return false
		}
	}
	return true
}

// Inherited says that a re-execution sends a tag which its parent run may have too: Dagster's UI sends all of a run's tags when
// it re-executes some of its steps, those included that the run launcher wrote.
// Only a run of the same job counts as its parent: the tags of one job's pods are not another's to have.
type Inherited struct {
	Run, Value string
	Job        Job // which the request selects
}

// inheritable are the tags of a re-execution with their values and its parent, where the client names both.
func inheritable(mutation string, arguments map[string]any) map[string]Inherited {
	if mutation != "launchRunReexecution" && mutation != "launchPipelineReexecution" || arguments["reexecutionParams"] != nil {
		return nil
	}
	metadata := member(arguments, "executionParams", "executionMetadata")
	parent, _ := member(metadata, "parentRunId").(string)
	if parent == "" {
		return nil
	}
	selector := member(arguments, "executionParams", "selector")
	job := Job{text(selector, "repositoryLocationName"), text(selector, "repositoryName"), text(selector, "jobName") + text(selector, "pipelineName")}
	tags := map[string]Inherited{}
	for _, tag := range graphql.List(member(metadata, "tags")) {
		key, _ := member(tag, "key").(string)
		value, isText := member(tag, "value").(string)
		if before, twice := tags[key]; !isText || twice && before.Value != value {
			return nil // which of the two counts is Dagster's to know
		}
		tags[key] = Inherited{parent, value, job}
	}
	return tags
}

func text(object any, name string) string {
	value, _ := member(object, name).(string)
	return value
}

// Parents are the runs whose tags decide whether a protected tag is an inherited one, for somebody who may not send it.
func (p *Policy) Parents(id identity.Identity, actions []Action) []string {
	var runs []string
	for _, action := range actions {
		for _, need := range action.Needs {
			if run := need.Inherited.Run; run != "" && !p.meets(id.Role, need) && !slices.Contains(runs, run) {
				runs = append(runs, run)
			}
		}
	}
	return runs
}

// Inheriting are the actions without the needs of those tags that the parent run has too. Whoever may re-execute a run gets its
// tags anyway, when Dagster copies them.
func Inheriting(actions []Action, runs map[string]KnownRun) []Action {
	actions = slices.Clone(actions)
	for i := range actions {
		actions[i].Needs = slices.DeleteFunc(slices.Clone(actions[i].Needs), func(need Need) bool {
			parent, known := runs[need.Inherited.Run]
			value, has := parent.Tags[need.Tag]
			return need.Inherited.Run != "" && known && parent.Job == need.Inherited.Job && has && value == need.Inherited.Value
		})
	}
	return actions
}
