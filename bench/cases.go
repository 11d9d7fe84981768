package main

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// variableMark stands in a body where every request has something else.
const variableMark = "@DISTINCT@"

// loadCase is one kind of request under one number of connections.
type loadCase struct {
	Name        string
	path        string
	body        string // of a POST; none: a GET
	want        string // a piece of the right answer
	connections int
	// weight is how much longer than the others it is run: answers of a second need it.
	weight int
}

// distinctQuery uses its variable: Dagster looks up a code location that is not there, in memory.
const distinctQuery = `query ` + fastQuery + `($name: String!) { version workspaceLocationEntryOrError(name: $name) { __typename } }`

func graphQL(query string, variables map[string]any) string {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		panic(err) // strings and lists of them can always be written
	}
	return string(body)
}

// The cases that the goals speak of.
const (
	distinct1   = "distinct queries, 1 connection"
	distinct16  = "distinct queries, 16 connections"
	distinct64  = "distinct queries, 64 connections"
	identical1  = "identical queries, 1 connection"
	identical16 = "identical queries, 16 connections"
	identical64 = "identical queries, 64 connections"
	serverInfo  = "/server_info, 16 connections"
	indexPage   = "index.html, 16 connections"
	script16    = "largest script, 16 connections"
	workspace   = "workspace query, 4 connections"
	assetGraph  = "asset graph query, 4 connections"
	assetLive   = "live data of 50 assets, 4 connections"
)

func distinctCases() []loadCase {
	names := map[string]int{distinct1: 1, distinct16: 16, distinct64: 64}
	return queryCases(names, graphQL(distinctQuery, map[string]any{"name": variableMark}), `"workspaceLocationEntryOrError"`)
}

func identicalCases(quick bool) []loadCase {
	names := map[string]int{identical1: 1, identical16: 16, identical64: 64}
	if quick {
		names = map[string]int{identical16: 16}
	}
	return queryCases(names, graphQL("{version}", map[string]any{}), `"version"`)
}

// queryCases are one GraphQL request under several numbers of connections, the least first.
func queryCases(names map[string]int, body, want string) []loadCase {
	var cases []loadCase
	for name, connections := range names {
		cases = append(cases, loadCase{Name: name, path: "/graphql", body: body, want: want, connections: connections})
	}
	slices.SortFunc(cases, func(a, b loadCase) int { return cmp.Compare(a.connections, b.connections) })
	return cases
}

// dagsterCases are all cases against a real Dagster, whose wheel is in the virtual environment.
func dagsterCases(root string, quick bool) ([]loadCase, error) {
	cases := append(distinctCases(), identicalCases(quick)...)
	queries, err := uiCases(root)
	if err != nil {
		return nil, err
	}
	script, err := largestScript(filepath.Join(root, ".venv"))
	if err != nil {
		return nil, err
	}
	return append(append(cases, queries...),
		loadCase{Name: serverInfo, path: "/server_info", want: "dagster_webserver_version", connections: 16},
		loadCase{Name: indexPage, path: "/", want: "", connections: 16},
		loadCase{Name: script16, path: script, want: "", connections: 16},
	), nil
}

// uiCases are what the pages of Dagster's own UI ask for 1,000 assets.
func uiCases(root string) ([]loadCase, error) {
	found, err := filepath.Glob(filepath.Join(root, "internal/graphql/testdata/ui-documents-*.json.gz"))
	if err != nil || len(found) == 0 {
		return nil, errors.Join(errors.New("there are no documents of Dagster's UI in internal/graphql/testdata"), err)
	}
	documents, err := readDocuments(found[len(found)-1])
	if err != nil {
		return nil, err
	}
	var keys []map[string]any
	for number := range 50 {
		keys = append(keys, map[string]any{"path": []string{"group_7", fmt.Sprintf("asset_%d", number)}})
	}
	location := map[string]any{"name": "defs.py"}
	cases := []loadCase{
		{Name: workspace, body: graphQL(documents["LocationWorkspaceQuery"], location), want: "refresh_group_19", weight: 1},
		{Name: assetGraph, body: graphQL(documents["LocationWorkspaceAssetsQuery"], location), want: "asset_49", weight: 2},
		{Name: assetLive, body: graphQL(documents["AssetGraphLiveQuery"], map[string]any{"assetKeys": keys}), want: "asset_49", weight: 2},
	}
	for i := range cases {
		cases[i].path, cases[i].connections = "/graphql", 4
	}
	return cases, nil
}

func readDocuments(path string) (map[string]string, error) {
	file, err := os.Open(path) //nolint:gosec // A file of the repository.
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // Read only.
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	var documents map[string]string
	if err := json.NewDecoder(unpacked).Decode(&documents); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for _, name := range []string{"LocationWorkspaceQuery", "LocationWorkspaceAssetsQuery", "AssetGraphLiveQuery"} {
		if documents[name] == "" {
			return nil, fmt.Errorf("%s has no %s", path, name)
		}
	}
	return documents, nil
}

// largestScript is the path of the largest script of Dagster's UI, as a browser asks for it.
func largestScript(venv string) (string, error) {
	found, err := filepath.Glob(filepath.Join(venv, "lib/python3*/site-packages/dagster_webserver/webapp/build"))
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("there is no dagster-webserver in "+venv), err)
	}
	largest, size := "", int64(0)
	err = filepath.WalkDir(filepath.Join(found[0], "_next"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".js") {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			largest, size = strings.TrimPrefix(path, found[0]), info.Size()
		}
		return err
	})
	if err == nil && largest == "" {
		err = errors.New("there are no scripts in " + found[0])
	}
	return largest, err
}

// run is how long a case is run when the others are run for d.
func (c loadCase) run(d time.Duration) time.Duration { return time.Duration(max(1, c.weight)) * d }
