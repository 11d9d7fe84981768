package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scoped is a mutation that Dagster checks in a code location. prepare is run by somebody who may do everything; its answer,
// an ID, goes to call.
type scoped struct {
	name    string
	prepare func(t *testing.T, p place, ed *client) string
	call    func(p place, id string) call
	// unseen is what leaves nothing behind even when it is allowed.
	unseen bool
	since  int // the minor version of Dagster 1 that has it first
}

// aRun and aBackfill prepare one that lives in the location.
func aRun(t *testing.T, p place, ed *client) string {
	t.Helper()
	return p.run(ed)
}

func aBackfill(t *testing.T, p place, ed *client) string {
	t.Helper()
	return p.backfill(ed)
}

func canceledBackfill(t *testing.T, p place, ed *client) string {
	t.Helper()
	id := p.backfill(ed)
	if refused, got := ed.try(one("cancelPartitionBackfill", "", "backfillId", id), "literals"); refused {
		t.Fatal(got.Body)
	}
	return id
}

// does has somebody do a call before the one that is tried.
func does(before func(p place) call) func(*testing.T, place, *client) string {
	return func(t *testing.T, p place, ed *client) string {
		t.Helper()
		if refused, got := ed.try(before(p), "literals"); refused || got.Status != 200 {
			t.Fatalf("preparing: got %d %s", got.Status, got.Body)
		}
		return ""
	}
}

func bySelector(field, argument, kind, name, thing string) func(place, string) call {
	return func(p place, _ string) call {
		return call{field, map[string]any{argument: p.with(name, thing)}, map[string]string{argument: kind}, message}
	}
}

func byRun(field, argument string) func(place, string) call {
	return func(_ place, id string) call { return one(field, "", argument, id) }
}

func byPlace(field, argument string) func(place, string) call {
	return func(p place, _ string) call { return one(field, "", argument, p.file) }
}

func reexecution(field string) func(place, string) call {
	return func(_ place, id string) call {
		params := map[string]any{"parentRunId": id, "strategy": enum("ALL_STEPS")}
		return call{field, map[string]any{"reexecutionParams": params}, map[string]string{"reexecutionParams": "ReexecutionParams"}, launched}
	}
}

func startOf(field, argument, kind, name, thing string) func(place) call {
	return func(p place) call { return bySelector(field, argument, kind, name, thing)(p, "") }
}

var (
	startsSchedule = startOf("startSchedule", "scheduleSelector", "ScheduleSelector!", "scheduleName", "schedule")
	startsSensor   = startOf("startSensor", "sensorSelector", "SensorSelector!", "sensorName", "sensor")
)

func addsPartition(p place) call {
	return call{
		"addDynamicPartition",
		map[string]any{"repositorySelector": p.repository(), "partitionsDefName": p.name + "_dyn", "partitionKey": "added"},
		map[string]string{"repositorySelector": "RepositorySelector!", "partitionsDefName": "String!", "partitionKey": "String!"},
		`{ __typename ... on UnauthorizedError { message } ... on PythonError { message } ... on DuplicateDynamicPartitionError { partitionName } }`,
	}
}

func reportsAsset(p place) call {
	return call{
		"reportRunlessAssetEvents",
		map[string]any{"eventParams": map[string]any{"eventType": enum("ASSET_MATERIALIZATION"), "assetKey": p.asset("_asset")}},
		map[string]string{"eventParams": "ReportRunlessAssetEventsParams!"},
		message,
	}
}

// scopedMutations are all of Dagster 1.10 to 1.13 that it checks in a code location.
func scopedMutations() []scoped {
	return []scoped{
		{name: "launchRun", call: func(p place, _ string) call { return p.launch(nil) }},
		{name: "launchPipelineExecution", call: func(p place, _ string) call {
			c := p.launch(nil)
			c.field = "launchPipelineExecution"
			return c
		}},
		{name: "launchMultipleRuns", call: func(p place, _ string) call {
			list := []any{p.execution(nil), p.execution(nil)}
			return call{"launchMultipleRuns", map[string]any{"executionParamsList": list}, map[string]string{"executionParamsList": "[ExecutionParams!]!"}, launchErr}
		}},
		{name: "launchRunReexecution, executionParams", prepare: aRun, call: func(p place, id string) call {
			return p.reexecute(map[string]any{"parentRunId": id, "rootRunId": id})
		}},
		{name: "launchPipelineReexecution, executionParams", prepare: aRun, call: func(p place, id string) call {
			c := p.reexecute(map[string]any{"parentRunId": id, "rootRunId": id})
			c.field = "launchPipelineReexecution"
			return c
		}},
		{name: "launchRunReexecution, reexecutionParams", prepare: aRun, call: reexecution("launchRunReexecution")},
		{name: "launchPipelineReexecution, reexecutionParams", prepare: aRun, call: reexecution("launchPipelineReexecution")},
		{name: "terminateRun", prepare: aRun, call: terminate("terminateRun")},
		{name: "terminatePipelineExecution", prepare: aRun, call: terminate("terminatePipelineExecution")},
		{name: "terminateRuns", prepare: aRun, call: terminates},
		{name: "deleteRun", prepare: aRun, call: byRun("deleteRun", "runId")},
		{name: "deletePipelineRun", prepare: aRun, call: byRun("deletePipelineRun", "runId")},
		{name: "launchPartitionBackfill of a job", call: func(p place, _ string) call { return p.launchBackfill() }},
		{name: "launchPartitionBackfill of assets", call: func(p place, _ string) call {
			return backfillCall(map[string]any{"assetSelection": []any{p.asset("_parts")}, "partitionNames": []any{"one"}})
		}},
		{name: "launchPartitionBackfill by asset", call: func(p place, _ string) call {
			ranges := map[string]any{"ranges": []any{map[string]any{"start": "one", "end": "two"}}}
			return backfillCall(map[string]any{"partitionsByAssets": []any{map[string]any{"assetKey": p.asset("_parts"), "partitions": ranges}}})
		}},
		{name: "cancelPartitionBackfill", prepare: aBackfill, call: byRun("cancelPartitionBackfill", "backfillId")},
		{name: "resumePartitionBackfill", prepare: canceledBackfill, call: byRun("resumePartitionBackfill", "backfillId")},
		{name: "reexecutePartitionBackfill", prepare: aBackfill, unseen: true, call: reexecutesBackfill},
		{name: "startSchedule", call: bySelector("startSchedule", "scheduleSelector", "ScheduleSelector!", "scheduleName", "schedule")},
		{name: "stopRunningSchedule, two IDs", prepare: does(startsSchedule), call: func(p place, _ string) call {
			return one("stopRunningSchedule", "", "scheduleOriginId", p.scheduleOrigin, "scheduleSelectorId", p.scheduleSelector)
		}},
		{name: "resetSchedule", prepare: does(startsSchedule), call: bySelector("resetSchedule", "scheduleSelector", "ScheduleSelector!", "scheduleName", "schedule")},
		{name: "stopRunningSchedule, one ID", prepare: does(startsSchedule), call: func(p place, _ string) call {
			return one("stopRunningSchedule", "", "id", p.scheduleOrigin+"::"+p.scheduleSelector)
		}},
		{name: "scheduleDryRun", call: dryRun("scheduleDryRun", "ScheduleSelector!", "scheduleName", "schedule")},
		{name: "startSensor", call: bySelector("startSensor", "sensorSelector", "SensorSelector!", "sensorName", "sensor")},
		{name: "setSensorCursor", call: func(p place, _ string) call {
			c := bySelector("setSensorCursor", "sensorSelector", "SensorSelector!", "sensorName", "sensor")(p, "")
			c.arguments["cursor"], c.types["cursor"] = "moved", "String"
			return c
		}},
		{name: "stopSensor, two IDs", prepare: does(startsSensor), call: func(p place, _ string) call {
			return one("stopSensor", "", "jobOriginId", p.sensorOrigin, "jobSelectorId", p.sensorSelector)
		}},
		{name: "resetSensor", prepare: does(startsSensor), call: bySelector("resetSensor", "sensorSelector", "SensorSelector!", "sensorName", "sensor")},
		{name: "stopSensor, one ID", prepare: does(startsSensor), call: func(p place, _ string) call {
			return one("stopSensor", "", "id", p.sensorOrigin+"::"+p.sensorSelector)
		}},
		{name: "sensorDryRun", call: dryRun("sensorDryRun", "SensorSelector!", "sensorName", "sensor")},
		{name: "addDynamicPartition", call: func(p place, _ string) call { return addsPartition(p) }},
		{name: "deleteDynamicPartitions", call: deletesPartition},
		{name: "reportRunlessAssetEvents", call: func(p place, _ string) call { return reportsAsset(p) }},
		{name: "reportAssetCheckEvaluations", since: 12, call: reportsCheck},
		{name: "wipeAssets", prepare: does(reportsAsset), call: wipes},
		{name: "setAppManagedComponent", since: 13, unseen: true, call: func(p place, _ string) call {
			return one("setAppManagedComponent", "", "locationName", p.file, "componentId", "c", "componentType", "x.Y", "attributes", "{}")
		}},
		{name: "deleteAppManagedComponent", since: 13, unseen: true, call: func(p place, _ string) call {
			return one("deleteAppManagedComponent", "", "locationName", p.file, "componentId", "c")
		}},
		{name: "refreshComponentState", since: 13, unseen: true, call: func(p place, _ string) call {
			return one("refreshComponentState", "", "locationName", p.file, "defsStateKey", "k")
		}},
		{name: "reloadRepositoryLocation", call: byPlace("reloadRepositoryLocation", "repositoryLocationName")},
	}
}

func terminate(field string) func(place, string) call {
	return func(_ place, id string) call {
		return one(field, `{ __typename ... on TerminateRunFailure { message } ... on Error { message } }`, "runId", id)
	}
}

func terminates(_ place, id string) call {
	return call{
		"terminateRuns",
		map[string]any{"runIds": []any{id}},
		map[string]string{"runIds": "[String!]!"},
		`{ __typename ... on TerminateRunsResult { terminateRunResults { __typename ... on TerminateRunFailure { message } } } }`,
	}
}

func reexecutesBackfill(_ place, id string) call {
	params := map[string]any{"parentRunId": id, "strategy": enum("ALL_STEPS")}
	return call{"reexecutePartitionBackfill", map[string]any{"reexecutionParams": params}, map[string]string{"reexecutionParams": "ReexecutionParams"}, message}
}

func dryRun(field, kind, name, thing string) func(place, string) call {
	return func(p place, _ string) call {
		c := call{
			field,
			map[string]any{"selectorData": p.with(name, thing)},
			map[string]string{"selectorData": kind},
			`{ __typename ... on DryRunInstigationTick { evaluationResult { skipReason } } ... on Error { message } }`,
		}
		if field == "scheduleDryRun" {
			c.arguments["timestamp"], c.types["timestamp"] = 1893456000, "Float"
		} else {
			c.arguments["cursor"], c.types["cursor"] = "", "String"
		}
		return c
	}
}

func deletesPartition(p place, _ string) call {
	return call{
		"deleteDynamicPartitions",
		map[string]any{"repositorySelector": p.repository(), "partitionsDefName": p.name + "_dyn", "partitionKeys": []any{"added"}},
		map[string]string{"repositorySelector": "RepositorySelector!", "partitionsDefName": "String!", "partitionKeys": "[String!]!"},
		`{ __typename ... on UnauthorizedError { message } ... on PythonError { message } }`,
	}
}

func reportsCheck(p place, _ string) call {
	params := map[string]any{"assetKey": p.asset("_asset"), "checkName": "check", "passed": true}
	return call{"reportAssetCheckEvaluations", map[string]any{"eventParams": params}, map[string]string{"eventParams": "ReportAssetCheckEvaluationsParams!"}, message}
}

func wipes(p place, _ string) call {
	ranges := []any{map[string]any{"assetKey": p.asset("_asset")}}
	return call{"wipeAssets", map[string]any{"assetPartitionRanges": ranges}, map[string]string{"assetPartitionRanges": "[PartitionsByAssetSelector!]!"}, message}
}

// wide are the mutations that Dagster checks for the whole deployment; no grant helps there.
func wide() []call {
	return []call{
		{"reloadWorkspace", nil, nil, message},
		{"setConcurrencyLimit", map[string]any{"concurrencyKey": "k", "limit": 3}, map[string]string{"concurrencyKey": "String!", "limit": "Int!"}, ""},
		{"deleteConcurrencyLimit", map[string]any{"concurrencyKey": "k"}, map[string]string{"concurrencyKey": "String!"}, ""},
		{"freeConcurrencySlots", map[string]any{"runId": "nope"}, map[string]string{"runId": "String!"}, ""},
		{"freeConcurrencySlotsForRun", map[string]any{"runId": "nope"}, map[string]string{"runId": "String!"}, ""},
		{"setAutoMaterializePaused", map[string]any{"paused": true}, map[string]string{"paused": "Boolean!"}, ""},
	}
}

// granted is a kit with two code locations and people who hold different roles in them.
type granted struct {
	*kit
	a, b           place
	anna, bert, ed *client // editors in a, in b, and everywhere; the first two are viewers elsewhere
	carl           *client // an editor in a and in b, a viewer elsewhere
}

func startGranted(t *testing.T, o options) granted {
	t.Helper()
	g := granted{kit: startLocations(t, o)}
	g.ed = g.signIn("ed")
	g.settled(g.ed)
	g.a, g.b = placeOf(t, g.ed, "loc_a.py"), placeOf(t, g.ed, "loc_b.py")
	g.anna = g.person("anna", "viewer", "editor loc_a.py")
	g.bert = g.person("bert", "viewer", "editor loc_b.py")
	g.carl = g.person("carl", "viewer", "editor loc_a.py", "editor loc_b.py")
	return g
}

// refuses tries a call in every form and wants it refused, and nothing changed.
func (g granted) refuses(t *testing.T, what string, c *client, call call) {
	t.Helper()
	before := g.everything()
	for _, form := range forms {
		if refused, got := c.try(call, form); !refused {
			t.Errorf("%s, %s: not refused: %d %s", what, form, got.Status, got.Body)
		}
	}
	if after := g.everything(); after != before {
		t.Errorf("%s was refused and changed something:\n%s\nto\n%s", what, before, after)
	}
}

// allows tries a call in one form and wants it done.
func (g granted) allows(t *testing.T, what string, c *client, call call, form string, unseen bool) {
	t.Helper()
	before := g.everything()
	refused, got := c.try(call, form)
	switch {
	case refused || strings.Contains(got.Body, "UnauthorizedError") && !unseen || strings.Contains(got.Body, "GRAPHQL_VALIDATION"):
		t.Errorf("%s, %s: refused: %d %s", what, form, got.Status, got.Body)
	case !unseen && g.everything() == before:
		t.Errorf("%s, %s: changed nothing: %d %s", what, form, got.Status, got.Body)
	}
}

// TestGrants has two code locations and people with a role in one each, and looks at what came of everything that they tried.
func TestGrants(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "authkit.yaml")
	if err := os.WriteFile(config, []byte(customRoles), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGranted(t, options{env: []string{"DAGSTER_AUTH_CONFIG=" + config}})
	t.Run("across locations", g.acrossLocations)
	t.Run("with the next request", g.takeEffect)
	t.Run("queries that run code", g.queriesThatRunCode)
	t.Run("custom roles", g.customRoles)
	t.Run("protected tags", g.protectedTags)
	t.Run("every mutation", g.everyMutation)
}

const customRoles = `roles:
  - name: operator
    permissions: [start_schedule, stop_running_schedule]
  - name: runner
    permissions: [launch_pipeline_execution]
`

// everyMutation tries each that Dagster checks in a code location, in two of them, by two people who are editors in one each
// and viewers elsewhere.
func (g granted) everyMutation(t *testing.T) {
	for i, s := range scopedMutations() {
		if s.since > 0 && dagsterBefore(s.since) {
			continue
		}
		for j, side := range []struct {
			at            place
			other, editor *client
		}{{g.a, g.bert, g.anna}, {g.b, g.anna, g.bert}} {
			what := s.name + " in " + side.at.file
			id := ""
			if s.prepare != nil {
				id = s.prepare(t, side.at, g.ed)
			}
			call := s.call(side.at, id)
			g.refuses(t, what+" by the other's editor", side.other, call)
			g.allows(t, what+" by its editor", side.editor, call, forms[(i+j)%len(forms)], s.unseen)
		}
	}
	for _, call := range wide() {
		g.refuses(t, call.field+" by an editor of both", g.carl, call)
		if refused, got := g.ed.try(call, "literals"); refused {
			t.Errorf("the control, %s by an editor everywhere: %s", call.field, got.Body)
		}
	}
	// Last, and the refusals first: Dagster starts the location's code server again in its own time, which leaves marks.
	shutdown := byPlace("shutdownRepositoryLocation", "repositoryLocationName")
	g.refuses(t, "shutdownRepositoryLocation in a by b's editor", g.bert, shutdown(g.a, ""))
	g.refuses(t, "shutdownRepositoryLocation in b by a's editor", g.anna, shutdown(g.b, ""))
	g.allows(t, "shutdownRepositoryLocation in a by its editor", g.anna, shutdown(g.a, ""), "literals", true)
	g.allows(t, "shutdownRepositoryLocation in b by its editor", g.bert, shutdown(g.b, ""), "variables", true)
}

// acrossLocations: what belongs to two code locations takes a role in both, and what nobody knows one everywhere.
func (g granted) acrossLocations(t *testing.T) {
	for _, p := range []place{g.a, g.b} {
		for _, start := range []func(place) call{startsSchedule, startsSensor} {
			if refused, got := g.ed.try(start(p), "literals"); refused || got.Status != 200 {
				t.Fatal(got.Body)
			}
		}
	}
	// Dagster checks the location of the origin and stops the instigator of the selector.
	for _, mixed := range []call{
		one("stopRunningSchedule", "", "scheduleOriginId", g.a.scheduleOrigin, "scheduleSelectorId", g.b.scheduleSelector),
		one("stopRunningSchedule", "", "scheduleOriginId", g.b.scheduleOrigin, "scheduleSelectorId", g.a.scheduleSelector),
		one("stopRunningSchedule", "", "id", g.a.scheduleOrigin+"::"+g.b.scheduleSelector),
		one("stopRunningSchedule", "", "id", g.a.scheduleOrigin),
		one("stopSensor", "", "jobOriginId", g.a.sensorOrigin, "jobSelectorId", g.b.sensorSelector),
		one("stopSensor", "", "jobOriginId", g.b.sensorOrigin, "jobSelectorId", g.a.sensorSelector),
		one("stopSensor", "", "id", g.a.sensorOrigin+"::"+g.b.sensorSelector),
		// A schedule's IDs are no sensor's.
		one("stopSensor", "", "id", g.a.scheduleOrigin+"::"+g.b.scheduleSelector),
	} {
		g.refuses(t, mixed.field+" with mixed IDs, by the editor of the first", g.anna, mixed)
		g.refuses(t, mixed.field+" with mixed IDs, by the editor of the second", g.bert, mixed)
	}

	// The control: their own pairs, by whoever may in both.
	g.stopAll(t, g.carl)

	inA, inB := g.a.run(g.ed), g.b.run(g.ed)
	for what, metadata := range map[string]map[string]any{
		"parentRunId": {"parentRunId": inB, "rootRunId": inA},
		"rootRunId":   {"parentRunId": inA, "rootRunId": inB},
		"parent tag":  {"tags": []any{map[string]any{"key": "dagster/parent_run_id", "value": inB}}},
		"root tag":    {"tags": []any{map[string]any{"key": "dagster/root_run_id", "value": inB}}},
	} {
		g.refuses(t, "launchRunReexecution with another location's run as "+what, g.anna, g.a.reexecute(metadata))
		g.refuses(t, "launchRun with another location's run as "+what, g.anna, g.a.launch(metadata))
	}
	own := map[string]any{"parentRunId": inA, "rootRunId": inA}
	g.allows(t, "launchRunReexecution with one's own run as the parent", g.anna, g.a.reexecute(own), "variables", false)

	both := backfillCall(map[string]any{"assetSelection": []any{g.a.asset("_parts"), g.b.asset("_parts")}, "partitionNames": []any{"one"}})
	g.refuses(t, "a backfill of both locations' assets by a's editor", g.anna, both)
	g.refuses(t, "a backfill of both locations' assets by b's editor", g.bert, both)
	_, got := g.carl.try(both, "nested variables")
	backfill := g.carl.id(got, `"backfillId": *"([^"]+)"`)
	g.refuses(t, "cancelling it by a's editor", g.anna, one("cancelPartitionBackfill", "", "backfillId", backfill))
	g.allows(t, "cancelling it by the editor of both", g.carl, one("cancelPartitionBackfill", "", "backfillId", backfill), "variables", false)

	two := call{
		"launchMultipleRuns",
		map[string]any{"executionParamsList": []any{g.a.execution(nil), g.b.execution(nil)}},
		map[string]string{"executionParamsList": "[ExecutionParams!]!"},
		launchErr,
	}
	g.refuses(t, "launchMultipleRuns in both by a's editor", g.anna, two)
	g.allows(t, "launchMultipleRuns in both by the editor of both", g.carl, two, "variables", false)
	runs := terminates(g.a, inA)
	runs.arguments["runIds"] = []any{inA, inB}
	g.refuses(t, "terminateRuns in both by a's editor", g.anna, runs)
	g.allows(t, "terminateRuns in both by the editor of both", g.carl, runs, "nested variables", false)

	unknown := terminates(g.a, inA)
	unknown.arguments["runIds"] = []any{inA, "nope"}
	for _, call := range []call{
		unknown, terminate("terminateRun")(g.a, "nope"), one("deleteRun", "", "runId", "nope"), one("cancelPartitionBackfill", "", "backfillId", "nope"),
		one("resumePartitionBackfill", "", "backfillId", "nope"), reexecution("launchRunReexecution")(g.a, "nope"),
		one("stopSensor", "", "id", "nope::nope"), one("stopRunningSchedule", "", "id", g.a.scheduleOrigin+"::nope"), wipes(place{name: "nope"}, ""),
		reportsAsset(place{name: "nope"}), unknownPlace("nope.py").launch(nil), one("reloadRepositoryLocation", "", "repositoryLocationName", "nope.py"),
	} {
		g.refuses(t, call.field+" of what nobody knows, by the editor of both", g.carl, call)
		if refused, got := g.ed.try(call, "literals"); refused {
			t.Errorf("the control, %s of what nobody knows by an editor everywhere: %s", call.field, got.Body)
		}
	}
}

func unknownPlace(file string) place { return place{file: file, name: file} }

// takeEffect: with the next request, when they are given, replaced and taken away.
func (g granted) takeEffect(t *testing.T) {
	adds := addsPartition(g.a)
	deletes := deletesPartition(g.a, "")
	vic := g.signIn("vic")
	g.refuses(t, "before the grant", vic, adds)
	g.cli("", "grant", "vic", "editor", "--location", "loc_a.py")
	g.allows(t, "after the grant", vic, adds, "literals", false)
	g.refuses(t, "in the other location", vic, addsPartition(g.b))
	g.cli("", "grant", "vic", "launcher", "--location", "loc_a.py")
	g.refuses(t, "after it was replaced by a lesser one", vic, deletes)
	g.allows(t, "what the lesser one allows", vic, g.a.launch(nil), "variables", false)
	g.cli("", "revoke-grant", "vic", "--location", "loc_a.py")
	g.refuses(t, "after it was revoked", vic, g.a.launch(nil))

	// A grant never takes away.
	g.cli("", "grant", "ed", "viewer", "--location", "loc_a.py")
	g.allows(t, "an editor with a viewer's grant", g.ed, deletes, "variables", false)
}

// queriesThatRunCode need the permission in the location whose code it is, and leave no mark when they are refused.
func (g granted) queriesThatRunCode(t *testing.T) {
	for what, document := range queriesOfCode {
		inA := strings.ReplaceAll(document, "LOCATION", "loc_a.py")
		before := g.everything()
		for name, c := range map[string]*client{"a viewer": g.signIn("vic"), "the other's editor": g.bert} {
			got := c.graphql(inA, nil)
			if len(got.Errors) == 0 || got.Errors[0].Extensions["code"] != "FORBIDDEN" || got.Data != nil || !strings.Contains(got.Body, "role") {
				t.Errorf("%s by %s: got %s, want data null and FORBIDDEN", what, name, got.Body)
			}
		}
		if after := g.everything(); after != before {
			t.Errorf("%s was refused and ran:\n%s\nto\n%s", what, before, after)
		}
		got := g.anna.graphql(inA, nil)
		if len(got.Errors) > 0 || got.Data == nil {
			t.Errorf("%s by the location's editor: %s", what, got.Body)
		}
		if strings.Contains(what, "marks") && g.everything() == before {
			t.Errorf("the control, %s by the location's editor: no code ran: %s", what, got.Body)
		}
	}
}

const selects = `repositoryLocationName: "LOCATION", repositoryName: "__repository__"`

var queriesOfCode = map[string]string{
	"a schedule's future ticks (marks)": `{ scheduleOrError(scheduleSelector: {` + selects + `, scheduleName: "schedule"}) {
		... on Schedule { futureTicks(limit: 1) { results { ...E } } } } } fragment E on DryRunInstigationTick { hidden: evaluationResult { skipReason } }`,
	"a schedule's future tick (marks)": `query ScheduleTickConfigQuery { scheduleOrError(scheduleSelector: {` + selects + `, scheduleName: "schedule"}) {
		... on Schedule { futureTick(tickTimestamp: 1893456000) { evaluationResult { skipReason } } } } }`,
	"a partition's configuration (marks)": `{ partitionSetOrError(repositorySelector: {` + selects + `}, partitionSetName: "parts_job_partition_set") {
		... on PartitionSet { partition(partitionName: "one") { runConfigOrError { __typename } } } } }`,
	"a job's partition's configuration (marks)": `{ pipelineOrError(params: {` + selects + `, pipelineName: "parts_job"}) {
		... on Pipeline { partition(partitionName: "one") { runConfigOrError { __typename } } } } }`,
	"a partition's tags": `{ partitionSetOrError(repositorySelector: {` + selects + `}, partitionSetName: "parts_job_partition_set") {
		... on PartitionSet { partition(partitionName: "one") { tagsOrError { __typename } } } } }`,
	"an execution plan":              `{ executionPlanOrError(pipeline: {` + selects + `, pipelineName: "job"}, mode: "default") { __typename } }`,
	"a run configuration's validity": `{ isPipelineConfigValid(pipeline: {` + selects + `, pipelineName: "job"}, mode: "default") { __typename } }`,
	"a schema's":                     `{ runConfigSchemaOrError(selector: {` + selects + `, pipelineName: "job"}) { ... on RunConfigSchema { isRunConfigValid { __typename } } } }`,
}

// customRoles of the config file, given everywhere and in one location.
func (g granted) customRoles(t *testing.T) {
	otto := g.person("otto", "viewer", "operator loc_a.py")
	rita := g.person("rita", "runner", "operator loc_b.py")
	starts, launches := startsSchedule(g.a), g.a.launch(nil)
	g.refuses(t, "operator: startSchedule elsewhere", otto, startsSchedule(g.b))
	g.refuses(t, "operator: startSensor", otto, startsSensor(g.a))
	g.refuses(t, "operator: launchRun", otto, launches)
	g.allows(t, "operator: startSchedule", otto, starts, "variables", false)
	g.refuses(t, "runner: startSchedule where it has no grant", rita, resets(g.a))
	g.allows(t, "runner: launchRun everywhere", rita, launches, "literals", false)
	g.allows(t, "runner with a grant: startSchedule", rita, startsSchedule(g.b), "variables", false)
	if out := g.cli("", "list-permissions", "--user", "otto"); !strings.Contains(out, "loc_a.py") {
		t.Errorf("list-permissions of an operator in loc_a.py: got\n%s", out)
	}

	g.stopAll(t, g.carl)
}

// protectedTags reach the infrastructure: only editors may send them.
func (g granted) protectedTags(t *testing.T) {
	larry := g.signIn("larry")
	for _, key := range []string{"dagster-k8s/config", "dagster-celery/queue", "ecs/cpu", "docker/image", "dagster/image"} {
		tags := []any{map[string]any{"key": key, "value": "x"}}
		launch := g.a.launch(map[string]any{"tags": tags})
		backfill := g.a.launchBackfill()
		backfill.arguments["backfillParams"].(map[string]any)["tags"] = tags
		for _, call := range []call{launch, backfill} {
			g.refuses(t, call.field+" with "+key, larry, call)
			if _, got := larry.try(call, "variables"); !strings.Contains(got.Body, key) {
				t.Errorf("the refusal does not name %s: %s", key, got.Body)
			}
			g.refuses(t, call.field+" with "+key+" by the other's editor", g.bert, call)
		}
		g.allows(t, "launchRun with "+key+" by the location's editor", g.anna, launch, "variables", false)
	}
	plain := g.a.launch(map[string]any{"tags": []any{map[string]any{"key": "team", "value": "x"}}})
	g.allows(t, "a launcher with another tag", larry, plain, "variables", false)
}

func resets(at place) call {
	return startOf("resetSchedule", "scheduleSelector", "ScheduleSelector!", "scheduleName", "schedule")(at)
}

// stopAll stops what runs, by somebody who may in both locations.
func (g granted) stopAll(t *testing.T, c *client) {
	t.Helper()
	for _, p := range []place{g.a, g.b} {
		for _, stop := range []call{
			one("stopRunningSchedule", stopped("ScheduleStateResult", "scheduleState"), "id", p.scheduleOrigin+"::"+p.scheduleSelector),
			one("stopSensor", stopped("StopSensorMutationResult", "instigationState"), "id", p.sensorOrigin+"::"+p.sensorSelector),
		} {
			if refused, got := c.try(stop, "variables"); refused || !strings.Contains(got.Body, "STOPPED") {
				t.Errorf("%s in %s by the editor of both: %s", stop.field, p.file, got.Body)
			}
		}
	}
}

func stopped(result, state string) string {
	return `{ __typename ... on ` + result + ` { ` + state + ` { status } } ... on Error { message } }`
}
