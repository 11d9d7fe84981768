package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

func grantee(role identity.Role, grants ...identity.Grant) identity.Identity {
	id := person(role)
	id.Grants = grants
	return id
}

const (
	metadata   = `executionMetadata: {parentRunId: "r1", rootRunId: "r2", tags: [{key: "dagster/parent_run_id", value: "r3"}, {key: "user", value: "r4"}]}`
	selectorA  = `repositoryLocationName: "a", repositoryName: "r"`
	assetJob   = `selector: {` + selectorA + `, jobName: "__ASSET_JOB", assetSelection: [{path: ["x", "y"]}], assetCheckSelection: [{assetKey: {path: ["z"]}, name: "c"}]}`
	ordinary   = `selector: {` + selectorA + `, jobName: "j", assetSelection: [{path: ["x"]}]}`
	originPair = `"origin::selector"`
)

// TestPlaces says for each mutation which things' locations count; nil is the whole deployment.
func TestPlaces(t *testing.T) {
	t.Parallel()
	a, r1 := Reference{Location, "a"}, Reference{Run, "r1"}
	asset := func(path ...string) Reference { return Reference{Asset, AssetID(path)} }
	backfill := Reference{Backfill, "b1"}
	tests := map[string][]Reference{
		`launchRun(executionParams: {` + ordinary + `})`:                                                                 {a},
		`launchRun(executionParams: {` + assetJob + `})`:                                                                 {a, asset("x", "y"), asset("z")},
		`launchPipelineExecution(executionParams: {` + ordinary + `, ` + metadata + `})`:                                 {a, r1, {Run, "r2"}, {Run, "r3"}},
		`launchRun(executionParams: {selector: {` + selectorA + `, jobName: "__ASSET_JOB"}, stepKeys: ["shared"]})`:      nil,
		`launchRun(executionParams: {selector: {` + selectorA + `, pipelineName: "__ASSET_JOB_0", assetSelection: []}})`: nil,
		`launchRun(executionParams: {selector: {repositoryName: "r"}})`:                                                  nil,
		`launchRun`: nil,
		`launchMultipleRuns(executionParamsList: [{` + ordinary + `}, {selector: {repositoryLocationName: "b"}}])`:                   {a, {Location, "b"}},
		`launchMultipleRuns(executionParamsList: {` + ordinary + `})`:                                                                {a},
		`launchMultipleRuns(executionParamsList: [{` + ordinary + `}, {}])`:                                                          nil,
		`launchMultipleRuns(executionParamsList: [])`:                                                                                nil,
		`launchRunReexecution(executionParams: {` + ordinary + `})`:                                                                  {a},
		`launchRunReexecution(reexecutionParams: {parentRunId: "r1", strategy: ALL_STEPS})`:                                          {r1},
		`launchPipelineReexecution(executionParams: {` + ordinary + `}, reexecutionParams: {parentRunId: "r1"})`:                     {a, r1},
		`launchRun(executionParams: {` + ordinary + `, executionMetadata: {tags: [{key: "dagster/backfill", value: "b1"}]}})`:        {a, backfill},
		`launchRunReexecution(reexecutionParams: {parentRunId: "r1", extraTags: {key: "dagster/backfill", value: "b1"}})`:            {r1, backfill},
		`launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["x"]}], tags: [{key: "dagster/backfill", value: "b1"}]})`: {asset("x"), backfill},
		`launchRun(executionParams: {` + ordinary + `, executionMetadata: {tags: [{key: "dagster/backfill"}]}})`:                     nil,
		`launchRunReexecution`:                    nil,
		`terminateRun(runId: "r1")`:               {r1},
		`terminateRun(runId: null)`:               nil,
		`terminatePipelineExecution(runId: "r1")`: {r1},
		`terminateRuns(runIds: ["r1", "r2"])`:     {r1, {Run, "r2"}},
		`terminateRuns(runIds: "r1")`:             {r1},
		`terminateRuns(runIds: [])`:               nil,
		`deleteRun(runId: "r1")`:                  {r1},
		`deletePipelineRun(runId: "r1")`:          {r1},
		`launchPartitionBackfill(backfillParams: {selector: {repositorySelector: {` + selectorA + `}, partitionSetName: "p"}})`:                      {a},
		`launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["x"]}, {path: ["y"]}], partitionsByAssets: [{assetKey: {path: ["z"]}}]})`: {asset("x"), asset("y"), asset("z")},
		`launchPartitionBackfill(backfillParams: {selector: {repositorySelector: {` + selectorA + `}}, assetSelection: [{path: ["x"]}]})`:            {a, asset("x")},
		`launchPartitionBackfill(backfillParams: {selector: {partitionSetName: "p"}, assetSelection: [{path: ["x"]}]})`:                              nil,
		`launchPartitionBackfill(backfillParams: {assetSelection: [{path: []}]})`:                                                                    nil,
		`launchPartitionBackfill(backfillParams: {allPartitions: true})`:                                                                             nil,
		`resumePartitionBackfill(backfillId: "b1")`:                                                                                                  {backfill},
		`cancelPartitionBackfill(backfillId: "b1")`:                                                                                                  {backfill},
		`reexecutePartitionBackfill(reexecutionParams: {parentRunId: "b1"})`:                                                                         {backfill},
		`startSchedule(scheduleSelector: {` + selectorA + `, scheduleName: "s"})`:                                                                    {a},
		`resetSchedule(scheduleSelector: {` + selectorA + `})`:                                                                                       {a},
		`scheduleDryRun(selectorData: {` + selectorA + `})`:                                                                                          {a},
		`startSensor(sensorSelector: {` + selectorA + `})`:                                                                                           {a},
		`resetSensor(sensorSelector: {` + selectorA + `})`:                                                                                           {a},
		`setSensorCursor(sensorSelector: {` + selectorA + `})`:                                                                                       {a},
		`sensorDryRun(selectorData: {` + selectorA + `})`:                                                                                            {a},
		`stopRunningSchedule(id: ` + originPair + `)`:                                                                                                {{ScheduleOrigin, "origin"}, {ScheduleSelector, "selector"}},
		`stopRunningSchedule(id: "origin")`:                                                                                                          nil,
		`stopRunningSchedule(scheduleOriginId: "o", scheduleSelectorId: "s")`:                                                                        {{ScheduleOrigin, "o"}, {ScheduleSelector, "s"}},
		`stopRunningSchedule(scheduleOriginId: "o")`:                                                                                                 nil,
		`stopRunningSchedule(id: ` + originPair + `, scheduleOriginId: "o", scheduleSelectorId: "s")`:                                                {{ScheduleOrigin, "origin"}, {ScheduleSelector, "selector"}, {ScheduleOrigin, "o"}, {ScheduleSelector, "s"}},
		`stopSensor(id: ` + originPair + `)`:                                                                                                         {{SensorOrigin, "origin"}, {SensorSelector, "selector"}},
		`stopSensor(jobOriginId: "o", jobSelectorId: "s")`:                                                                                           {{SensorOrigin, "o"}, {SensorSelector, "s"}},
		`stopSensor`: nil,
		`reloadRepositoryLocation(repositoryLocationName: "a")`:                                    {a},
		`shutdownRepositoryLocation(repositoryLocationName: "a")`:                                  {a},
		`addDynamicPartition(repositorySelector: {` + selectorA + `}, partitionsDefName: "d")`:     {a},
		`deleteDynamicPartitions(repositorySelector: {` + selectorA + `}, partitionsDefName: "d")`: {a},
		`wipeAssets(assetPartitionRanges: [{assetKey: {path: ["x"]}}, {assetKey: {path: ["y"]}}])`: {asset("x"), asset("y")},
		`wipeAssets(assetPartitionRanges: [{assetKey: {path: ["x"]}}, {}])`:                        nil,
		`wipeAssets(assetPartitionRanges: [])`:                                                     nil,
		`reportRunlessAssetEvents(eventParams: {assetKey: {path: ["x"]}})`:                         {asset("x")},
		`reportAssetCheckEvaluations(eventParams: {assetKey: {path: ["x"]}})`:                      {asset("x")},
		`setAppManagedComponent(locationName: "a")`:                                                {a},
		`deleteAppManagedComponent(locationName: "a")`:                                             {a},
		`refreshComponentState(locationName: "a")`:                                                 {a},
		`reloadWorkspace`:                                    nil,
		`setAutoMaterializePaused(paused: true)`:             nil,
		`setConcurrencyLimit(concurrencyKey: "k", limit: 1)`: nil,
		`freeConcurrencySlots(runId: "r1")`:                  nil,
		`aMutationOfTomorrow(repositoryLocationName: "a")`:   nil,
	}
	tried := map[string]bool{}
	for call, want := range tests {
		actions := builtIn(t).Actions(parse(t, "mutation { "+call+" }"), nil)
		if len(actions) != 1 || len(actions[0].Needs) == 0 {
			t.Fatalf("%s: got %d actions", call, len(actions))
		}
		tried[actions[0].Name] = true
		for _, need := range actions[0].Needs {
			if diff := cmp.Diff(want, need.Where); diff != "" {
				t.Errorf("%s (-want +got):\n%s", call, diff)
			}
		}
	}
	for mutation := range finders {
		if !tried[mutation] {
			t.Errorf("%s is not tried", mutation)
		}
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	editorOfA := grantee("viewer", identity.Grant{Location: "a", Role: "editor"})
	launcherOfAB := grantee("viewer", identity.Grant{Location: "a", Role: "launcher"}, identity.Grant{Location: "b", Role: "launcher"})
	launchIn := func(location string) string {
		return `launchRun(executionParams: {selector: {repositoryLocationName: "` + location + `"}})`
	}
	assets := `launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["x"]}, {path: ["y"]}]})`
	mixed := `stopRunningSchedule(scheduleOriginId: "of a", scheduleSelectorId: "of b")`
	located := Located{
		{Run, "of a"}: {"a"}, {Run, "of b"}: {"b"}, {Asset, AssetID([]string{"x"})}: {"a"}, {Asset, AssetID([]string{"y"})}: {"a", "b"},
		{ScheduleOrigin, "of a"}: {"a"}, {ScheduleSelector, "of a"}: {"a"}, {ScheduleSelector, "of b"}: {"b"},
	}
	tests := map[string]struct {
		id      identity.Identity
		call    string
		asked   int // how many things are looked up
		message string
	}{
		"where the grant is":                  {editorOfA, launchIn("a"), 0, ""},
		"elsewhere":                           {editorOfA, launchIn("b"), 0, "launchRun requires the Launcher role (launch_pipeline_execution) in code location b. Your role is Viewer there."},
		"case counts":                         {editorOfA, launchIn("A"), 0, "launchRun requires the Launcher role (launch_pipeline_execution) in code location A. Your role is Viewer there."},
		"one of two locations":                {editorOfA, `launchMultipleRuns(executionParamsList: [{selector: {repositoryLocationName: "a"}}, {selector: {repositoryLocationName: "b"}}])`, 0, "launchMultipleRuns requires the Launcher role (launch_pipeline_execution) in code location b. Your role is Viewer there."},
		"two of two":                          {launcherOfAB, `launchMultipleRuns(executionParamsList: [{selector: {repositoryLocationName: "a"}}, {selector: {repositoryLocationName: "b"}}])`, 0, ""},
		"a grant that is not enough":          {launcherOfAB, `startSchedule(scheduleSelector: {repositoryLocationName: "a"})`, 0, "startSchedule requires the Editor role (start_schedule) in code location a. Your role is Launcher there."},
		"a grant never takes away":            {grantee("editor", identity.Grant{Location: "a", Role: "viewer"}), launchIn("a"), 0, ""},
		"the most permissive wins":            {grantee("viewer", identity.Grant{Location: "a", Role: "launcher"}, identity.Grant{Location: "a", Role: "editor"}, identity.Grant{Location: "a", Role: "viewer"}), `startSensor(sensorSelector: {repositoryLocationName: "a"})`, 0, ""},
		"a run there":                         {editorOfA, `terminateRun(runId: "of a")`, 1, ""},
		"a run elsewhere":                     {editorOfA, `terminateRun(runId: "of b")`, 1, "terminateRun requires the Launcher role (terminate_pipeline_execution) in code location b. Your role is Viewer there."},
		"a run that nobody knows":             {editorOfA, `terminateRun(runId: "?")`, 1, "terminateRun requires the Launcher role (terminate_pipeline_execution). Your role is Viewer."},
		"one run of two":                      {editorOfA, `terminateRuns(runIds: ["of a", "?"])`, 2, "terminateRuns requires the Launcher role (terminate_pipeline_execution). Your role is Viewer."},
		"an asset in two locations":           {editorOfA, assets, 2, "launchPartitionBackfill requires the Launcher role (launch_partition_backfill) in code location b. Your role is Viewer there."},
		"assets in locations that are all":    {launcherOfAB, assets, 2, ""},
		"origin here and selector there":      {editorOfA, mixed, 2, "stopRunningSchedule requires the Editor role (stop_running_schedule) in code location b. Your role is Viewer there."},
		"origin and selector here":            {editorOfA, `stopRunningSchedule(scheduleOriginId: "of a", scheduleSelectorId: "of a")`, 2, ""},
		"a parent run elsewhere":              {editorOfA, `launchRunReexecution(executionParams: {selector: {repositoryLocationName: "a"}, executionMetadata: {parentRunId: "of b"}})`, 1, "launchRunReexecution requires the Launcher role (launch_pipeline_reexecution) in code location b. Your role is Viewer there."},
		"a parent run here":                   {editorOfA, `launchRunReexecution(executionParams: {selector: {repositoryLocationName: "a"}, executionMetadata: {parentRunId: "of a"}})`, 1, ""},
		"deployment-wide":                     {editorOfA, `reloadWorkspace`, 0, "reloadWorkspace requires the Editor role (reload_workspace). Your role is Viewer."},
		"admin there is not admin everywhere": {grantee("viewer", identity.Grant{Location: "a", Role: "admin"}), `aMutationOfTomorrow(locationName: "a")`, 0, "aMutationOfTomorrow requires the Admin role. Your role is Viewer."},
		"an unknown role grants nothing":      {grantee("viewer", identity.Grant{Location: "a", Role: "king"}), launchIn("a"), 0, "launchRun requires the Launcher role (launch_pipeline_execution) in code location a. Your role is Viewer there."},
		"nor does one to somebody without":    {grantee("", identity.Grant{Location: "a", Role: "admin"}), launchIn("a"), 0, "?"},
		"one role everywhere asks nothing":    {person("viewer"), `terminateRun(runId: "of a")`, 0, "terminateRun requires the Launcher role (terminate_pipeline_execution) in code location a. Your role is Viewer there."},
		"enough everywhere asks nothing":      {grantee("launcher", identity.Grant{Location: "a", Role: "editor"}), `terminateRun(runId: "of b")`, 0, ""},
		"a grant that can't help asks not":    {grantee("viewer", identity.Grant{Location: "a", Role: "launcher"}), `wipeAssets(assetPartitionRanges: [{assetKey: {path: ["x"]}}])`, 0, "wipeAssets requires the Editor role (wipe_assets) in code location a. Your role is Launcher there."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := builtIn(t)
			actions := p.Actions(parse(t, "mutation { it: "+test.call+" }"), nil)
			if got := len(p.Unlocated(test.id, actions)); got != test.asked {
				t.Errorf("%d things are looked up, want %d", got, test.asked)
			}
			got := p.Decide(test.id, actions, located)
			if got.Allowed != (test.message == "") {
				t.Fatalf("allowed is %t: %s", got.Allowed, got.Message("it"))
			}
			if !got.Allowed && test.message != "?" && got.Message("it") != test.message {
				t.Errorf("got  %s\nwant %s", got.Message("it"), test.message)
			}
		})
	}
}

func customRoles(t *testing.T) *Policy {
	t.Helper()
	roles, err := NewRoles(map[identity.Role][]identity.Permission{
		"operator": {startSchedule, stopRunningSchedule}, "partitioner": {editDynamicPartitions}, "runner": {launchPipelineExecution},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{Roles: roles, ProtectedTags: []string{"ecs/*"}, ProtectedTagsRole: identity.Editor})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCustomRoles(t *testing.T) {
	t.Parallel()
	p := customRoles(t)
	tests := []struct {
		id       identity.Identity
		document string
		allowed  bool
	}{
		{person("operator"), `{ version }`, true},
		{person("operator"), `mutation { startSchedule }`, true},
		{person("operator"), `mutation { resetSchedule }`, true},
		{person("operator"), `mutation { startSensor }`, false},
		{person("operator"), `mutation { launchRun }`, false},
		{person("operator"), `mutation { aMutationOfTomorrow }`, false},
		{person("operators"), `{ version }`, false},
		{grantee("viewer", identity.Grant{Location: "a", Role: "operator"}), `mutation { startSchedule(scheduleSelector: {repositoryLocationName: "a"}) }`, true},
		{grantee("viewer", identity.Grant{Location: "a", Role: "operator"}), `mutation { startSchedule(scheduleSelector: {repositoryLocationName: "b"}) }`, false},
		{grantee("operator", identity.Grant{Location: "a", Role: "launcher"}), `mutation { launchRun(executionParams: {selector: {repositoryLocationName: "a"}}) }`, true},
		{grantee("operator", identity.Grant{Location: "a", Role: "launcher"}), `mutation { startSchedule(scheduleSelector: {repositoryLocationName: "a"}) }`, true},
		{person("partitioner"), `mutation { deleteDynamicPartitions(partitionsDefName: "d") }`, true},
		{person("partitioner"), `mutation { deleteDynamicPartitions(partitionsDefName: "d", wipeMaterializations: false) }`, true},
		{person("partitioner"), `mutation { deleteDynamicPartitions(partitionsDefName: "d", wipeMaterializations: null) }`, true},
		{person("partitioner"), `mutation { deleteDynamicPartitions(partitionsDefName: "d", wipeMaterializations: true) }`, false},
		{person("partitioner"), `mutation { deleteDynamicPartitions(partitionsDefName: "d", wipeMaterializations: "x") }`, false},
		{person("runner"), `mutation { launchRun }`, true},
		{person("runner"), `mutation { launchRun(executionParams: {executionMetadata: {tags: [{key: "ecs/cpu", value: "1"}]}}) }`, false},
	}
	for _, test := range tests {
		if got := p.Decide(test.id, p.Actions(parse(t, test.document), nil), nil).Allowed; got != test.allowed {
			t.Errorf("%s %v, %s: got allowed %t, want %t", test.id.Role, test.id.Grants, test.document, got, test.allowed)
		}
	}
}

func TestNewRolesRefuses(t *testing.T) {
	t.Parallel()
	for name, permissions := range map[identity.Role][]identity.Permission{
		"editor": {startSchedule}, "": {startSchedule}, "Operator": {startSchedule}, "a b": {startSchedule}, "none": nil,
	} {
		if _, err := NewRoles(map[identity.Role][]identity.Permission{name: permissions}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want an error of one line", name, err)
		}
	}
	roles, err := NewRoles(map[identity.Role][]identity.Permission{"operator": {startSchedule}})
	if err != nil {
		t.Fatal(err)
	}
	if role, err := roles.Parse(" Operator "); role != "operator" || err != nil {
		t.Errorf("got %q, %v", role, err)
	}
	want := `unknown role "king": use viewer, launcher, editor, admin or operator`
	if _, err := roles.Parse("king"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestRestrict: what Dagster does not have a custom role does not grant.
func TestRestrict(t *testing.T) {
	t.Parallel()
	p := customRoles(t)
	if unknown := p.roles.Restrict([]identity.Permission{startSchedule, editDynamicPartitions, launchPipelineExecution}); !cmp.Equal(unknown, map[identity.Role][]identity.Permission{"operator": {stopRunningSchedule}}) {
		t.Errorf("unknown: %v", unknown)
	}
	if !p.roles.Has("operator", startSchedule) || p.roles.Has("operator", stopRunningSchedule) || !p.roles.Has("editor", stopRunningSchedule) {
		t.Error("a permission that Dagster does not have is granted, or another is not")
	}
}

func TestProtectedTags(t *testing.T) {
	t.Parallel()
	p := customRoles(t)
	launch := func(tag string) string {
		return `mutation { launchRun(executionParams: {selector: {repositoryLocationName: "a"}, executionMetadata: {tags: [{key: "` + tag + `", value: "1"}]}}) }`
	}
	tests := []struct {
		id      identity.Identity
		tag     string
		message string
	}{
		{person("launcher"), "team", ""},
		{person("launcher"), "ecs/cpu", "launchRun requires the Editor role for the protected tag ecs/cpu in code location a. Your role is Launcher there."},
		{person("editor"), "ecs/cpu", ""},
		{grantee("launcher", identity.Grant{Location: "a", Role: "editor"}), "ecs/cpu", ""},
		{grantee("launcher", identity.Grant{Location: "b", Role: "editor"}), "ecs/cpu", "launchRun requires the Editor role for the protected tag ecs/cpu in code location a. Your role is Launcher there."},
	}
	for _, test := range tests {
		got := p.Decide(test.id, p.Actions(parse(t, launch(test.tag)), nil), nil)
		if got.Allowed != (test.message == "") || !got.Allowed && got.Message("launchRun") != test.message {
			t.Errorf("%s %v sends %s: got allowed %t, %q; want %q", test.id.Role, test.id.Grants, test.tag, got.Allowed, got.Message("launchRun"), test.message)
		}
	}
}

func schema(t *testing.T) *graphql.Schema {
	t.Helper()
	s, err := graphql.ParseIntrospection([]byte(testSchema))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestQueriesThatRunCode(t *testing.T) {
	t.Parallel()
	editorOfA := grantee("viewer", identity.Grant{Location: "a", Role: "editor"})
	schedule := func(location, selection string) string {
		return `{ s: scheduleOrError(scheduleSelector: {repositoryLocationName: "` + location + `"}) { ... on Schedule { futureTicks { ` + selection + ` } } } }`
	}
	tests := map[string]struct {
		id       identity.Identity
		document string
		refused  []string
	}{
		"an evaluation by a viewer":        {person("viewer"), schedule("a", "results { evaluationResult }"), []string{"DryRunInstigationTick.evaluationResult"}},
		"by an editor":                     {person("editor"), schedule("a", "results { evaluationResult }"), nil},
		"ticks alone":                      {person("viewer"), schedule("a", "results { timestamp }"), nil},
		"by an alias":                      {person("viewer"), schedule("a", "r: results { timestamp: evaluationResult }"), []string{"DryRunInstigationTick.evaluationResult"}},
		"in a fragment":                    {person("viewer"), schedule("a", "...F") + ` fragment F on DryRunInstigationTicks { results { ... { ...G } } } fragment G on DryRunInstigationTick { evaluationResult }`, []string{"DryRunInstigationTick.evaluationResult"}},
		"with a grant there":               {editorOfA, schedule("a", "results { evaluationResult }"), nil},
		"in a fragment, with a grant":      {editorOfA, schedule("a", "...F") + ` fragment F on DryRunInstigationTicks { results { evaluationResult } }`, nil},
		"with a grant elsewhere":           {editorOfA, schedule("b", "results { evaluationResult }"), []string{"DryRunInstigationTick.evaluationResult"}},
		"by another way, with a grant":     {editorOfA, `{ schedulesOrError { ... on Schedules { results { futureTicks { results { evaluationResult } } } } } }`, []string{"DryRunInstigationTick.evaluationResult"}},
		"at the root":                      {person("viewer"), `{ isPipelineConfigValid(pipeline: {repositoryLocationName: "a"}) { __typename } }`, []string{"isPipelineConfigValid"}},
		"at the root by a launcher":        {person("launcher"), `{ isPipelineConfigValid(pipeline: {repositoryLocationName: "a"}) { __typename } }`, nil},
		"at the root with a grant":         {editorOfA, `{ isPipelineConfigValid(pipeline: {repositoryLocationName: "a"}) { __typename } }`, nil},
		"another type's field of the name": {person("viewer"), `{ other { evaluationResult } }`, nil},
		"a field of a type unknown":        {person("viewer"), `{ tomorrow { evaluationResult } }`, []string{"evaluationResult"}},
		"in a mutation's answer":           {person("launcher"), `mutation { launchRun(executionParams: {}) { schedule { futureTicks { results { evaluationResult } } } } }`, []string{"DryRunInstigationTick.evaluationResult"}},
		"a dry run with a grant there":     {editorOfA, `mutation { scheduleDryRun(selectorData: {repositoryLocationName: "a"}) { evaluationResult } }`, nil},
		"a dry run with a grant elsewhere": {editorOfA, `mutation { scheduleDryRun(selectorData: {repositoryLocationName: "b"}) { evaluationResult } }`, []string{"scheduleDryRun", "DryRunInstigationTick.evaluationResult"}},
		"in a subscription's":              {person("launcher"), `subscription { logs { schedule { futureTicks { results { evaluationResult } } } } }`, []string{"DryRunInstigationTick.evaluationResult"}},
		"one of two that is not allowed":   {editorOfA, `{ ...F } fragment F on Query { a: isPipelineConfigValid(pipeline: {repositoryLocationName: "a"}) { __typename } b: isPipelineConfigValid(pipeline: {repositoryLocationName: "b"}) { __typename } }`, []string{"isPipelineConfigValid"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := builtIn(t)
			got := p.Decide(test.id, p.Actions(parse(t, test.document), schema(t)), nil)
			if diff := cmp.Diff(test.refused, refusedNames(got)); diff != "" || got.Allowed != (test.refused == nil) {
				t.Errorf("allowed %t, refused (-want +got):\n%s", got.Allowed, diff)
			}
		})
	}
}

// TestDryRunPermissions: a schedule's tick needs another permission than a sensor's.
func TestDryRunPermissions(t *testing.T) {
	t.Parallel()
	for document, want := range map[string][]identity.Permission{
		`{ scheduleOrError { ... on Schedule { futureTicks { results { evaluationResult } } } } }`: {scheduleDryRun},
		`{ sensorOrError { ... on Sensor { nextTick { evaluationResult } } } }`:                    {sensorDryRun},
		`mutation { scheduleDryRun { evaluationResult } }`:                                         {scheduleDryRun, scheduleDryRun},
		`mutation { sensorDryRun { ... on DryRunInstigationTick { evaluationResult } } }`:          {sensorDryRun, sensorDryRun},
		`{ state { nextTick { evaluationResult } } }`:                                              {scheduleDryRun, sensorDryRun},
	} {
		var got []identity.Permission
		for _, action := range builtIn(t).Actions(parse(t, document), schema(t)) {
			got = append(got, action.Permissions()...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", document, got, want)
		}
	}
}

// testSchema is the part of Dagster's that these tests name.
const testSchema = `{"data":{"__schema":{"queryType":{"name":"Query"},"mutationType":{"name":"Mutation"},"subscriptionType":{"name":"Subscription"},"types":[
{"kind":"SCALAR","name":"String"},{"kind":"SCALAR","name":"Boolean"},
{"kind":"OBJECT","name":"Run","fields":[{"name":"hasTimeTravelPermission","type":{"kind":"NON_NULL","name":null,"ofType":{"kind":"SCALAR","name":"Boolean"}}}]},
{"kind":"OBJECT","name":"Query","fields":[
 {"name":"scheduleOrError","type":{"kind":"UNION","name":"ScheduleOrError"}},{"name":"sensorOrError","type":{"kind":"UNION","name":"SensorOrError"}},
 {"name":"schedulesOrError","type":{"kind":"OBJECT","name":"Schedules"}},
 {"name":"isPipelineConfigValid","type":{"kind":"SCALAR","name":"String"}},{"name":"other","type":{"kind":"OBJECT","name":"Other"}},{"name":"state","type":{"kind":"OBJECT","name":"InstigationState"}}]},
{"kind":"OBJECT","name":"Mutation","fields":[{"name":"launchRun","type":{"kind":"OBJECT","name":"Result"}},
 {"name":"scheduleDryRun","type":{"kind":"OBJECT","name":"DryRunInstigationTick"}},{"name":"sensorDryRun","type":{"kind":"OBJECT","name":"DryRunInstigationTick"}}]},
{"kind":"OBJECT","name":"Subscription","fields":[{"name":"logs","type":{"kind":"OBJECT","name":"Result"}}]},
{"kind":"OBJECT","name":"Result","fields":[{"name":"schedule","type":{"kind":"OBJECT","name":"Schedule"}}]},
{"kind":"OBJECT","name":"Schedules","fields":[{"name":"results","type":{"kind":"LIST","name":null,"ofType":{"kind":"OBJECT","name":"Schedule"}}}]},
{"kind":"UNION","name":"ScheduleOrError","possibleTypes":[{"kind":"OBJECT","name":"Schedule"}]},
{"kind":"UNION","name":"SensorOrError","possibleTypes":[{"kind":"OBJECT","name":"Sensor"}]},
{"kind":"OBJECT","name":"Schedule","fields":[{"name":"futureTicks","type":{"kind":"OBJECT","name":"DryRunInstigationTicks"}}]},
{"kind":"OBJECT","name":"Sensor","fields":[{"name":"nextTick","type":{"kind":"OBJECT","name":"DryRunInstigationTick"}}]},
{"kind":"OBJECT","name":"InstigationState","fields":[{"name":"nextTick","type":{"kind":"OBJECT","name":"DryRunInstigationTick"}}]},
{"kind":"OBJECT","name":"DryRunInstigationTicks","fields":[{"name":"results","type":{"kind":"LIST","name":null,"ofType":{"kind":"OBJECT","name":"DryRunInstigationTick"}}}]},
{"kind":"OBJECT","name":"DryRunInstigationTick","fields":[{"name":"evaluationResult","type":{"kind":"SCALAR","name":"String"}},{"name":"timestamp","type":{"kind":"SCALAR","name":"String"}}]},
{"kind":"OBJECT","name":"Other","fields":[{"name":"evaluationResult","type":{"kind":"SCALAR","name":"String"}},{"name":"hasNumberOfPermissions","type":{"kind":"SCALAR","name":"String"}}]}
]}}}`

// TestInheritedTags: a launcher who re-executes some steps sends back the tags of the parent run, and no others.
func TestInheritedTags(t *testing.T) {
	t.Parallel()
	p := customRoles(t)
	parent := map[string]KnownRun{"r1": {Job: Job{"a", "r", "j"}, Tags: map[string]string{"ecs/task_arn": "arn"}}}
	reexecute := func(mutation, params string) string {
		return `mutation { it: ` + mutation + `(executionParams: {selector: {` + selectorA + `, pipelineName: "j"}, executionMetadata: {` + params + `}}) }`
	}
	for document, allowed := range map[string]bool{
		reexecute("launchRunReexecution", `parentRunId: "r1", tags: [{key: "ecs/task_arn", value: "arn"}]`):                                                                                              true,
		reexecute("launchPipelineReexecution", `parentRunId: "r1", tags: [{key: "ecs/task_arn", value: "arn"}, {key: "x", value: "y"}]`):                                                                 true,
		reexecute("launchRunReexecution", `parentRunId: "r1", tags: [{key: "ecs/task_arn", value: "other"}]`):                                                                                            false,
		reexecute("launchRunReexecution", `parentRunId: "r1", tags: [{key: "ecs/task_arn", value: "arn"}, {key: "ecs/cpu", value: "9"}]`):                                                                false,
		reexecute("launchRunReexecution", `parentRunId: "r1", tags: [{key: "ecs/task_arn", value: "arn"}, {key: "ecs/task_arn", value: "no"}]`):                                                          false,
		reexecute("launchRunReexecution", `parentRunId: "r2", tags: [{key: "ecs/task_arn", value: "arn"}]`):                                                                                              false,
		reexecute("launchRunReexecution", `tags: [{key: "ecs/task_arn", value: "arn"}]`):                                                                                                                 false,
		reexecute("launchRun", `parentRunId: "r1", tags: [{key: "ecs/task_arn", value: "arn"}]`):                                                                                                         false,
		`mutation { it: launchRunReexecution(executionParams: {selector: {` + selectorA + `, jobName: "other"}, executionMetadata: {parentRunId: "r1", tags: [{key: "ecs/task_arn", value: "arn"}]}}) }`: false,
		`mutation { it: launchRunReexecution(reexecutionParams: {parentRunId: "r1", extraTags: [{key: "ecs/task_arn", value: "arn"}]}) }`:                                                                false,
	} {
		actions := p.Actions(parse(t, document), nil)
		asked := p.Parents(person("launcher"), actions)
		if got := p.Decide(person("launcher"), Inheriting(actions, parent), nil); got.Allowed != allowed {
			t.Errorf("%s: got allowed %t (parents %v): %s", document, got.Allowed, asked, got.Message("it"))
		}
		if allowed && len(asked) != 1 || len(p.Parents(person("editor"), actions)) != 0 {
			t.Errorf("%s: parents of a launcher's %v, of an editor's %v", document, asked, p.Parents(person("editor"), actions))
		}
		if p.Decide(person("launcher"), Inheriting(actions, nil), nil).Allowed {
			t.Errorf("%s: allowed without a parent's tags", document)
		}
	}
}
