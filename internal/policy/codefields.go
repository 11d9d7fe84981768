package policy

// codeFields are the fields outside of mutations for which Dagster 1.10 to 1.13 runs the code of pipelines, by the type that
// they belong to; docs/decisions/0009 says how they were found. Query is the root, whatever its type's name.
var codeFields = map[string]bool{
	"DryRunInstigationTick.evaluationResult":  true, // the body of a schedule or sensor
	"Partition.runConfigOrError":              true,
	"Partition.tagsOrError":                   true,
	"PartitionTagsAndConfig.runConfigOrError": true,
	"PartitionTagsAndConfig.tagsOrError":      true,
	"Query.executionPlanOrError":              true, // config mappings, and on 1.11 values of environment variables
	"Query.isPipelineConfigValid":             true,
	"RunConfigSchema.isRunConfigValid":        true,
}

// codeNames are the same fields without their types.
var codeNames = map[string]bool{
	"evaluationResult": true, "runConfigOrError": true, "tagsOrError": true,
	"executionPlanOrError": true, "isPipelineConfigValid": true, "isRunConfigValid": true,
}

// knownChains are the paths of field names from a root field to one of codeFields that can't leave the code location which the
// root field's argument of that name selects.
var knownChains = map[string]string{
	"executionPlanOrError":                    "pipeline",
	"isPipelineConfigValid":                   "pipeline",
	"runConfigSchemaOrError.isRunConfigValid": "selector",

	"scheduleOrError.futureTicks.results.evaluationResult":    "scheduleSelector",
	"scheduleOrError.futureTick.evaluationResult":             "scheduleSelector",
	"scheduleOrError.scheduleState.nextTick.evaluationResult": "scheduleSelector",
	"sensorOrError.nextTick.evaluationResult":                 "sensorSelector",
	"sensorOrError.sensorState.nextTick.evaluationResult":     "sensorSelector",
	"scheduleDryRun.evaluationResult":                         "selectorData",
	"sensorDryRun.evaluationResult":                           "selectorData",

	"pipelineOrError.partition.runConfigOrError":                     "params",
	"pipelineOrError.partition.tagsOrError":                          "params",
	"partitionSetOrError.partition.runConfigOrError":                 "repositorySelector",
	"partitionSetOrError.partition.tagsOrError":                      "repositorySelector",
	"partitionSetOrError.partitionsOrError.results.runConfigOrError": "repositorySelector",
	"partitionSetOrError.partitionsOrError.results.tagsOrError":      "repositorySelector",
}

// dryRuns are the mutations whose answer is a tick that says nothing of its kind.
var dryRuns = map[string]string{"scheduleDryRun": "Schedule", "sensorDryRun": "Sensor"}
