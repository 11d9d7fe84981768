package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bare starts a dagster-webserver of the same version beside AuthKit's, on the same storage and the same file.
func (k *kit) bare(args ...string) *client {
	k.t.Helper()
	b := *k
	b.url = fmt.Sprintf("http://127.0.0.1:%d", freePort(k.t))
	port := b.url[strings.LastIndex(b.url, ":")+1:]
	b.cmd = exec.Command(filepath.Join(venv, "bin", "dagster-webserver"), append([]string{"-f", "defs.py", "-p", port}, args...)...)
	b.cmd.Dir, b.cmd.Env = b.dir, b.env
	// Its code server goes with it, which 1.10.0 would leave behind for 45 s.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.stderr = &output{}
	b.cmd.Stdout, b.cmd.Stderr, b.cmd.WaitDelay = b.stderr, b.stderr, time.Second
	if err := b.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		_ = b.cmd.Wait()
		if k.t.Failed() {
			k.t.Logf("output of dagster-webserver %s:\n%s", strings.Join(args, " "), b.stderr)
		}
	})
	return b.anonymous()
}

// waitLoaded waits until a bare Dagster answers.
func (c *client) waitLoaded() {
	c.t.Helper()
	c.kit.eventually(3*time.Minute, "the bare dagster-webserver has loaded its code", func() bool {
		resp, err := http.Get(c.kit.url + "/server_info")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return strings.Contains(c.graphql(`{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }`, nil).Body, "__repository__")
	})
}

// half is the left or the right of testdata/oracle.py, with the things that were made for its mutations.
type half struct {
	side  string
	words []string // old, new, old, new as for strings.NewReplacer
}

func (h half) fill(text string) string {
	return strings.NewReplacer(append([]string{"$side", h.side}, h.words...)...).Replace(text)
}

// prepare makes runs and backfills by an ordinary Dagster and finds the IDs of the schedule and the sensor.
func (k *kit) prepareHalf(t *testing.T, ordinary *client, side string) half {
	t.Helper()
	h := half{side: side}
	params := strings.Repeat(`{selector: {`+inRepository+`, jobName: "job_`+side+`"}},`, 5)
	var launched struct {
		Results []struct{ Run struct{ RunID string } }
	}
	get(t, ordinary, &launched, "launched", `mutation { launched: launchMultipleRuns(executionParamsList: [`+params+`]) {
		... on LaunchMultipleRunsResult { results: launchMultipleRunsResult { ... on LaunchRunSuccess { run { runId } } } } } }`)
	for i, result := range launched.Results {
		h.words = append(h.words, fmt.Sprintf("$run%d", i+1), result.Run.RunID)
	}
	if len(launched.Results) != 5 || launched.Results[4].Run.RunID == "" {
		t.Fatalf("got the runs %v, want five", launched)
	}
	for i, status := range []string{"REQUESTED", "FAILED", "CANCELED"} {
		var backfill struct{ BackfillID string }
		get(t, ordinary, &backfill, "launched", h.fill(`mutation { launched: launchPartitionBackfill(backfillParams: {
			selector: {repositorySelector: {`+inRepository+`}, partitionSetName: "lettered_$side_partition_set"}, allPartitions: true}) {
			... on LaunchBackfillSuccess { backfillId } } }`))
		if backfill.BackfillID == "" {
			t.Fatal("no backfill was made")
		}
		k.setBackfill(backfill.BackfillID, status)
		h.words = append(h.words, fmt.Sprintf("$backfill%d", i+1), backfill.BackfillID)
	}
	var state struct{ State struct{ ID string } }
	get(t, ordinary, &state, "found", h.fill(`{ found: scheduleOrError(scheduleSelector: {`+inRepository+`, scheduleName: "schedule_$side"}) { ... on Schedule { state: scheduleState { id } } } }`))
	h.words = append(h.words, "$schedule", state.State.ID)
	get(t, ordinary, &state, "found", h.fill(`{ found: sensorOrError(sensorSelector: {`+inRepository+`, sensorName: "sensor_$side"}) { ... on Sensor { state: sensorState { id } } } }`))
	h.words = append(h.words, "$sensor", state.State.ID)
	var repository struct{ ID string }
	get(t, ordinary, &repository, "found", `{ found: repositoryOrError(repositorySelector: {`+inRepository+`}) { ... on Repository { id } } }`)
	h.words = append(h.words, "$repository", repository.ID)
	return h
}

// get unmarshals one field of an answer.
func get(t *testing.T, c *client, into any, key, document string) {
	t.Helper()
	got := c.graphql(document, nil)
	if err := json.Unmarshal(got.Data[key], into); err != nil || len(got.Errors) > 0 {
		t.Fatalf("%s\n%v: %s", document, err, got.Body)
	}
}

// setBackfill brings a backfill into a state to which the daemon would bring it.
func (k *kit) setBackfill(id, status string) {
	k.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(k.home, "history/runs.db")+"?_busy_timeout=30000")
	if err != nil {
		k.t.Fatal(err)
	}
	defer db.Close()
	done, err := db.Exec(`UPDATE bulk_actions SET status = ?1, body = replace(body, 'BulkActionStatus.REQUESTED', 'BulkActionStatus.' || ?1) WHERE key = ?2`, status, id)
	if err != nil {
		k.t.Fatal(err)
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		k.t.Fatalf("backfill %s: %d rows, %v", id, n, err)
	}
}

// stored is everything in Dagster's storage that a mutation of the oracle changes, a line each.
func (k *kit) stored() []string {
	k.t.Helper()
	var all []string
	for _, table := range [][2]string{
		{"history/runs/index.db", `SELECT 'partition ' || partitions_def_name || ' ' || partition FROM dynamic_partitions`},
		{"history/runs/index.db", `SELECT 'event ' || run_id || ' ' || ifnull(dagster_event_type, '') || ' ' || ifnull(asset_key, '') || ' ' || ifnull(partition, '') FROM event_logs`},
		{"history/runs/index.db", `SELECT 'check ' || asset_key || ' ' || check_name || ' ' || execution_status FROM asset_check_executions`},
		{"history/runs/index.db", `SELECT 'asset ' || asset_key || ' ' || (last_materialization IS NOT NULL) || ' ' || (wipe_timestamp IS NOT NULL) FROM asset_keys`},
		{"history/runs/index.db", `SELECT 'limit ' || concurrency_key || ' ' || "limit" FROM concurrency_limits`},
		{"history/runs.db", `SELECT 'run ' || run_id || ' ' || pipeline_name || ' ' || status FROM runs`},
		{"history/runs.db", `SELECT 'tag ' || run_id || ' ' || key || ' ' || value FROM run_tags`},
		{"history/runs.db", `SELECT 'backfill ' || key || ' ' || status FROM bulk_actions`},
		{"history/runs.db", `SELECT 'value ' || key || ' ' || value FROM kvs`},
		{"schedules/schedules.db", `SELECT 'instigator ' || status || ' ' || instigator_body FROM instigators`},
	} {
		all = append(all, k.query(table[0], table[1])...)
	}
	slices.Sort(all)
	return all
}

// ran counts how often code of testdata/oracle.py has run.
func (k *kit) ran() int {
	k.t.Helper()
	notes, err := os.ReadFile(filepath.Join(k.home, "ran"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		k.t.Fatal(err)
	}
	return bytes.Count(notes, []byte("\n"))
}

// changes are the lines that went and came, in the words that both halves share.
func changes(before, after []string) []string {
	left := map[string]int{}
	for _, line := range before {
		left[line]--
	}
	for _, line := range after {
		left[line]++
	}
	var all []string
	for line, n := range left {
		for ; n < 0; n++ {
			all = append(all, "- "+sharedWords(line))
		}
		for ; n > 0; n-- {
			all = append(all, "+ "+sharedWords(line))
		}
	}
	slices.Sort(all)
	return all
}

var (
	volatileID   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{40}\b`)
	volatileTime = regexp.MustCompile(`\b1[6-9][0-9]{8}\.[0-9]+`)
	backfillLine = regexp.MustCompile(`^backfill [a-z]{8} `)
	eitherSide   = regexp.MustCompile(`left|right`)
)

// sharedWords takes out of a text what differs from one half to the other, and from one moment to the next.
func sharedWords(text string) string {
	text = volatileTime.ReplaceAllString(volatileID.ReplaceAllString(text, "ID"), "TIME")
	return eitherSide.ReplaceAllString(backfillLine.ReplaceAllString(text, "backfill ID "), "SIDE")
}
