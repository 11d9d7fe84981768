package policy

import (
	"maps"
	"slices"
	"strings"
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
// tags: what looks like one there is the job's own. Which mutation it is makes no difference.
func RunTags(_ string, arguments map[string]any) []string {
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
