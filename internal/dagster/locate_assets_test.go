package dagster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// reloading is a Dagster whose code locations are loaded anew whenever a test says so.
type reloading struct {
	mu       sync.Mutex
	load     int
	location string
	asked    map[string]int
	// before is called before a question is answered.
	before func(kind string)
}

func (r *reloading) answer(document string, _ map[string]any) (int, string) {
	kind := "loads"
	if strings.Contains(document, "assetNodes") {
		kind = "assets"
	} else if strings.Contains(document, "definitions") {
		kind = "definitions"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[kind]++
	if r.before != nil {
		r.before(kind)
	}
	return 200, fmt.Sprintf(`{"data": {
		"loads": {"__typename": "WorkspaceLocationStatusEntries", "entries": [{"name": "loc", "updateTimestamp": %d}]},
		"assets": [{"assetKey": {"path": ["a", "b"]}, "repository": {"location": {"name": %q}}}],
		"definitions": [{"assetKey": {"path": ["a", "b"]}, "repositories": [{"location": {"name": "other"}}, {"location": {"name": %[2]q}}]}]}}`,
		r.load, r.location)
}

func (r *reloading) expect(t *testing.T, u *Upstream, where string, assets int) {
	t.Helper()
	locations, err := u.AssetLocations(t.Context(), testBase)
	if err != nil {
		t.Fatal(err)
	}
	if got := locations([]string{"a", "b"}); !slices.Equal(got, []string{where, "other"}) {
		t.Errorf("the asset is in %v, want %s and other", got, where)
	}
	if got := locations([]string{"a"}); got != nil {
		t.Errorf("an unknown asset is in %v", got)
	}
	if r.asked["assets"] != assets {
		t.Errorf("all assets were read %d times, want %d", r.asked["assets"], assets)
	}
}

func TestAssetLocationsAreReadAgainAfterALoad(t *testing.T) {
	r := &reloading{location: "a", asked: map[string]int{}}
	u := New(Options{Transport: transport(r.answer)})
	r.expect(t, u, "a", 1)
	r.expect(t, u, "a", 1)
	r.load, r.location = 1, "b"
	r.expect(t, u, "b", 2)
	r.expect(t, u, "b", 2)
}

// A graph whose parts may be of two loads is not kept.
func TestAssetLocationsWhileLoading(t *testing.T) {
	r := &reloading{location: "a", asked: map[string]int{}}
	r.before = func(kind string) {
		if kind == "definitions" && r.load == 0 {
			r.load = 1
		}
	}
	u := New(Options{Transport: transport(r.answer)})
	r.expect(t, u, "a", 1)
	r.expect(t, u, "a", 2)
	r.expect(t, u, "a", 2)
}

func TestAssetLocationsAreReadOnceForAll(t *testing.T) {
	r := &reloading{location: "a", asked: map[string]int{}}
	u := New(Options{Transport: transport(r.answer)})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if locations, err := u.AssetLocations(t.Context(), testBase); err != nil || len(locations([]string{"a", "b"})) != 2 {
				t.Errorf("%v", err)
			}
		})
	}
	all.Wait()
	if r.asked["assets"] != 1 || r.asked["loads"] != 20 {
		t.Errorf("asked %v, want all assets once", r.asked)
	}
}

func TestAssetLocationsFailClosed(t *testing.T) {
	const loads = `"loads": {"__typename": "WorkspaceLocationStatusEntries", "entries": []}`
	tests := map[string]bool{
		`{` + loads + `, "assets": []}`:                                             true,
		`{"loads": {"__typename": "PythonError"}, "assets": []}`:                    false,
		`{"loads": {"__typename": "WorkspaceLocationStatusEntries"}, "assets": []}`: false,
		`{"assets": []}`:                  false,
		`{` + loads + `}`:                 false,
		`{` + loads + `, "assets": null}`: false,
		`{` + loads + `, "assets": [{"assetKey": {"path": ["a"]}}], "definitions": []}`:                                              false,
		`{` + loads + `, "assets": [{"assetKey": {"path": ["a"]}, "repository": {"location": {"name": "l"}}}]}`:                      false,
		`{` + loads + `, "assets": [{"assetKey": {"path": ["a"]}, "repository": {"location": {"name": "l"}}}], "definitions": []}`:   true,
		`{` + loads + `, "assets": [{"assetKey": {"path": ["a"]}, "repository": {"location": {"name": "l"}}}], "definitions": null}`: false,
	}
	for data, good := range tests {
		if _, err := saying(data).AssetLocations(t.Context(), testBase); (err == nil) != good {
			t.Errorf("%s: %v", data, err)
		}
	}
}
