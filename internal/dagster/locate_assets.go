package dagster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"dagster-authkit/internal/policy"
)

// graph is where every asset lives, as it was when the code locations were loaded so.
type graph struct {
	loads  string
	assets map[string][]string // by AssetID
}

func (g *graph) locations(path []string) []string { return g.assets[policy.AssetID(path)] }

const (
	askLoads = `loads: locationStatusesOrError { __typename
  ... on WorkspaceLocationStatusEntries { entries { id name loadStatus updateTimestamp versionKey } } }`
	askGraph = `assets: assetNodes { assetKey { path } repository { location { name } } }`
)

// AssetLocations tells in which code locations an asset lives, none for an unknown one; what it tells is not to be changed.
// Dagster is asked each time whether a code location was loaded since all assets were read, and only then they are read anew.
func (u *Upstream) AssetLocations(ctx context.Context, base *url.URL) (func(path []string) []string, error) {
	g, err := u.assetGraph(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("asking Dagster for the code locations of its assets: %w", err)
	}
	return g.locations, nil
}

func (u *Upstream) assetGraph(ctx context.Context, base *url.URL) (*graph, error) {
	data, err := u.query(ctx, base, "query AuthKitLoads { "+askLoads+" }", nil)
	if err != nil {
		return nil, err
	}
	loads, err := readLoads(data["loads"])
	if err != nil {
		return nil, err
	}
	if g := u.graph.Load(); g != nil && g.loads == loads {
		return g, nil
	}
	select {
	case u.graphing <- struct{}{}: // a graph is read once, however many people wait for it
		defer func() { <-u.graphing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if g := u.graph.Load(); g != nil && g.loads == loads {
		return g, nil
	}
	g, same, err := u.readGraph(ctx, base)
	if err == nil && same {
		u.graph.Store(g)
	}
	return g, err
}

// readGraph asks for all assets, then for those that are defined more than once; same says that no code location was loaded in
// between.
func (u *Upstream) readGraph(ctx context.Context, base *url.URL) (g *graph, same bool, err error) {
	data, err := u.query(ctx, base, "query AuthKitAssets { "+askLoads+" "+askGraph+" }", nil)
	if err != nil {
		return nil, false, err
	}
	before, err := readLoads(data["loads"])
	if err != nil {
		return nil, false, err
	}
	assets, err := readAssets(data["assets"], nil)
	if err != nil {
		return nil, false, err
	}
	if len(assets) == 0 {
		return &graph{loads: before}, true, nil
	}
	q := question{definitions: slices.Sorted(maps.Keys(assets))}
	document, variables := q.document(askLoads)
	if data, err = u.query(ctx, base, document, variables); err != nil {
		return nil, false, err
	}
	a, err := q.read(data)
	if err != nil {
		return nil, false, err
	}
	after, err := readLoads(data["loads"])
	if err != nil {
		return nil, false, err
	}
	return &graph{before, merge(assets, a.definitions)}, before == after, nil
}

func merge(assets, definitions map[string]places) map[string][]string {
	all := make(map[string][]string, len(assets))
	for id, in := range assets {
		maps.Copy(in, definitions[id])
		all[id] = in.list()
	}
	return all
}

// readLoads is a text that is another one after every load of a code location.
func readLoads(data json.RawMessage) (string, error) {
	var statuses struct {
		Type    string           `json:"__typename"`
		Entries []map[string]any `json:"entries"`
	}
	if err := decode(data, &statuses); err != nil {
		return "", err
	}
	if statuses.Type != "WorkspaceLocationStatusEntries" || statuses.Entries == nil {
		return "", unexpected("the code locations", statuses.Type)
	}
	return string(data), nil
}
