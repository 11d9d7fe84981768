package e2e

// sample is a mutation with valid arguments, in which $words stand for the things of one half of testdata/oracle.py.
type sample struct {
	mutation, arguments string
	done                string // the type with which an ordinary Dagster answers an editor, or "true" for the Boolean ones
	silent              bool   // it leaves nothing in Dagster's storage
	reset               string // brings everything to where it was before the other half's turn
}

const (
	inRepository = `repositoryLocationName: "defs.py", repositoryName: "__repository__"`
	oracleJob    = `executionParams: {selector: {` + inRepository + `, jobName: "job_$side"}, runConfigData: {}, mode: "default"`
)

// samples are in an order in which each finds what it needs. A mutation of the schema that is not among them fails the test.
func samples() []sample {
	return []sample{
		{mutation: "launchRun", arguments: oracleJob + `}`, done: "LaunchRunSuccess"},
		{mutation: "launchPipelineExecution", arguments: oracleJob + `, executionMetadata: {tags: [{key: "team", value: "blue"}]}}`, done: "LaunchRunSuccess"},
		{mutation: "launchMultipleRuns", arguments: `executionParamsList: [{selector: {` + inRepository + `, jobName: "job_$side"}}, {selector: {` + inRepository + `, jobName: "mapped_$side"}}]`, done: "LaunchMultipleRunsResult"},
		{mutation: "launchRunReexecution", arguments: `reexecutionParams: {parentRunId: "$run1", strategy: ALL_STEPS}`, done: "LaunchRunSuccess"},
		{mutation: "launchRunReexecution", arguments: oracleJob + `, executionMetadata: {rootRunId: "$run1", parentRunId: "$run1", tags: []}}`, done: "LaunchRunSuccess"},
		{mutation: "launchPipelineReexecution", arguments: `reexecutionParams: {parentRunId: "$run2", strategy: ALL_STEPS}`, done: "LaunchRunSuccess"},
		{mutation: "terminateRun", arguments: `runId: "$run1"`, done: "TerminateRunSuccess"},
		{mutation: "terminatePipelineExecution", arguments: `runId: "$run2", terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY`, done: "TerminateRunSuccess"},
		{mutation: "terminateRuns", arguments: `runIds: ["$run3", "$run4"]`, done: "TerminateRunsResult"},
		{mutation: "deleteRun", arguments: `runId: "$run1"`, done: "DeletePipelineRunSuccess"},
		{mutation: "deletePipelineRun", arguments: `runId: "$run2"`, done: "DeletePipelineRunSuccess"},

		{mutation: "startSchedule", arguments: `scheduleSelector: {` + inRepository + `, scheduleName: "schedule_$side"}`, done: "ScheduleStateResult"},
		{mutation: "stopRunningSchedule", arguments: `id: "$schedule"`, done: "ScheduleStateResult"},
		{mutation: "resetSchedule", arguments: `scheduleSelector: {` + inRepository + `, scheduleName: "schedule_$side"}`, done: "ScheduleStateResult"},
		{mutation: "scheduleDryRun", arguments: `selectorData: {` + inRepository + `, scheduleName: "schedule_$side"}, timestamp: 1700000000`, done: "DryRunInstigationTick", silent: true},
		{mutation: "startSensor", arguments: `sensorSelector: {` + inRepository + `, sensorName: "sensor_$side"}`, done: "Sensor"},
		{mutation: "setSensorCursor", arguments: `sensorSelector: {` + inRepository + `, sensorName: "sensor_$side"}, cursor: "moved"`, done: "Sensor"},
		{mutation: "stopSensor", arguments: `id: "$sensor"`, done: "StopSensorMutationResult"},
		{mutation: "resetSensor", arguments: `sensorSelector: {` + inRepository + `, sensorName: "sensor_$side"}`, done: "Sensor"},
		{mutation: "sensorDryRun", arguments: `selectorData: {` + inRepository + `, sensorName: "sensor_$side"}, cursor: "5"`, done: "DryRunInstigationTick", silent: true},

		{mutation: "launchPartitionBackfill", arguments: `backfillParams: {selector: {repositorySelector: {` + inRepository + `}, partitionSetName: "lettered_$side_partition_set"}, partitionNames: ["a"]}`, done: "LaunchBackfillSuccess"},
		{mutation: "launchPartitionBackfill", arguments: `backfillParams: {assetSelection: [{path: ["letters_$side"]}], partitionNames: ["a"], tags: [{key: "team", value: "blue"}]}`, done: "LaunchBackfillSuccess"},
		{mutation: "cancelPartitionBackfill", arguments: `backfillId: "$backfill1"`, done: "CancelBackfillSuccess"},
		{mutation: "resumePartitionBackfill", arguments: `backfillId: "$backfill2"`, done: "ResumeBackfillSuccess"},
		{mutation: "reexecutePartitionBackfill", arguments: `reexecutionParams: {parentRunId: "$backfill3", strategy: ALL_STEPS}`, done: "LaunchBackfillSuccess"},

		{mutation: "addDynamicPartition", arguments: `repositorySelector: {` + inRepository + `}, partitionsDefName: "dyn_$side", partitionKey: "new"`, done: "AddDynamicPartitionSuccess"},
		{mutation: "deleteDynamicPartitions", arguments: `repositorySelector: {` + inRepository + `}, partitionsDefName: "dyn_$side", partitionKeys: ["new"]`, done: "DeleteDynamicPartitionsSuccess"},
		{mutation: "reportRunlessAssetEvents", arguments: `eventParams: {eventType: ASSET_MATERIALIZATION, assetKey: {path: ["asset_$side"]}, description: "reported"}`, done: "ReportRunlessAssetEventsSuccess"},
		{mutation: "reportAssetCheckEvaluations", arguments: `eventParams: {assetKey: {path: ["asset_$side"]}, checkName: "check_$side", passed: true}`, done: "ReportAssetCheckEvaluationsSuccess"},
		{mutation: "wipeAssets", arguments: `assetPartitionRanges: [{assetKey: {path: ["asset_$side"]}}]`, done: "AssetWipeSuccess"},

		{mutation: "setAutoMaterializePaused", arguments: `paused: true`, done: "true", reset: `setAutoMaterializePaused(paused: false)`},
		{mutation: "setConcurrencyLimit", arguments: `concurrencyKey: "pool_$side", limit: 3`, done: "true"},
		{mutation: "deleteConcurrencyLimit", arguments: `concurrencyKey: "pool_$side"`, done: "true"},
		{mutation: "freeConcurrencySlotsForRun", arguments: `runId: "$run3"`, done: "true", silent: true},
		{mutation: "freeConcurrencySlots", arguments: `runId: "$run3", stepKey: "op_$side"`, done: "true", silent: true},

		// Dagster has no right for these two unless a developer's variable is set.
		{mutation: "setAppManagedComponent", arguments: `locationName: "defs.py", componentId: "$side", componentType: "none", attributes: "{}"`, done: "UnauthorizedError", silent: true},
		{mutation: "deleteAppManagedComponent", arguments: `locationName: "defs.py", componentId: "$side"`, done: "UnauthorizedError", silent: true},
		// The location has no component with a state.
		{mutation: "refreshComponentState", arguments: `locationName: "defs.py", defsStateKey: "$side"`, done: "RefreshComponentStateError", silent: true},

		{mutation: "logTelemetry", arguments: `action: "none", clientTime: "0", clientId: "none", metadata: "{}"`, done: "LogTelemetrySuccess", silent: true},
		{mutation: "setNuxSeen", done: "true", silent: true},

		{mutation: "reloadRepositoryLocation", arguments: `repositoryLocationName: "defs.py"`, done: "WorkspaceLocationEntry", silent: true},
		{mutation: "reloadWorkspace", done: "Workspace", silent: true},
		// Only gRPC servers of one's own can be shut down.
		{mutation: "shutdownRepositoryLocation", arguments: `repositoryLocationName: "defs.py"`, done: "PythonError", silent: true},
	}
}

// anyones are the mutations that Dagster checks nothing for, in any version.
var anyones = []string{"logTelemetry", "setNuxSeen"}

// booleans are those whose result has no word for a refusal: a read-only Dagster answers 500.
var booleans = []string{"setAutoMaterializePaused", "setConcurrencyLimit", "deleteConcurrencyLimit", "freeConcurrencySlotsForRun", "freeConcurrencySlots"}

// dryRuns are the mutations that a read-only Dagster before 1.13 runs.
var dryRuns = []string{"scheduleDryRun", "sensorDryRun"}

// codeFields are the fields of queries for which Dagster runs the code of pipelines; docs/decisions/0009 says how they were
// found.
var codeFields = []string{
	"DryRunInstigationTick.evaluationResult",
	"Partition.runConfigOrError", "Partition.tagsOrError",
	"PartitionTagsAndConfig.runConfigOrError", "PartitionTagsAndConfig.tagsOrError",
	"Query.executionPlanOrError", "Query.isPipelineConfigValid", "RunConfigSchema.isRunConfigValid",
}

// codeless are those that run no code in testdata/oracle.py, but may show what only code may see.
var codeless = []string{"Query.isPipelineConfigValid", "RunConfigSchema.isRunConfigValid"}

const inPipeline = `{` + inRepository + `, pipelineName: "mapped_left"}`

// codeQueries is a document for each of codeFields.
var codeQueries = map[string]string{
	"DryRunInstigationTick.evaluationResult": `{ tick: scheduleOrError(scheduleSelector: {` + inRepository + `, scheduleName: "schedule_left"}) {
		... on Schedule { futureTicks(limit: 1, cursor: 1700000000) { results { timestamp evaluationResult { runRequests { runConfigYaml } } } } } } }`,
	"Partition.runConfigOrError": `{ set: partitionSetOrError(repositorySelector: {` + inRepository + `}, partitionSetName: "lettered_left_partition_set") {
		... on PartitionSet { partition(partitionName: "a") { runConfigOrError { __typename ... on PartitionRunConfig { yaml } } } } } }`,
	"Partition.tagsOrError": `{ set: partitionSetOrError(repositorySelector: {` + inRepository + `}, partitionSetName: "lettered_left_partition_set") {
		... on PartitionSet { partition(partitionName: "a") { tagsOrError { __typename ... on PartitionTags { results { key value } } } } } } }`,
	"PartitionTagsAndConfig.runConfigOrError": `{ job: pipelineOrError(params: {` + inRepository + `, pipelineName: "lettered_left"}) {
		... on Pipeline { partition(partitionName: "a") { runConfigOrError { __typename ... on PartitionRunConfig { yaml } } } } } }`,
	"PartitionTagsAndConfig.tagsOrError": `{ job: pipelineOrError(params: {` + inRepository + `, pipelineName: "lettered_left"}) {
		... on Pipeline { partition(partitionName: "a") { tagsOrError { __typename ... on PartitionTags { results { key value } } } } } } }`,
	"Query.executionPlanOrError":       `{ plan: executionPlanOrError(pipeline: ` + inPipeline + `, mode: "default", runConfigData: {}) { __typename ... on ExecutionPlan { steps { key } } } }`,
	"Query.isPipelineConfigValid":      `{ valid: isPipelineConfigValid(pipeline: ` + inPipeline + `, mode: "default", runConfigData: {}) { __typename } }`,
	"RunConfigSchema.isRunConfigValid": `{ schema: runConfigSchemaOrError(selector: ` + inPipeline + `) { ... on RunConfigSchema { isRunConfigValid(runConfigData: {}) { __typename } } } }`,
}

// uiPermissions is what Dagster's UI sends once a page: fragments, and an alias where the eye expects a name.
const uiPermissions = `query PermissionsQuery {
	unscopedPermissions: permissions { ...PermissionFragment __typename }
	locationStatusesOrError {
		... on WorkspaceLocationStatusEntries {
			entries { id name permissions { ...PermissionFragment __typename } __typename }
			__typename
		}
		__typename
	}
}
fragment PermissionFragment on Permission { permission value disabledReason __typename }`

// mayRoots are arguments for the root fields that lead to permission fields. One that needs arguments and is not here fails the test.
var mayRoots = map[string]string{
	"workspaceLocationEntryOrError":     `name: "defs.py"`,
	"repositoryOrError":                 `repositorySelector: {` + inRepository + `}`,
	"pipelineOrError":                   `params: ` + inPipeline,
	"pipelineSnapshotOrError":           `activePipelineSelector: ` + inPipeline,
	"graphOrError":                      `selector: {` + inRepository + `, graphName: "job_left"}`,
	"scheduleOrError":                   `scheduleSelector: {` + inRepository + `, scheduleName: "schedule_left"}`,
	"schedulesOrError":                  `repositorySelector: {` + inRepository + `}`,
	"sensorOrError":                     `sensorSelector: {` + inRepository + `, sensorName: "sensor_left"}`,
	"sensorsOrError":                    `repositorySelector: {` + inRepository + `}`,
	"instigationStateOrError":           `instigationSelector: {` + inRepository + `, name: "schedule_left"}`,
	"instigationStatesOrError":          `repositoryID: "$repository"`,
	"partitionSetsOrError":              `repositorySelector: {` + inRepository + `}, pipelineName: "lettered_left"`,
	"partitionSetOrError":               `repositorySelector: {` + inRepository + `}, partitionSetName: "lettered_left_partition_set"`,
	"pipelineRunOrError":                `runId: "$run5"`,
	"runOrError":                        `runId: "$run5"`,
	"runGroupOrError":                   `runId: "$run5"`,
	"runsFeedOrError":                   `limit: 20, view: ROOTS`,
	"assetOrError":                      `assetKey: {path: ["asset_left"]}`,
	"assetNodeOrError":                  `assetKey: {path: ["asset_left"]}`,
	"partitionBackfillOrError":          `backfillId: "$backfill1"`,
	"assetsLatestInfo":                  `assetKeys: [{path: ["asset_left"]}]`,
	"assetNodeDefinitionCollisions":     `assetKeys: [{path: ["asset_left"]}]`,
	"topLevelResourceDetailsOrError":    `resourceSelector: {` + inRepository + `, resourceName: "io_manager"}`,
	"allTopLevelResourceDetailsOrError": `repositorySelector: {` + inRepository + `}`,
	"logsForRun":                        `runId: "$run5"`,
	"assetCheckExecutions":              `assetKey: {path: ["asset_left"]}, checkName: "check_left", limit: 5`,
}
