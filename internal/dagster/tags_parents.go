package dagster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
)

const reexecutionParams = "reexecutionParams"

// reexecutions are the mutations in which reexecutionParams.parentRunId is a run; for backfills it is a backfill.
var reexecutions = map[string]bool{"launchRunReexecution": true, "launchPipelineReexecution": true}

// Parents are the tags that re-executions by the parent's ID are to inherit, by that ID, where Dagster itself would let
// them inherit too much: a run that a schedule or sensor launched says so in its tags, so would its re-execution by a
// person, and an extra tag can replace such a tag but not take it away.
type Parents map[string]map[string]string

// Parents asks Dagster for the tags of the runs that the operation re-executes by their IDs. It asks nothing if there are
// none. A run that has nothing to hide, or that Dagster does not know, is absent.
func (u *Upstream) Parents(ctx context.Context, base *url.URL, op *graphql.Operation) (Parents, error) {
	ids := reexecuted(op)
	if len(ids) == 0 || !u.inheritanceCanBeChosen() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	known, err := u.askRuns(ctx, base, ids)
	if err != nil {
		return nil, fmt.Errorf("asking Dagster for runs: %w", err)
	}
	runs := map[string]map[string]string{}
	for id, run := range known {
		runs[id] = run.Tags
	}
	running, err := u.runningBackfills(ctx, base, runs)
	if err != nil {
		return nil, fmt.Errorf("asking Dagster for the backfills of runs: %w", err)
	}
	parents := Parents{}
	for id, tags := range runs {
		if slices.ContainsFunc(creatorTags, func(key string) bool { return inherits(tags, key) }) {
			parents[id] = inherited(tags, running[tags[backfillTag]])
		}
	}
	return parents, nil
}

// Runs asks Dagster for the jobs and tags of runs. A run that it does not know is absent.
func (u *Upstream) Runs(ctx context.Context, base *url.URL, ids []string) (map[string]policy.KnownRun, error) {
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	runs, err := u.askRuns(ctx, base, slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return len(id) > maxID }))
	if err != nil {
		return nil, fmt.Errorf("asking Dagster for runs: %w", err)
	}
	return runs, nil
}

// inheritanceCanBeChosen reports whether this Dagster knows useParentRunTags.
func (u *Upstream) inheritanceCanBeChosen() bool {
	schema := u.Schema()
	if schema == nil {
		return false
	}
	params := schema.Raw().Types["ReexecutionParams"]
	return params != nil && params.Fields.ForName("useParentRunTags") != nil && params.Fields.ForName("extraTags") != nil
}

// reexecuted are the IDs of the runs that the operation re-executes with their tags, each once.
func reexecuted(op *graphql.Operation) []string {
	found := map[string]bool{}
	for _, field := range op.Fields {
		if !reexecutions[field.Name] {
			continue
		}
		arguments, err := op.Arguments(field)
		if err != nil {
			continue // Edit says so
		}
		params, _ := arguments[reexecutionParams].(map[string]any)
		id, _ := params["parentRunId"].(string)
		if id != "" && len(id) <= maxID && params["useParentRunTags"] != false {
			found[id] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

const askAboutRuns = `query AuthKitRuns($runs: [String!], $limit: Int) {
  runs: runsOrError(filter: {runIds: $runs}, limit: $limit) { __typename ... on Runs { results {
    runId pipelineName repositoryOrigin { repositoryLocationName repositoryName } tags { key value } } } } }`

func (u *Upstream) askRuns(ctx context.Context, base *url.URL, ids []string) (map[string]policy.KnownRun, error) {
	data, err := u.query(ctx, base, askAboutRuns, map[string]any{"runs": ids, "limit": len(ids)})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Type    string `json:"__typename"`
		Results []struct {
			RunID  string `json:"runId"`
			Job    string `json:"pipelineName"`
			Origin struct {
				Location   string `json:"repositoryLocationName"`
				Repository string `json:"repositoryName"`
			} `json:"repositoryOrigin"`
			Tags []struct{ Key, Value string }
		}
	}
	if err := decode(data["runs"], &answer); err != nil {
		return nil, err
	}
	if answer.Type != "Runs" {
		return nil, unexpected("runs", answer.Type)
	}
	runs := map[string]policy.KnownRun{}
	for _, run := range answer.Results {
		tags := map[string]string{}
		for _, tag := range run.Tags {
			tags[tag.Key] = tag.Value
		}
		runs[run.RunID] = policy.KnownRun{Job: policy.Job{Location: run.Origin.Location, Repository: run.Origin.Repository, Name: run.Job}, Tags: tags}
	}
	return runs, nil
}

// runningBackfills are those of the runs' backfills that still launch runs: only to them a re-execution belongs.
func (u *Upstream) runningBackfills(ctx context.Context, base *url.URL, runs map[string]map[string]string) (map[string]bool, error) {
	var ids, declared, fields []string
	variables := map[string]any{}
	for _, tags := range runs {
		if id := tags[backfillTag]; id != "" && !slices.Contains(ids, id) {
			name := fmt.Sprintf("b%d", len(ids))
			ids, variables[name] = append(ids, id), id
			declared = append(declared, "$"+name+": String!")
			fields = append(fields, name+": partitionBackfillOrError(backfillId: $"+name+") { ... on PartitionBackfill { status } }")
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	document := "query AuthKitBackfills(" + strings.Join(declared, ", ") + ") { " + strings.Join(fields, " ") + " }"
	data, err := u.query(ctx, base, document, variables)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for i, id := range ids {
		var answer struct{ Status string }
		if err := json.Unmarshal(data[fmt.Sprintf("b%d", i)], &answer); err != nil {
			return nil, err
		}
		running[id] = answer.Status == "REQUESTED"
	}
	return running, nil
}

const backfillTag = "dagster/backfill"

// inherited are the tags that Dagster's create_reexecuted_run takes over from a parent, but for those that name its
// creator. Tags that Dagster hides from its API it sets anew for each run.
func inherited(tags map[string]string, backfillRuns bool) map[string]string {
	kept := maps.Clone(tags)
	maps.DeleteFunc(kept, func(key, _ string) bool {
		switch key {
		case "dagster/run_metrics", "dagster/failure_reason", "dagster/is_resume_retry", "dagster/will_retry", "dagster/auto_retry_run_id":
			return true
		case backfillTag, "dagster/parent_backfill_id", "dagster/root_backfill_id":
			return !backfillRuns
		}
		return slices.Contains(creatorTags, key)
	})
	return kept
}

// inherits reports whether Dagster lets a re-execution of the tags inherit this one; it counts automatic retries anew.
func inherits(tags map[string]string, creatorTag string) bool {
	_, has := tags[creatorTag]
	return has && creatorTag != "dagster/retry_number"
}

// reexecution signs the whole of reexecutionParams. Where Dagster would let the run inherit its parent's creator, it is
// told not to let it inherit anything, and given the rest as extra tags, before the client's own, so that those win.
func (s signature) reexecution(given any) any {
	params, ok := given.(map[string]any)
	if !ok {
		return given
	}
	changed := maps.Clone(params)
	extra := graphql.List(params["extraTags"])
	id, _ := params["parentRunId"].(string)
	if tags, known := s.parents[id]; known && params["useParentRunTags"] != false {
		changed["useParentRunTags"] = false
		all := make([]any, 0, len(tags)+len(extra))
		for _, key := range slices.Sorted(maps.Keys(tags)) {
			all = append(all, runTag(key, tags[key]))
		}
		extra = append(all, extra...)
	}
	changed["extraTags"] = s.tags(extra)
	return changed
}
