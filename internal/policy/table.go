package policy

import (
	"cmp"
	"slices"

	"dagster-authkit/internal/identity"
)

// Dagster's permissions, as the values of its Permissions enum on 1.13.
const (
	launchPipelineExecution    identity.Permission = "launch_pipeline_execution"
	launchPipelineReexecution  identity.Permission = "launch_pipeline_reexecution"
	startSchedule              identity.Permission = "start_schedule"
	stopRunningSchedule        identity.Permission = "stop_running_schedule"
	scheduleDryRun             identity.Permission = "schedule_dry_run"
	editSensor                 identity.Permission = "edit_sensor"
	sensorDryRun               identity.Permission = "sensor_dry_run"
	updateSensorCursor         identity.Permission = "update_sensor_cursor"
	terminatePipelineExecution identity.Permission = "terminate_pipeline_execution"
	deletePipelineRun          identity.Permission = "delete_pipeline_run"
	reloadRepositoryLocation   identity.Permission = "reload_repository_location"
	reloadWorkspace            identity.Permission = "reload_workspace"
	wipeAssets                 identity.Permission = "wipe_assets"
	reportRunlessAssetEvents   identity.Permission = "report_runless_asset_events"
	launchPartitionBackfill    identity.Permission = "launch_partition_backfill"
	cancelPartitionBackfill    identity.Permission = "cancel_partition_backfill"
	editDynamicPartitions      identity.Permission = "edit_dynamic_partitions"
	toggleAutoMaterialize      identity.Permission = "toggle_auto_materialize"
	editConcurrencyLimit       identity.Permission = "edit_concurrency_limit"
	editAppManagedComponents   identity.Permission = "edit_app_managed_components"
	refreshComponentState      identity.Permission = "refresh_component_state"
)

// leastRoles follows Dagster+: launchers launch, re-execute, terminate, delete and backfill; editors do everything else.
var leastRoles = map[identity.Permission]identity.Role{
	launchPipelineExecution:    identity.Launcher,
	launchPipelineReexecution:  identity.Launcher,
	terminatePipelineExecution: identity.Launcher,
	deletePipelineRun:          identity.Launcher,
	launchPartitionBackfill:    identity.Launcher,
	cancelPartitionBackfill:    identity.Launcher,
	startSchedule:              identity.Editor,
	stopRunningSchedule:        identity.Editor,
	scheduleDryRun:             identity.Editor,
	editSensor:                 identity.Editor,
	sensorDryRun:               identity.Editor,
	updateSensorCursor:         identity.Editor,
	reloadRepositoryLocation:   identity.Editor,
	reloadWorkspace:            identity.Editor,
	wipeAssets:                 identity.Editor,
	reportRunlessAssetEvents:   identity.Editor,
	editDynamicPartitions:      identity.Editor,
	toggleAutoMaterialize:      identity.Editor,
	editConcurrencyLimit:       identity.Editor,
	editAppManagedComponents:   identity.Editor,
	refreshComponentState:      identity.Editor,
}

// mutations names the permissions that each root field of Dagster's Mutation type needs, for 1.10 to 1.13. Where versions
// differ the newest counts. No permission at all: any signed-in person may (Dagster's UI sends them by itself, and Dagster
// checks nothing in any version).
var mutations = map[string][]identity.Permission{
	"launchPipelineExecution":     {launchPipelineExecution},
	"launchRun":                   {launchPipelineExecution},
	"launchMultipleRuns":          {launchPipelineExecution},
	"launchPipelineReexecution":   {launchPipelineReexecution},
	"launchRunReexecution":        {launchPipelineReexecution},
	"terminatePipelineExecution":  {terminatePipelineExecution},
	"terminateRun":                {terminatePipelineExecution},
	"terminateRuns":               {terminatePipelineExecution},
	"deletePipelineRun":           {deletePipelineRun},
	"deleteRun":                   {deletePipelineRun},
	"launchPartitionBackfill":     {launchPartitionBackfill},
	"resumePartitionBackfill":     {launchPartitionBackfill},
	"reexecutePartitionBackfill":  {launchPartitionBackfill},
	"cancelPartitionBackfill":     {cancelPartitionBackfill},
	"startSchedule":               {startSchedule},
	"stopRunningSchedule":         {stopRunningSchedule},
	"resetSchedule":               {startSchedule, stopRunningSchedule},
	"scheduleDryRun":              {scheduleDryRun},
	"startSensor":                 {editSensor},
	"stopSensor":                  {editSensor},
	"resetSensor":                 {editSensor},
	"setSensorCursor":             {updateSensorCursor},
	"sensorDryRun":                {sensorDryRun},
	"reloadRepositoryLocation":    {reloadRepositoryLocation},
	"shutdownRepositoryLocation":  {reloadRepositoryLocation},
	"reloadWorkspace":             {reloadWorkspace},
	"wipeAssets":                  {wipeAssets},
	"reportRunlessAssetEvents":    {reportRunlessAssetEvents},
	"reportAssetCheckEvaluations": {reportRunlessAssetEvents},
	"addDynamicPartition":         {editDynamicPartitions},
	"deleteDynamicPartitions":     {editDynamicPartitions, wipeAssets},
	"setAutoMaterializePaused":    {toggleAutoMaterialize},
	"setConcurrencyLimit":         {editConcurrencyLimit},
	"deleteConcurrencyLimit":      {editConcurrencyLimit},
	"freeConcurrencySlotsForRun":  {editConcurrencyLimit},
	"freeConcurrencySlots":        {editConcurrencyLimit},
	"setAppManagedComponent":      {editAppManagedComponents},
	"deleteAppManagedComponent":   {editAppManagedComponents},
	"refreshComponentState":       {refreshComponentState},
	"logTelemetry":                {},
	"setNuxSeen":                  {},
}

// Row is one permission in the table that people see.
type Row struct {
	Permission identity.Permission `json:"permission"`
	Role       identity.Role       `json:"role"` // the least that has it
	Mutations  []string            `json:"mutations"`
}

// Table lists every permission with the least role that has it and the mutations that need it, by role and name. The
// mutations that need none stand in a last row without a permission.
func Table() []Row {
	needing := map[identity.Permission][]string{}
	var free []string
	for field, permissions := range mutations {
		if len(permissions) == 0 {
			free = append(free, field)
		}
		for _, permission := range permissions {
			needing[permission] = append(needing[permission], field)
		}
	}
	rows := make([]Row, 0, len(leastRoles)+1)
	for permission, role := range leastRoles {
		rows = append(rows, Row{Permission: permission, Role: role, Mutations: slices.Sorted(slices.Values(needing[permission]))})
	}
	slices.SortFunc(rows, func(a, b Row) int {
		if a.Role != b.Role {
			if b.Role.Includes(a.Role) {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Permission, b.Permission)
	})
	slices.Sort(free)
	return append(rows, Row{Role: identity.Viewer, Mutations: free})
}
