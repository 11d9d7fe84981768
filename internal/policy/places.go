package policy

import (
	"strings"

	"dagster-authkit/internal/graphql"
)

// places collects where an action happens. Once a part of it can't be told, all of it is deployment-wide.
type places struct {
	references []Reference
	unknown    bool
}

func (p *places) where() []Reference {
	if p.unknown {
		return nil
	}
	return p.references
}

// named adds a thing by its name; the arguments may have no such name, or something that is no string.
func (p *places) named(kind Kind, value any) {
	name, ok := value.(string)
	if !ok || name == "" {
		p.unknown = true
		return
	}
	p.references = append(p.references, Reference{kind, name})
}

func (p *places) optional(kind Kind, value any) {
	if value != nil {
		p.named(kind, value)
	}
}

// each adds the things of a list, of which there must be one at least.
func (p *places) each(kind Kind, value any) {
	list := graphql.List(value)
	p.unknown = p.unknown || len(list) == 0
	for _, element := range list {
		p.named(kind, element)
	}
}

func (p *places) asset(path []string) {
	if len(path) == 0 {
		p.unknown = true
		return
	}
	p.references = append(p.references, Reference{Asset, AssetID(path)})
}

// assetKey adds an asset by Dagster's input {path: [String!]!}.
func (p *places) assetKey(value any) {
	parts := graphql.List(member(value, "path"))
	path := make([]string, 0, len(parts))
	for _, part := range parts {
		part, ok := part.(string)
		p.unknown = p.unknown || !ok
		path = append(path, part)
	}
	p.asset(path)
}

// assetKeys adds the asset keys of a list; name is the member that holds the key, or empty when each element is one.
func (p *places) assetKeys(value any, name string) {
	for _, element := range graphql.List(value) {
		if name != "" {
			element = member(element, name)
		}
		p.assetKey(element)
	}
}

// pair adds an instigator by Dagster's "<origin>::<selector>".
func (p *places) pair(origin, selector Kind, value any) {
	id, _ := value.(string)
	first, second, _ := strings.Cut(id, "::")
	p.named(origin, first)
	p.named(selector, second)
}

// member is a member of an input object, nil where there is none.
func member(value any, names ...string) any {
	for _, name := range names {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[name]
	}
	return value
}

// wherefore finds the things whose code locations Dagster looks at for a mutation, and those that it should: of a schedule or
// sensor that is stopped by two IDs Dagster checks the one and stops the other, and it takes a parent run from anywhere.
func wherefore(mutation string, arguments map[string]any) []Reference {
	find, known := finders[mutation]
	if !known || arguments == nil {
		return nil
	}
	var p places
	find(&p, arguments)
	return p.where()
}

// finders has no entry for what Dagster checks for the whole deployment: reloadWorkspace, setAutoMaterializePaused and the
// concurrency limits.
var finders = map[string]func(*places, map[string]any){
	"launchRun":                   launch,
	"launchPipelineExecution":     launch,
	"launchMultipleRuns":          launchEach,
	"launchRunReexecution":        relaunch,
	"launchPipelineReexecution":   relaunch,
	"terminateRun":                byID(Run, "runId"),
	"terminatePipelineExecution":  byID(Run, "runId"),
	"deleteRun":                   byID(Run, "runId"),
	"deletePipelineRun":           byID(Run, "runId"),
	"terminateRuns":               func(p *places, a map[string]any) { p.each(Run, a["runIds"]) },
	"launchPartitionBackfill":     backfill,
	"resumePartitionBackfill":     byID(Backfill, "backfillId"),
	"cancelPartitionBackfill":     byID(Backfill, "backfillId"),
	"reexecutePartitionBackfill":  byID(Backfill, "reexecutionParams", "parentRunId"),
	"startSchedule":               byID(Location, "scheduleSelector", "repositoryLocationName"),
	"resetSchedule":               byID(Location, "scheduleSelector", "repositoryLocationName"),
	"scheduleDryRun":              byID(Location, "selectorData", "repositoryLocationName"),
	"startSensor":                 byID(Location, "sensorSelector", "repositoryLocationName"),
	"resetSensor":                 byID(Location, "sensorSelector", "repositoryLocationName"),
	"setSensorCursor":             byID(Location, "sensorSelector", "repositoryLocationName"),
	"sensorDryRun":                byID(Location, "selectorData", "repositoryLocationName"),
	"stopRunningSchedule":         stop(ScheduleOrigin, ScheduleSelector, "scheduleOriginId", "scheduleSelectorId"),
	"stopSensor":                  stop(SensorOrigin, SensorSelector, "jobOriginId", "jobSelectorId"),
	"reloadRepositoryLocation":    byID(Location, "repositoryLocationName"),
	"shutdownRepositoryLocation":  byID(Location, "repositoryLocationName"),
	"addDynamicPartition":         byID(Location, "repositorySelector", "repositoryLocationName"),
	"deleteDynamicPartitions":     byID(Location, "repositorySelector", "repositoryLocationName"),
	"setAppManagedComponent":      byID(Location, "locationName"),
	"deleteAppManagedComponent":   byID(Location, "locationName"),
	"refreshComponentState":       byID(Location, "locationName"),
	"wipeAssets":                  func(p *places, a map[string]any) { p.assetKeys(a["assetPartitionRanges"], "assetKey") },
	"reportRunlessAssetEvents":    func(p *places, a map[string]any) { p.assetKey(member(a, "eventParams", "assetKey")) },
	"reportAssetCheckEvaluations": func(p *places, a map[string]any) { p.assetKey(member(a, "eventParams", "assetKey")) },
}

func byID(kind Kind, names ...string) func(*places, map[string]any) {
	return func(p *places, arguments map[string]any) { p.named(kind, member(arguments, names...)) }
}

func launch(p *places, arguments map[string]any) { execution(p, arguments["executionParams"]) }

func launchEach(p *places, arguments map[string]any) {
	list := graphql.List(arguments["executionParamsList"])
	p.unknown = len(list) == 0
	for _, element := range list {
		execution(p, element)
	}
}

// implicitAssetJob begins the name of the jobs that Dagster makes of a location's assets; for them it looks at the locations
// of the selected assets.
const implicitAssetJob = "__ASSET_JOB"

// tagKinds are the run tags that tie a run to something which may live elsewhere: to a parent, as parentRunId and rootRunId do,
// and to a backfill, which skips the partitions that it takes for launched.
var tagKinds = map[string]Kind{
	"dagster/parent_run_id": Run, "dagster/root_run_id": Run,
	"dagster/backfill": Backfill, "dagster/parent_backfill_id": Backfill, "dagster/root_backfill_id": Backfill,
}

// tags adds what Dagster's list of ExecutionTag ties a run to.
func (p *places) tags(value any) {
	for _, tag := range graphql.List(value) {
		key, _ := member(tag, "key").(string)
		if kind, ties := tagKinds[key]; ties {
			p.named(kind, member(tag, "value"))
		}
	}
}

// execution reads Dagster's input ExecutionParams.
func execution(p *places, params any) {
	selector := member(params, "selector")
	p.named(Location, member(selector, "repositoryLocationName"))
	if strings.HasPrefix(text(selector, "jobName"), implicitAssetJob) || strings.HasPrefix(text(selector, "pipelineName"), implicitAssetJob) {
		assets, checks := member(selector, "assetSelection"), member(selector, "assetCheckSelection")
		// Without any the job is all of the location's assets, those that other locations define too.
		p.unknown = p.unknown || len(graphql.List(assets))+len(graphql.List(checks)) == 0
		p.assetKeys(assets, "")
		p.assetKeys(checks, "assetKey")
	}
	metadata := member(params, "executionMetadata")
	p.optional(Run, member(metadata, "parentRunId"))
	p.optional(Run, member(metadata, "rootRunId"))
	p.tags(member(metadata, "tags"))
}

func relaunch(p *places, arguments map[string]any) {
	if params := arguments["executionParams"]; params != nil {
		execution(p, params)
	}
	if params := arguments["reexecutionParams"]; params != nil {
		p.named(Run, member(params, "parentRunId"))
		p.tags(member(params, "extraTags"))
	}
}

// backfill may be of a job, of assets, or name both.
func backfill(p *places, arguments map[string]any) {
	params := arguments["backfillParams"]
	if selector := member(params, "selector"); selector != nil {
		p.named(Location, member(selector, "repositorySelector", "repositoryLocationName"))
	}
	p.assetKeys(member(params, "assetSelection"), "")
	p.assetKeys(member(params, "partitionsByAssets"), "assetKey")
	p.tags(member(params, "tags"))
}

func stop(origin, selector Kind, originID, selectorID string) func(*places, map[string]any) {
	return func(p *places, arguments map[string]any) {
		if id := arguments["id"]; id != nil {
			p.pair(origin, selector, id)
		}
		if arguments[originID] != nil || arguments[selectorID] != nil {
			p.named(origin, arguments[originID])
			p.named(selector, arguments[selectorID])
		}
	}
}
