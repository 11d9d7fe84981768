package policy

import (
	"maps"
	"slices"
	"strings"

	"dagster-authkit/internal/graphql"
)

// maxTargets bounds how many values of one kind are kept: the audit trail cuts its lists at the same length.
const maxTargets = 100

// targetKinds maps the names that Dagster's input types use for a thing to the audit trail's word for it. A name counts at
// any depth of the arguments, so that a new mutation built from the same inputs is described without a change here.
var targetKinds = map[string]string{
	"repositoryLocationName": "code_location",
	"locationName":           "code_location",
	"repositoryName":         "repository",
	"jobName":                "job",
	"pipelineName":           "job",
	"scheduleName":           "schedule",
	"sensorName":             "sensor",
	"scheduleOriginId":       "schedule",
	"scheduleSelectorId":     "schedule",
	"jobOriginId":            "sensor",
	"jobSelectorId":          "sensor",
	"runId":                  "run_ids",
	"runIds":                 "run_ids",
	"parentRunId":            "run_ids",
	"rootRunId":              "run_ids",
	"backfillId":             "backfill_ids",
	"partitionsDefName":      "partitions_def",
	"partitionSetName":       "partition_set",
	"partitionKey":           "partitions",
	"partitionKeys":          "partitions",
	"partitionNames":         "partitions",
	"concurrencyKey":         "concurrency_key",
	"componentId":            "component",
	"id":                     "id",
}

// assetKeyNames are the inputs of Dagster's AssetKeyInput type, {path: [String!]!}, alone or in a list.
var assetKeyNames = map[string]bool{"assetKey": true, "assetSelection": true, "assetKeys": true}

// Targets says what a mutation's arguments name: code locations, jobs, assets, runs. It describes, and decides nothing.
func Targets(arguments map[string]any) map[string][]string {
	targets := map[string][]string{}
	collect(targets, arguments)
	return targets
}

func collect(targets map[string][]string, value any) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			collect(targets, element)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			switch {
			case assetKeyNames[name]:
				addAssets(targets, value[name])
			case targetKinds[name] != "":
				addStrings(targets, targetKinds[name], value[name])
			default:
				collect(targets, value[name])
			}
		}
	}
}

func addStrings(targets map[string][]string, kind string, value any) {
	switch value := value.(type) {
	case string:
		if value != "" && len(targets[kind]) < maxTargets && !slices.Contains(targets[kind], value) {
			targets[kind] = append(targets[kind], value)
		}
	case []any:
		for _, element := range value {
			addStrings(targets, kind, element)
		}
	}
}

func addAssets(targets map[string][]string, value any) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			addAssets(targets, element)
		}
	case map[string]any:
		path := graphql.List(value["path"])
		parts := make([]string, 0, len(path))
		for _, part := range path {
			if part, ok := part.(string); ok {
				parts = append(parts, part)
			}
		}
		addStrings(targets, "assets", strings.Join(parts, "/"))
	}
}
