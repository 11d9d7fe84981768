package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// firstData subscribes and returns the data of the first answer.
func firstData(t *testing.T, c *client, document string) string {
	t.Helper()
	conn, _, err := c.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte(startFrame(t, map[string]any{"query": document}))); err != nil {
		t.Fatal(err)
	}
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var frame struct {
			Type, ID string
			Payload  struct{ Data json.RawMessage }
		}
		if err := json.Unmarshal(message, &frame); err != nil {
			t.Fatalf("%v: %s", err, message)
		}
		if frame.Type == "data" || frame.Type == "error" {
			return string(frame.Payload.Data)
		}
	}
}

// TestAnswersSayWhatOneMayDo asks for the same fields as different people, by HTTP and in a subscription.
func TestAnswersSayWhatOneMayDo(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	vic, larry, ed := k.signIn("vic"), k.signIn("larry"), k.signIn("ed")
	run := launchWait(t, larry, 0)

	flags := `{ runOrError(runId: "` + run + `") { ...R } assetNodes { may: hasMaterializePermission hasWipePermission } canBulkTerminate }
		fragment R on Run { hasDeletePermission again: hasDeletePermission ... { canTerminate } }`
	want := map[*client]string{
		vic:   `{"runOrError":{"hasDeletePermission":false,"again":false,"canTerminate":CAN},"assetNodes":[{"may":false,"hasWipePermission":false},{"may":false,"hasWipePermission":false}],"canBulkTerminate":false}`,
		larry: `{"runOrError":{"hasDeletePermission":true,"again":true,"canTerminate":CAN},"assetNodes":[{"may":true,"hasWipePermission":false},{"may":true,"hasWipePermission":false}],"canBulkTerminate":true}`,
		ed:    `{"runOrError":{"hasDeletePermission":true,"again":true,"canTerminate":CAN},"assetNodes":[{"may":true,"hasWipePermission":true},{"may":true,"hasWipePermission":true}],"canBulkTerminate":true}`,
	}
	k.eventually(3*time.Minute, "the run has ended", func() bool { return k.runStatus(run) == "SUCCESS" })
	for c, want := range want {
		if got, want := data(t, c, flags), strings.ReplaceAll(want, "CAN", "false"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	subscription := `subscription { pipelineRunLogs(runId: "` + run + `") { ... on PipelineRunLogsSubscriptionSuccess { run { runId hasDeletePermission } hasMorePastEvents } } }`
	for c, may := range map[*client]string{vic: "false", larry: "true"} {
		want := `{"pipelineRunLogs":{"run":{"runId":"` + run + `","hasDeletePermission":` + may + `},"hasMorePastEvents":false}}`
		if got := firstData(t, c, subscription); got != want {
			t.Errorf("subscribed: got  %s\nwant %s", got, want)
		}
	}

	k.cli("", "grant", "vic", "editor", "--location", "elsewhere")
	if got, want := data(t, vic, flags), strings.ReplaceAll(want[vic], "CAN", "false"); got != want {
		t.Errorf("with a grant elsewhere: got  %s\nwant %s", got, want)
	}
	k.cli("", "grant", "vic", "editor", "--location", "defs.py")
	// Whether many runs at once may be terminated is asked for the whole deployment.
	granted := strings.Replace(strings.ReplaceAll(want[ed], "CAN", "false"), `"canBulkTerminate":true`, `"canBulkTerminate":false`, 1)
	if got := data(t, vic, flags); got != granted {
		t.Errorf("with a grant here: got  %s\nwant %s", got, granted)
	}
	if got := firstData(t, vic, subscription); !strings.Contains(got, `"hasDeletePermission":true`) || strings.Contains(got, "authkit") {
		t.Errorf("subscribed with a grant here: got %s", got)
	}
}

// TestVariablesAreEachRequestsOwn: a document that is kept, with how its answers are rewritten, keeps nobody's variables.
func TestVariablesAreEachRequestsOwn(t *testing.T) {
	t.Parallel()
	k := start(t, options{})
	k.cli("", "grant", "vic", "editor", "--location", "defs.py")
	vic, larry := k.signIn("vic"), k.signIn("larry")
	sensors := `query($key: String!, $wanted: Boolean!) { assetNodes(assetKeys: [{path: [$key]}]) { assetKey { path } hasWipePermission @include(if: $wanted) } }`
	for _, c := range []*client{vic, larry, vic} {
		for _, key := range []string{"my_asset", "dyn_asset"} {
			for _, wanted := range []bool{true, false} {
				got := c.graphql(sensors, map[string]any{"key": key, "wanted": wanted})
				if !strings.Contains(got.Body, key) || strings.Contains(got.Body, "hasWipePermission") != wanted {
					t.Errorf("asked for %s, wanted %t: got %s", key, wanted, got.Body)
				}
			}
		}
	}
	mutation := `mutation($key: String!) { addDynamicPartition(repositorySelector: {` + repository + `}, partitionsDefName: "dyn", partitionKey: $key)
		{ __typename } reloadRepositoryLocation(repositoryLocationName: "defs.py") { ... on WorkspaceLocationEntry { permissions { value } } } }`
	for _, key := range []string{"first", "second"} {
		if got := vic.graphql(mutation, map[string]any{"key": key}); !k.hasPartition(key) {
			t.Errorf("%s was not made: %s", key, got.Body)
		}
	}
}

// data is the data of an answer as it came.
func data(t *testing.T, c *client, document string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		t.Fatal(err)
	}
	resp, answer := c.do("POST", "/graphql", string(body), "Content-Type", "application/json")
	var got struct{ Data json.RawMessage }
	if err := json.Unmarshal([]byte(answer), &got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %v: %s", resp.StatusCode, err, answer)
	}
	return string(got.Data)
}

// TestReportOnly: what a role forbids is done and written down.
func TestReportOnly(t *testing.T) {
	t.Parallel()
	k := start(t, options{args: []string{"--report-only"}})
	vic := k.signIn("vic")
	vic.addPartition("tried")
	if !k.hasPartition("tried") {
		t.Error("report-only: a viewer's mutation was not run")
	}
	if got := data(t, vic, `{ canBulkTerminate }`); got != `{"canBulkTerminate":true}` {
		t.Errorf("report-only greys buttons: %s", got)
	}
	k.tells(`"status":"WOULD_DENY"`, `"reason":"EDITOR_REQUIRED_FOR_MUTATIONS"`)
	if !strings.Contains(k.stderr.String(), "report-only") {
		t.Error("the start does not say so")
	}
	if _, health := k.anonymous().do("GET", "/auth/health", ""); !strings.Contains(health, `"report_only":true`) {
		t.Errorf("health does not say so: %s", health)
	}
	anonymous := k.anonymous()
	if resp, _ := anonymous.do("POST", "/graphql", `{"query":"mutation { reloadWorkspace { __typename } }"}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: got %d, want 401", resp.StatusCode)
	}
}

// TestARoleThatDagsterDoesNotKnow: a custom role's permission that this Dagster does not have ends the start as bad
// configuration, with the names of those that it has.
func TestARoleThatDagsterDoesNotKnow(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "authkit.yaml")
	if err := os.WriteFile(file, []byte("roles: [{name: operator, permissions: [start_schedule, start_schedules]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := start(t, options{args: []string{"--config", file}, noWait: true})
	select {
	case <-k.exited:
	case <-time.After(2 * time.Minute):
		t.Fatal("it is still running")
	}
	if code := k.cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	said := k.stderr.String()
	if !strings.Contains(said, "role operator lists start_schedules, which Dagster") || !strings.Contains(said, "edit_sensor") {
		t.Errorf("it says\n%s", said)
	}
}
