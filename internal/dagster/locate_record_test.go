package dagster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// recorder is a transport that keeps what was asked and answered.
type recorder struct {
	exchanges []exchange
	asked     *int
}

// RoundTrip sends a question on.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	question, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(bytes.NewReader(question))
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(answer))
	*r.asked++
	same := func(e exchange) bool { return bytes.Equal(e.Question, question) }
	if json.Valid(answer) && !slices.ContainsFunc(r.exchanges, same) {
		r.exchanges = append(r.exchanges, exchange{question, answer})
	}
	return response, err
}

// recordAnswers lets a real Dagster do what the tests ask about, asks it, and writes its answers down.
func recordAnswers(t *testing.T, root string) {
	base, err := url.Parse(root)
	if err != nil {
		t.Fatal(err)
	}
	w := &webserver{base: base}
	tape := &recorder{asked: &w.asked}
	w.Upstream = New(Options{Transport: tape})
	made := &maker{t: t, Upstream: w.Upstream, base: base, ids: map[string]string{}}
	made.all()
	tape.exchanges = nil
	ask(t, w, made.ids)
	version, err := New(Options{}).askVersion(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(recording{version, made.ids, tape.exchanges}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/answers-"+version+".json", append(text, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// maker launches runs and backfills and finds schedules and sensors, in ways of its own.
type maker struct {
	*Upstream
	t    *testing.T
	base *url.URL
	ids  map[string]string
}

func (m *maker) all() {
	for _, l := range []string{"a", "b"} {
		selector := map[string]any{"repositoryLocationName": "loc_" + l, "repositoryName": "__repository__"}
		job := map[string]any{"selector": with(selector, "jobName", "job_"+l), "runConfigData": map[string]any{}}
		m.ids["run_"+l] = m.find(`mutation ($p: ExecutionParams!) { found: launchRun(executionParams: $p) {
			... on LaunchRunSuccess { run { id: runId } } } }`, map[string]any{"p": job})
		set := map[string]any{"partitionSetName": "job_" + l + "_partition_set", "repositorySelector": selector}
		m.ids["job_backfill_"+l] = m.backfill(map[string]any{"selector": set, "partitionNames": []string{"x"}})
		m.ids["nightly_origin_"+l], m.ids["nightly_selector_"+l], _ = strings.Cut(m.find(`query ($s: ScheduleSelector!) {
			found: scheduleOrError(scheduleSelector: $s) { ... on Schedule { id } } }`,
			map[string]any{"s": with(selector, "scheduleName", "nightly")}), "::")
		m.ids["watch_origin_"+l], m.ids["watch_selector_"+l], _ = strings.Cut(m.find(`query ($s: SensorSelector!) {
			found: sensorOrError(sensorSelector: $s) { ... on Sensor { id } } }`,
			map[string]any{"s": with(selector, "sensorName", "watch")}), "::")
	}
	m.ids["asset_backfill_a"] = m.assets("raw/orders_a")
	m.ids["asset_backfill_ab"] = m.assets("raw/orders_a", "raw/orders_b")
	m.ids["asset_backfill_twice"] = m.assets("shared")
}

func with(values map[string]any, name, value string) map[string]any {
	more := maps.Clone(values)
	more[name] = value
	return more
}

func (m *maker) assets(paths ...string) string {
	var keys []assetKey
	for _, path := range paths {
		keys = append(keys, assetKey{strings.Split(path, "/")})
	}
	return m.backfill(map[string]any{"assetSelection": keys, "partitionNames": []string{"x"}})
}

func (m *maker) backfill(params map[string]any) string {
	return m.find(`mutation ($p: LaunchBackfillParams!) { found: launchPartitionBackfill(backfillParams: $p) {
		... on LaunchBackfillSuccess { id: backfillId } } }`, map[string]any{"p": params})
}

// find asks for something with an ID, directly or in a run.
func (m *maker) find(document string, variables map[string]any) string {
	m.t.Helper()
	data, err := m.query(m.t.Context(), m.base, document, variables)
	if err != nil {
		m.t.Fatal(err)
	}
	var found struct {
		ID  string `json:"id"`
		Run struct {
			ID string `json:"id"`
		} `json:"run"`
	}
	if err := json.Unmarshal(data["found"], &found); err != nil || cmp.Or(found.ID, found.Run.ID) == "" {
		m.t.Fatalf("%s: %s", document, data["found"])
	}
	return cmp.Or(found.ID, found.Run.ID)
}
