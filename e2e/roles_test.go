package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	repository = `repositoryLocationName: "defs.py", repositoryName: "__repository__"`
	myJob      = `selector: {` + repository + `, jobName: "my_job"}`
)

// fingerprint is everything in Dagster's storage that a mutation of these tests could change.
func (k *kit) fingerprint() string {
	k.t.Helper()
	var all []string
	for _, table := range [][2]string{
		{"history/runs/index.db", `SELECT 'partition ' || partition FROM dynamic_partitions ORDER BY 1`},
		// Events that were reported, not those that runs of earlier deeds still write.
		{"history/runs/index.db", `SELECT 'events ' || count(*) FROM event_logs WHERE run_id = ''`},
		{"history/runs/index.db", `SELECT 'checks ' || count(*) FROM asset_check_executions WHERE run_id = ''`},
		{"history/runs/index.db", `SELECT 'asset ' || asset_key || ' ' || ifnull(last_materialization_timestamp, '') || ' ' || ifnull(wipe_timestamp, '') FROM asset_keys ORDER BY 1`},
		{"history/runs/index.db", `SELECT 'limit ' || concurrency_key || ' ' || "limit" FROM concurrency_limits ORDER BY 1`},
		{"history/runs.db", `SELECT 'run ' || run_id FROM runs ORDER BY 1`},
		{"history/runs.db", `SELECT 'backfill ' || key || ' ' || status FROM bulk_actions ORDER BY 1`},
		{"history/runs.db", `SELECT 'value ' || key || ' ' || value FROM kvs ORDER BY 1`},
		{"schedules/schedules.db", `SELECT 'instigator ' || selector_id || ' ' || status || ' ' || instigator_body FROM instigators ORDER BY 1`},
	} {
		all = append(all, k.query(table[0], table[1])...)
	}
	return strings.Join(all, "\n")
}

type deed struct {
	name  string
	least string // the least role that may
	do    func(t *testing.T, c *client) (refused bool)
}

// mutate is a deed by GraphQL: refused when the answer is one of Dagster's words for it, or FORBIDDEN.
func mutate(document string) func(*testing.T, *client) bool {
	return func(t *testing.T, c *client) bool {
		t.Helper()
		got := c.graphql("mutation { deed: "+document+" }", nil)
		if got.Status != http.StatusOK {
			t.Fatalf("%s: got %d\n%s", document, got.Status, got.Body)
		}
		for _, e := range got.Errors {
			if e.Extensions["code"] == "FORBIDDEN" && strings.Contains(e.Message, "role") {
				return true
			}
		}
		name := got.typename("deed")
		var message struct{ Message string }
		_ = json.Unmarshal(got.Data["deed"], &message)
		refusal := (name == "UnauthorizedError" || name == "TerminateRunFailure") && strings.Contains(message.Message, "role")
		if !refusal && (len(got.Errors) > 0 || strings.Contains(name, "Error") || strings.Contains(name, "Invalid")) {
			t.Fatalf("%s: neither done nor refused: %s", document, got.Body)
		}
		return refusal
	}
}

func report(path string) func(*testing.T, *client) bool {
	return func(t *testing.T, c *client) bool {
		t.Helper()
		resp, body := c.do("POST", path, `{"check_name":"my_check","passed":true}`, "Content-Type", "application/json")
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusForbidden {
			t.Fatalf("%s: got %d\n%s", path, resp.StatusCode, body)
		}
		return resp.StatusCode == http.StatusForbidden
	}
}

func deeds() []deed {
	return []deed{
		{"launchRun", "launcher", mutate(`launchRun(executionParams: {` + myJob + `}) { __typename ... on UnauthorizedError { message } ... on PythonError { message } }`)},
		{"launchPipelineExecution", "launcher", mutate(`launchPipelineExecution(executionParams: {` + myJob + `}) { __typename ... on Error { message } }`)},
		{"launchMultipleRuns", "launcher", func(t *testing.T, c *client) bool {
			t.Helper()
			got := c.graphql(`mutation { launchMultipleRuns(executionParamsList: [{`+myJob+`}]) {
				... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename ... on Error { message } } } } }`, nil)
			return strings.Contains(got.Body, "UnauthorizedError") && strings.Contains(got.Body, "role")
		}},
		{"addDynamicPartition", "editor", mutate(`addDynamicPartition(repositorySelector: {` + repository + `}, partitionsDefName: "dyn", partitionKey: "roles") { __typename ... on UnauthorizedError { message } }`)},
		{"launchPartitionBackfill", "launcher", mutate(`launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["dyn_asset"]}], partitionNames: ["roles"]}) { __typename ... on UnauthorizedError { message } }`)},
		{"deleteDynamicPartitions", "editor", mutate(`deleteDynamicPartitions(repositorySelector: {` + repository + `}, partitionsDefName: "dyn", partitionKeys: ["roles"]) { __typename ... on UnauthorizedError { message } }`)},
		{"startSchedule", "editor", mutate(`startSchedule(scheduleSelector: {` + repository + `, scheduleName: "my_schedule"}) { __typename ... on UnauthorizedError { message } }`)},
		{"resetSchedule", "editor", mutate(`resetSchedule(scheduleSelector: {` + repository + `, scheduleName: "my_schedule"}) { __typename ... on UnauthorizedError { message } }`)},
		{"startSensor", "editor", mutate(`startSensor(sensorSelector: {` + repository + `, sensorName: "my_sensor"}) { __typename ... on UnauthorizedError { message } }`)},
		{"setSensorCursor", "editor", mutate(`setSensorCursor(sensorSelector: {` + repository + `, sensorName: "my_sensor"}, cursor: "moved") { __typename ... on UnauthorizedError { message } }`)},
		{"reportRunlessAssetEvents", "editor", mutate(`reportRunlessAssetEvents(eventParams: {eventType: ASSET_MATERIALIZATION, assetKey: {path: ["my_asset"]}}) { __typename ... on UnauthorizedError { message } }`)},
		{"wipeAssets", "editor", mutate(`wipeAssets(assetPartitionRanges: [{assetKey: {path: ["my_asset"]}}]) { __typename ... on UnauthorizedError { message } }`)},
		{"setConcurrencyLimit", "editor", mutate(`setConcurrencyLimit(concurrencyKey: "db", limit: 3)`)},
		{"setAutoMaterializePaused", "editor", mutate(`setAutoMaterializePaused(paused: true)`)},
		{"POST /report_asset_materialization", "editor", report("/report_asset_materialization/my_asset")},
		{"POST /report_asset_check", "editor", report("/report_asset_check/my_asset")},
		{"POST /report_asset_observation", "editor", report("/report_asset_observation/my_asset")},
	}
}

// TestRoles tries each deed by everyone, least role first: whoever may not do it leaves Dagster's storage as it was, and the
// least role that may does change it.
func TestRoles(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	people := []struct{ name, role string }{{"vic", "viewer"}, {"larry", "launcher"}, {"ed", "editor"}, {"ada", "admin"}}
	clients := map[string]*client{}
	for _, person := range people {
		clients[person.name] = k.signIn(person.name)
	}
	rank := map[string]int{"viewer": 1, "launcher": 2, "editor": 3, "admin": 4}
	for _, deed := range deeds() {
		for _, person := range people {
			may := rank[person.role] >= rank[deed.least]
			before := k.fingerprint()
			refused := deed.do(t, clients[person.name])
			if refused == may {
				t.Errorf("%s by a %s: refused is %t, want %t", deed.name, person.role, refused, !may)
			}
			after := k.fingerprint()
			if !may && after != before {
				t.Errorf("%s by a %s changed Dagster's storage:\n%s\nto\n%s", deed.name, person.role, before, after)
			}
			if may {
				if after == before {
					t.Errorf("%s by a %s, who may: Dagster's storage is as it was", deed.name, person.role)
				}
				break
			}
		}
	}
}

// TestTerminateAndDelete are the deeds that need a run to be done to.
func TestTerminateAndDelete(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	viewer, launcher := k.signIn("vic"), k.signIn("larry")
	run := launchWait(t, launcher, 1800)
	k.eventually(3*time.Minute, "the run is under way", func() bool { return k.runStatus(run) == "STARTED" })

	terminate := mutate(`terminateRun(runId: "` + run + `", terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename ... on TerminateRunFailure { message } }`)
	if !terminate(t, viewer) || k.runStatus(run) != "STARTED" {
		t.Errorf("terminateRun by a viewer: the run is %s, want STARTED", k.runStatus(run))
	}
	if terminate(t, launcher) {
		t.Error("terminateRun by a launcher was refused")
	}
	k.eventually(3*time.Minute, "the run is canceled", func() bool { return k.runStatus(run) == "CANCELED" })

	remove := mutate(`deleteRun(runId: "` + run + `") { __typename ... on UnauthorizedError { message } }`)
	if !remove(t, viewer) || k.runStatus(run) == "" {
		t.Error("deleteRun by a viewer: the run is gone")
	}
	if remove(t, launcher) || k.runStatus(run) != "" {
		t.Errorf("deleteRun by a launcher: the run is still %s", k.runStatus(run))
	}
}

// launchWait starts a run that takes so many seconds and returns its ID.
func launchWait(t *testing.T, c *client, seconds float64) string {
	t.Helper()
	got := c.graphql(fmt.Sprintf(`mutation { launchRun(executionParams: {%s, runConfigData: {ops: {wait: {config: {seconds: %.1f}}}}}) {
		__typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }`, myJob, seconds), nil)
	var launched struct{ Run struct{ RunID string } }
	if err := json.Unmarshal(got.Data["launchRun"], &launched); err != nil || launched.Run.RunID == "" {
		t.Fatalf("launching a run: %s", got.Body)
	}
	return launched.Run.RunID
}

// TestOneRefusedRefusesAll: nothing of a document with a refused mutation is run, and every root field is answered.
func TestOneRefusedRefusesAll(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	document := `mutation {
		mine: launchRun(executionParams: {` + myJob + `}) { __typename ... on UnauthorizedError { message } }
		notMine: reloadWorkspace { __typename ... on UnauthorizedError { message } }
	}`
	got := k.signIn("larry").graphql(document, nil)
	if got.typename("mine") != "UnauthorizedError" || got.typename("notMine") != "UnauthorizedError" {
		t.Errorf("got %s, want both refused", got.Body)
	}
	if runs := k.runs(); len(runs) != 0 {
		t.Errorf("got the runs %v, want none", runs)
	}
	if got := k.signIn("ed").graphql(document, nil); got.typename("mine") != "LaunchRunSuccess" || len(k.runs()) != 1 {
		t.Errorf("the control, an editor: got %s and %d runs", got.Body, len(k.runs()))
	}
}
