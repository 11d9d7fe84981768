package dagster

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/policy"
)

// record makes the recordings anew, from a webserver that was started with testdata/workspace/workspace.yaml on an empty
// DAGSTER_HOME: go test ./internal/dagster -run Recorded -record http://127.0.0.1:3000
var record = flag.String("record", "", "root of a dagster-webserver to record answers of")

// recording is what a real Dagster answered to the questions of one test.
type recording struct {
	Dagster string `json:"dagster"`
	// IDs are those of the runs, backfills, schedules and sensors that the recorder made or found, by a name for the test.
	IDs       map[string]string `json:"ids"`
	Exchanges []exchange        `json:"exchanges"`
}

type exchange struct {
	Question json.RawMessage `json:"question"`
	Answer   json.RawMessage `json:"answer"`
}

// webserver is an Upstream, its base, and how often it was asked something.
type webserver struct {
	*Upstream
	base  *url.URL
	asked int
}

func TestRecordedAnswers(t *testing.T) {
	if *record != "" {
		recordAnswers(t, *record)
	}
	files, err := filepath.Glob("testdata/answers-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("recordings: %v, %v: want some", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			var r recording
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &r); err != nil {
				t.Fatal(err)
			}
			ask(t, replay(t, r), r.IDs)
		})
	}
}

// ask asks what is recorded, and says what is right.
func ask(t *testing.T, w *webserver, ids map[string]string) {
	refs, want := references(ids)
	for _, round := range []struct {
		name  string
		asked int
	}{{"all at once", 2}, {"runs and backfills remembered", 2}} {
		w.asked = 0
		got, err := w.Locate(t.Context(), w.base, refs)
		if err != nil {
			t.Fatalf("%s: %v", round.name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", round.name, diff)
		}
		if w.asked != round.asked {
			t.Errorf("%s: asked %d times, want %d", round.name, w.asked, round.asked)
		}
	}
	askOneByOne(t, w, refs, want)
	askAssetLocations(t, w)
}

func askOneByOne(t *testing.T, w *webserver, refs []policy.Reference, want policy.Located) {
	for _, ref := range refs {
		w.about.Store(&about{memory: newMemory(maxRemembered)})
		got, err := w.Locate(t.Context(), w.base, []policy.Reference{ref})
		if diff := cmp.Diff(want[ref], got[ref]); diff != "" || err != nil {
			t.Errorf("%v alone: %v (-want +got):\n%s", ref, err, diff)
		}
	}
}

func askAssetLocations(t *testing.T, w *webserver) {
	w.asked = 0
	for range 2 {
		locations, err := w.AssetLocations(t.Context(), w.base)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range assetsOfWorkspace() {
			if diff := cmp.Diff(want, locations(strings.Split(path, "/"))); diff != "" {
				t.Errorf("asset %s (-want +got):\n%s", path, diff)
			}
		}
	}
	if want := 4; w.asked != want {
		t.Errorf("two AssetLocations asked %d times, want %d: nothing was loaded in between", w.asked, want)
	}
}

func assetsOfWorkspace() map[string][]string {
	return map[string][]string{
		"only_a": {"loc_a"}, "only_b": {"loc_b"}, "raw/orders_a": {"loc_a"}, "raw/orders_b": {"loc_b"},
		"shared": {"loc_a", "loc_b"}, "raw": nil, "orders_a": nil, "nope": nil, "RAW/orders_a": nil,
	}
}

// references is one of each kind in each location, and as many that nobody knows.
func references(ids map[string]string) ([]policy.Reference, policy.Located) {
	a, b, both := []string{"loc_a"}, []string{"loc_b"}, []string{"loc_a", "loc_b"}
	want := policy.Located{
		{Kind: policy.Location, ID: "loc_a"}:                     a,
		{Kind: policy.Run, ID: ids["run_a"]}:                     a,
		{Kind: policy.Run, ID: ids["run_b"]}:                     b,
		{Kind: policy.Backfill, ID: ids["job_backfill_a"]}:       a,
		{Kind: policy.Backfill, ID: ids["job_backfill_b"]}:       b,
		{Kind: policy.Backfill, ID: ids["asset_backfill_a"]}:     a,
		{Kind: policy.Backfill, ID: ids["asset_backfill_ab"]}:    both,
		{Kind: policy.Backfill, ID: ids["asset_backfill_twice"]}: both,
	}
	for path, in := range assetsOfWorkspace() {
		want[policy.Reference{Kind: policy.Asset, ID: policy.AssetID(strings.Split(path, "/"))}] = in
	}
	for kind, name := range map[policy.Kind]string{
		policy.ScheduleOrigin: "nightly_origin_", policy.ScheduleSelector: "nightly_selector_",
		policy.SensorOrigin: "watch_origin_", policy.SensorSelector: "watch_selector_",
	} {
		want[policy.Reference{Kind: kind, ID: ids[name+"a"]}] = a
		want[policy.Reference{Kind: kind, ID: ids[name+"b"]}] = b
	}
	// A schedule's ID is no sensor's, and an origin is no selector.
	for kind, id := range map[policy.Kind]string{
		policy.Run: "nope", policy.Backfill: "nope", policy.Asset: "no asset",
		policy.ScheduleOrigin: ids["nightly_selector_a"], policy.ScheduleSelector: ids["watch_selector_a"],
		policy.SensorOrigin: "nope", policy.SensorSelector: ids["nightly_selector_a"],
	} {
		want[policy.Reference{Kind: kind, ID: id}] = nil
	}
	want[policy.Reference{Kind: policy.Run, ID: "x\x00y"}] = nil
	want[policy.Reference{Kind: policy.Backfill, ID: ids["run_a"]}] = nil
	return sorted(want)
}

// sorted lists what to ask in one order, as a recording needs it, and keeps what is known.
func sorted(want policy.Located) ([]policy.Reference, policy.Located) {
	var refs []policy.Reference
	for ref, in := range want {
		refs = append(refs, ref)
		if in == nil {
			delete(want, ref)
		}
	}
	slices.SortFunc(refs, func(a, b policy.Reference) int { return strings.Compare(string(a.Kind)+a.ID, string(b.Kind)+b.ID) })
	return refs, want
}

// replay answers what was recorded, and nothing else.
func replay(t *testing.T, r recording) *webserver {
	answers := map[string]json.RawMessage{}
	for _, e := range r.Exchanges {
		answers[compact(t, e.Question)] = e.Answer
	}
	w := &webserver{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
		w.asked++
		body, _ := io.ReadAll(request.Body)
		answer, ok := answers[compact(t, body)]
		if !ok {
			http.Error(rw, "not recorded", http.StatusNotImplemented)
			return
		}
		_, _ = rw.Write(answer)
	}))
	t.Cleanup(server.Close)
	w.base, _ = url.Parse(server.URL)
	w.Upstream = New(Options{Log: zerolog.Nop()})
	return w
}

func compact(t *testing.T, data []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		t.Error(err)
	}
	return b.String()
}
