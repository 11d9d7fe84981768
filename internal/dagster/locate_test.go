package dagster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/policy"
)

// transport answers each GraphQL question with what a test says.
type transport func(document string, variables map[string]any) (status int, body string)

// RoundTrip answers.
func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var question struct {
		Query     string
		Variables map[string]any
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
		return nil, err
	}
	status, body := f(question.Query, question.Variables)
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

var testBase = &url.URL{Scheme: "http", Host: "dagster.test"}

// saying is an Upstream whose Dagster always answers that, with the fields of data.
func saying(data string) *Upstream {
	return New(Options{Transport: transport(func(string, map[string]any) (int, string) { return http.StatusOK, `{"data": ` + data + `}` })})
}

func run(id string) policy.Reference      { return policy.Reference{Kind: policy.Run, ID: id} }
func backfill(id string) policy.Reference { return policy.Reference{Kind: policy.Backfill, ID: id} }
func asset(path ...string) policy.Reference {
	return policy.Reference{Kind: policy.Asset, ID: policy.AssetID(path)}
}

func schedule(id string) policy.Reference {
	return policy.Reference{Kind: policy.ScheduleSelector, ID: id}
}

const (
	goodRun      = `{"runs": {"__typename": "Runs", "results": [{"runId": "r", "repositoryOrigin": {"repositoryLocationName": "loc"}}]}}`
	goodBackfill = `{"b0": {"__typename": "PartitionBackfill", "id": "b", "isAssetBackfill": false, "assetSelection": null,
		"partitionSet": {"repositoryOrigin": {"repositoryLocationName": "loc"}}}}`
	goodAsset     = `{"assets": [{"assetKey": {"path": ["a"]}, "repository": {"location": {"name": "loc"}}}], "definitions": []}`
	goodSchedules = `{"workspace": {"__typename": "Workspace", "locationEntries": [
		{"name": "broken", "locationOrLoadError": {"__typename": "PythonError"}},
		{"name": "loading", "locationOrLoadError": null},
		{"name": "loc", "locationOrLoadError": {"__typename": "RepositoryLocation", "repositories": [
			{"schedules": [{"id": "o::s", "scheduleState": {"id": "old::s"}}], "sensors": []}]}}]}}`
)

// TestLocateFailsClosed: an answer that is not what was asked for is an error, and never looks like an unknown thing.
func TestLocateFailsClosed(t *testing.T) {
	for _, kind := range []struct {
		name, good string
		ref        policy.Reference
		// bad replaces something in the good answer.
		bad [][2]string
	}{
		{"run", goodRun, run("r"), [][2]string{
			{`"Runs"`, `"PythonError"`},
			{`"Runs"`, `"InvalidPipelineRunsFilterError"`},
			{`"results"`, `"rows"`},
			{`"loc"`, `""`},
			{`"loc"`, `7`},
			{`"runs"`, `"walks"`},
			{`[{`, `{"x": {`},
			{`{"__typename"`, `null, "x": {"__typename"`},
		}},
		{"backfill", goodBackfill, backfill("b"), [][2]string{
			{`"PartitionBackfill"`, `"PythonError"`},
			{`"id": "b"`, `"id": ""`},
			{`false`, `null`},
			{`false`, `"no"`},
			{`"loc"`, `""`},
			{`"b0"`, `"b1"`},
		}},
		{"asset", goodAsset, asset("a"), [][2]string{
			{`["a"]`, `["b"]`},
			{`["a"]`, `[]`},
			{`["a"]`, `"a"`},
			{`"loc"`, `""`},
			{`{"location": {"name": "loc"}}`, `null`},
			{`"assets"`, `"x"`},
			{`"definitions"`, `"x"`},
			{`"definitions": []`, `"definitions": null`},
			{`"definitions": []`, `"definitions": [{"assetKey": {"path": ["b"]}, "repositories": []}]`},
			{`"definitions": []`, `"definitions": [{"assetKey": {"path": ["a"]}, "repositories": [{"location": null}]}]`},
			{`[{"assetKey"`, `[{"assetKey": {"path": ["a"]}, "repository": {"location": {"name": "x"}}}, {"assetKey"`},
		}},
		{"schedule", goodSchedules, schedule("s"), [][2]string{
			{`"Workspace"`, `"PythonError"`},
			{`"locationEntries"`, `"entries"`},
			{`"name": "loc"`, `"name": ""`},
			{`"RepositoryLocation"`, `"Other"`},
			{`"repositories"`, `"x"`},
			{`"o::s"`, `"os"`},
			{`"o::s"`, `"::s"`},
			{`"o::s"`, `"o::"`},
			{`"old::s"`, `""`},
			{`"schedules": [`, `"schedules": [null, `},
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			want := policy.Located{kind.ref: {"loc"}}
			got, err := saying(kind.good).Locate(t.Context(), testBase, []policy.Reference{kind.ref})
			if err != nil || !cmp.Equal(got, want) {
				t.Fatalf("the good answer: %v, %v", got, err)
			}
			bad := []string{`null`, `{}`, `[]`, `7`}
			for _, change := range kind.bad {
				text := strings.Replace(kind.good, change[0], change[1], 1)
				if text == kind.good {
					t.Errorf("%q is not in the good answer", change[0])
				}
				bad = append(bad, text)
			}
			for _, text := range bad {
				if got, err := saying(text).Locate(t.Context(), testBase, []policy.Reference{kind.ref}); err == nil {
					t.Errorf("%s: got %v, want an error", text, got)
				}
			}
		})
	}
}

func TestLocateOfBrokenTransport(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
	}{
		"errors":          {200, `{"errors": [{"message": "secret"}], "data": ` + goodRun + `}`},
		"status":          {500, `{"data": ` + goodRun + `}`},
		"redirect":        {302, ``},
		"no JSON":         {200, `<html>`},
		"two documents":   {200, `{"data": ` + goodRun + `}{}`},
		"cut off":         {200, `{"data": ` + goodRun[:50]},
		"null":            {200, `null`},
		"a batch":         {200, `[{"data": ` + goodRun + `}]`},
		"without data":    {200, `{}`},
		"far too much":    {200, `{"data": ` + goodRun + strings.Repeat(" ", maxAnswer) + `}`},
		"the good answer": {200, `{"data": ` + goodRun + `}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u := New(Options{Transport: transport(func(string, map[string]any) (int, string) { return test.status, test.body })})
			got, err := u.Locate(t.Context(), testBase, []policy.Reference{run("r")})
			if good := name == "the good answer"; (err == nil) != good {
				t.Errorf("got %v, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats Dagster's: %v", err)
			}
		})
	}
}

func TestLocateUnknown(t *testing.T) {
	tests := map[string]struct {
		ref  policy.Reference
		data string
	}{
		"run":                         {run("r"), `{"runs": {"__typename": "Runs", "results": []}}`},
		"run without origin":          {run("r"), `{"runs": {"__typename": "Runs", "results": [{"runId": "r", "repositoryOrigin": null}]}}`},
		"run of another spelling":     {run("R"), goodRun},
		"backfill":                    {backfill("b"), `{"b0": {"__typename": "BackfillNotFoundError"}}`},
		"backfill, another spelling":  {backfill("B"), goodBackfill},
		"backfill of an unloaded job": {backfill("b"), `{"b0": {"__typename": "PartitionBackfill", "id": "b", "isAssetBackfill": false, "partitionSet": null}}`},
		"backfill of no assets":       {backfill("b"), `{"b0": {"__typename": "PartitionBackfill", "id": "b", "isAssetBackfill": true, "assetSelection": []}}`},
		"asset":                       {asset("a"), `{"assets": []}`},
		"schedule":                    {schedule("o"), goodSchedules},
		"sensor":                      {policy.Reference{Kind: policy.SensorSelector, ID: "s"}, goodSchedules},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := saying(test.data).Locate(t.Context(), testBase, []policy.Reference{test.ref})
			if err != nil || len(got) > 0 {
				t.Errorf("got %v, %v, want nothing", got, err)
			}
		})
	}
}

// TestBackfillOfAnUnknownAsset: what can't be located wholly is not located; the control has only assets that are known.
func TestBackfillOfAnUnknownAsset(t *testing.T) {
	for selection, want := range map[string]policy.Located{
		`[{"path": ["a"]}, {"path": ["gone"]}]`: {},
		`[{"path": ["a"]}]`:                     {backfill("b"): {"loc"}},
	} {
		u := New(Options{Transport: transport(func(document string, _ map[string]any) (int, string) {
			if strings.Contains(document, "partitionBackfillOrError") {
				return 200, `{"data": {"b0": {"__typename": "PartitionBackfill", "id": "b", "isAssetBackfill": true, "assetSelection": ` + selection + `}}}`
			}
			return 200, `{"data": ` + goodAsset + `}`
		})})
		got, err := u.Locate(t.Context(), testBase, []policy.Reference{backfill("b")})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", selection, err, diff)
		}
	}
}

// TestLocateAsksWithVariables: no ID becomes part of a document, and what no storage holds is not asked for.
func TestLocateAsksWithVariables(t *testing.T) {
	var documents []string
	u := New(Options{Transport: transport(func(document string, variables map[string]any) (int, string) {
		documents = append(documents, document)
		if want := map[string]any{"runs": []any{`evil") { x }`}, "limit": 1.0}; !cmp.Equal(variables, want) {
			t.Errorf("asked with %v, want %v", variables, want)
		}
		return 200, `{"data": {"runs": {"__typename": "Runs", "results": []}}}`
	})})
	refs := []policy.Reference{
		{Kind: policy.Location, ID: "loc"},
		run(`evil") { x }`), run(`evil") { x }`), run(""), run("a\x00b"), run("a\nb"),
		run(strings.Repeat("r", maxID+1)), backfill("\x7f"),
		{Kind: policy.Asset, ID: "[]"},
		{Kind: policy.Asset, ID: "x"},
		{Kind: "other", ID: "x"},
	}
	got, err := u.Locate(t.Context(), testBase, refs)
	if diff := cmp.Diff(policy.Located{refs[0]: {"loc"}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if len(documents) != 1 || strings.Contains(documents[0], "evil") {
		t.Errorf("asked %q", documents)
	}
}

func TestLocateIsBounded(t *testing.T) {
	u := saying(`{"runs": {"__typename": "Runs", "results": []}}`)
	var refs []policy.Reference
	for i := range maxReferences {
		refs = append(refs, run(fmt.Sprint(i)))
	}
	if _, err := u.Locate(t.Context(), testBase, refs); err != nil {
		t.Errorf("%d references: %v", len(refs), err)
	}
	if _, err := u.Locate(t.Context(), testBase, append(refs, run("r"))); err == nil {
		t.Errorf("%d references were looked up", len(refs)+1)
	}
}

type silence struct{}

// RoundTrip never answers.
func (silence) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestLocateGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := New(Options{Transport: silence{}}).Locate(t.Context(), testBase, []policy.Reference{run("r")})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != locateTimeout {
			t.Errorf("%v after %s, want a deadline after %s", err, took, locateTimeout)
		}
	})
}

func TestMemory(t *testing.T) {
	m := newMemory(4)
	m.put(run("1"), home{location: "a"})
	m.put(backfill("1"), home{assets: []string{"x"}}) // counts twice
	m.put(run("2"), home{location: "b"})
	if _, ok := m.get(run("1")); !ok {
		t.Error("the first run is forgotten before there is too much")
	}
	m.put(run("1"), home{location: "elsewhere"}) // never changes
	m.put(run("3"), home{location: "c"})         // the backfill was not used for longest
	m.put(backfill("huge"), home{assets: make([]string, 4)})
	got := map[policy.Reference]bool{}
	for _, ref := range []policy.Reference{run("1"), run("2"), run("3"), backfill("1"), backfill("huge")} {
		_, got[ref] = m.get(ref)
	}
	want := map[policy.Reference]bool{run("1"): true, run("2"): true, run("3"): true, backfill("1"): false, backfill("huge"): false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	if h, _ := m.get(run("1")); h.location != "a" || m.weight != 3 || m.recent.Len() != len(m.entries) {
		t.Errorf("run 1 is in %q, the weight is %d, %d and %d entries", h.location, m.weight, m.recent.Len(), len(m.entries))
	}
}

func TestLocateConcurrently(t *testing.T) {
	u := saying(goodRun)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			got, err := u.Locate(t.Context(), testBase, []policy.Reference{run("r")})
			if err != nil || !slices.Equal(got[run("r")], []string{"loc"}) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	all.Wait()
}

// FuzzAnswer: whatever Dagster answers, nothing panics, and nothing is found that was not asked for or that has no name.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{goodRun, goodBackfill, goodAsset, goodSchedules, `{"runs": null}`, `{"b0": {"id": [[[[`} {
		f.Add(seed)
	}
	questions := []question{
		{runs: []string{"r"}},
		{backfills: []string{"b"}},
		{assets: []string{`["a"]`}},
		{definitions: []string{`["a"]`}},
		{instigators: true},
	}
	f.Fuzz(func(t *testing.T, text string) {
		var data map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &data) != nil {
			return
		}
		for _, q := range questions {
			a, err := q.read(data)
			if err != nil {
				continue
			}
			for ref, h := range a.homes {
				if !slices.Contains([]policy.Reference{run("r"), backfill("b")}, ref) || h.location == "" && len(h.assets) == 0 {
					t.Errorf("%s: %v is %v", text, ref, h)
				}
			}
			for _, found := range []map[string]places{a.assets, a.definitions} {
				for id, in := range found {
					if id != `["a"]` || in[""] {
						t.Errorf("%s: %s is in %v", text, id, in)
					}
				}
			}
			for ref, in := range a.instigators {
				if ref.ID == "" || in[""] || len(in) == 0 {
					t.Errorf("%s: %v is in %v", text, ref, in)
				}
			}
		}
	})
}
