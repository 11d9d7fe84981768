package dagster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"dagster-authkit/internal/policy"
)

// question is what Dagster is asked in one GraphQL document. IDs travel in variables only.
type question struct {
	runs, backfills []string
	assets          []string // AssetIDs, of which some may be unknown
	definitions     []string // AssetIDs that Dagster knows: it fails on others
	instigators     bool
}

func (q question) empty() bool {
	return len(q.runs)+len(q.backfills)+len(q.assets)+len(q.definitions) == 0 && !q.instigators
}

const (
	// The location is that of the run's remote job origin, which Dagster checks too. Without a limit of its own the question
	// would fall under the deployment's.
	askRuns = `runs: runsOrError(filter: {runIds: $runs}, limit: $limit) { __typename
  ... on Runs { results { runId repositoryOrigin { repositoryLocationName } } } }`
	askBackfill = `partitionBackfillOrError(backfillId: $%[1]s) { __typename
  ... on PartitionBackfill { id isAssetBackfill assetSelection { path } partitionSet { repositoryOrigin { repositoryLocationName } } } }`
	// The repository of an asset node is the one that Dagster takes for its own checks.
	askAssets = `assets: assetNodes(assetKeys: $assets) { assetKey { path } repository { location { name } } }`
	// Dagster counts what is defined twice, not what another location only reads.
	askDefinitions = `definitions: assetNodeDefinitionCollisions(assetKeys: $definitions) {
  assetKey { path } repositories { location { name } } }`
	// An instigator's own ID has its origin of today, that of its stored state the origin that it had when it was switched.
	askInstigators = `workspace: workspaceOrError { __typename
  ... on Workspace { locationEntries { name locationOrLoadError { __typename
    ... on RepositoryLocation { repositories {
      schedules { id scheduleState { id } }
      sensors { id sensorState { id } } } } } } } }`
)

// document writes the question, with the variables that it needs, and the fields that are asked for besides.
func (q question) document(fields ...string) (string, map[string]any) {
	var declared []string
	variables := map[string]any{}
	add := func(name, kind string, value any) {
		declared, variables[name] = append(declared, "$"+name+": "+kind), value
	}
	if len(q.runs) > 0 {
		add("runs", "[String!]", q.runs)
		add("limit", "Int", len(q.runs))
		fields = append(fields, askRuns)
	}
	for i, id := range q.backfills {
		name := fmt.Sprintf("b%d", i)
		add(name, "String!", id)
		fields = append(fields, name+": "+fmt.Sprintf(askBackfill, name))
	}
	if len(q.assets) > 0 {
		add("assets", "[AssetKeyInput!]", assetKeys(q.assets))
		fields = append(fields, askAssets)
	}
	if len(q.definitions) > 0 {
		add("definitions", "[AssetKeyInput!]!", assetKeys(q.definitions))
		fields = append(fields, askDefinitions)
	}
	if q.instigators {
		fields = append(fields, askInstigators)
	}
	head := "query AuthKitLocate"
	if len(declared) > 0 {
		head += "(" + strings.Join(declared, ", ") + ")"
	}
	return head + " {\n" + strings.Join(fields, "\n") + "\n}", variables
}

func assetKeys(ids []string) []assetKey {
	keys := make([]assetKey, len(ids))
	for i, id := range ids {
		keys[i] = assetKey{policy.AssetPath(id)}
	}
	return keys
}

// answers is what Dagster said to a question.
type answers struct {
	homes               map[policy.Reference]home
	assets, definitions map[string]places
	instigators         map[policy.Reference]places
}

func (u *Upstream) askWhere(ctx context.Context, base *url.URL, q question) (answers, error) {
	document, variables := q.document()
	data, err := u.query(ctx, base, document, variables)
	if err != nil {
		return answers{}, err
	}
	return q.read(data)
}

type (
	assetKey struct {
		Path []string `json:"path"`
	}
	repository struct {
		Location struct {
			Name string `json:"name"`
		} `json:"location"`
	}
	origin struct {
		Location string `json:"repositoryLocationName"`
	}
)

// read takes an answer apart. Whatever is not as the question demands is an error: it must never look like "unknown".
func (q question) read(data map[string]json.RawMessage) (answers, error) {
	a := answers{homes: map[policy.Reference]home{}}
	var err error
	if len(q.runs) > 0 {
		err = readRuns(data["runs"], q.runs, a.homes)
	}
	for i := 0; i < len(q.backfills) && err == nil; i++ {
		err = readBackfill(data[fmt.Sprintf("b%d", i)], q.backfills[i], a.homes)
	}
	if len(q.assets) > 0 && err == nil {
		a.assets, err = readAssets(data["assets"], q.assets)
	}
	if len(q.definitions) > 0 && err == nil {
		a.definitions, err = readDefinitions(data["definitions"], q.definitions)
	}
	if q.instigators && err == nil {
		a.instigators, err = readInstigators(data["workspace"])
	}
	return a, err
}

func readRuns(data json.RawMessage, asked []string, homes map[policy.Reference]home) error {
	var answer struct {
		Type    string `json:"__typename"`
		Results []struct {
			RunID  string  `json:"runId"`
			Origin *origin `json:"repositoryOrigin"`
		} `json:"results"`
	}
	if err := decode(data, &answer); err != nil {
		return err
	}
	if answer.Type != "Runs" || answer.Results == nil {
		return unexpected("runs", answer.Type)
	}
	wanted := set(asked)
	for _, run := range answer.Results {
		// MySQL compares without regard to case: what it found for another spelling is not the run that was asked for.
		if run.Origin == nil || !wanted[run.RunID] {
			continue
		}
		if run.Origin.Location == "" {
			return unexpected("runs", "a run without code location")
		}
		homes[policy.Reference{Kind: policy.Run, ID: run.RunID}] = home{location: run.Origin.Location}
	}
	return nil
}

func readBackfill(data json.RawMessage, asked string, homes map[policy.Reference]home) error {
	var answer struct {
		Type    string     `json:"__typename"`
		ID      string     `json:"id"`
		OfAsset *bool      `json:"isAssetBackfill"`
		Assets  []assetKey `json:"assetSelection"`
		Set     *struct {
			Origin origin `json:"repositoryOrigin"`
		} `json:"partitionSet"`
	}
	if err := decode(data, &answer); err != nil {
		return err
	}
	switch {
	case answer.Type == "BackfillNotFoundError":
		return nil
	case answer.Type != "PartitionBackfill" || answer.ID == "" || answer.OfAsset == nil:
		return unexpected("a backfill", answer.Type)
	case answer.ID != asked:
		return nil // as with runs, on MySQL
	case *answer.OfAsset && len(answer.Assets) == 0, !*answer.OfAsset && answer.Set == nil:
		return nil // no assets that one could look for, or a code location that is not loaded
	}
	h := home{}
	if !*answer.OfAsset {
		h.location = answer.Set.Origin.Location
	}
	for i := 0; *answer.OfAsset && i < len(answer.Assets); i++ {
		h.assets = append(h.assets, policy.AssetID(answer.Assets[i].Path))
	}
	if h.location == "" && len(h.assets) == 0 {
		return unexpected("a backfill", "no code location")
	}
	homes[policy.Reference{Kind: policy.Backfill, ID: asked}] = h
	return nil
}

func readAssets(data json.RawMessage, asked []string) (map[string]places, error) {
	var nodes []struct {
		Key        assetKey   `json:"assetKey"`
		Repository repository `json:"repository"`
	}
	if err := decode(data, &nodes); err != nil {
		return nil, err
	}
	wanted := set(asked)
	found := map[string]places{}
	for _, node := range nodes {
		id, location := policy.AssetID(node.Key.Path), node.Repository.Location.Name
		if asked != nil && !wanted[id] || len(node.Key.Path) == 0 || location == "" || found[id] != nil {
			return nil, unexpected("assets", "an asset that was not asked for")
		}
		found[id] = places{location: true}
	}
	return found, nil
}

func readDefinitions(data json.RawMessage, asked []string) (map[string]places, error) {
	var collisions []struct {
		Key          assetKey     `json:"assetKey"`
		Repositories []repository `json:"repositories"`
	}
	if err := decode(data, &collisions); err != nil {
		return nil, err
	}
	wanted := set(asked)
	found := map[string]places{}
	for _, collision := range collisions {
		id := policy.AssetID(collision.Key.Path)
		if !wanted[id] || found[id] != nil {
			return nil, unexpected("definitions", "an asset that was not asked for")
		}
		found[id] = places{}
		for _, r := range collision.Repositories {
			if r.Location.Name == "" {
				return nil, unexpected("definitions", "a repository without code location")
			}
			found[id][r.Location.Name] = true
		}
	}
	return found, nil
}

func set(values []string) map[string]bool {
	all := make(map[string]bool, len(values))
	for _, v := range values {
		all[v] = true
	}
	return all
}

func decode(data json.RawMessage, into any) error {
	if len(data) == 0 || string(data) == "null" {
		return unexpected("the answer", "null")
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %w", errUnexpected, err)
	}
	return nil
}

func unexpected(what, said string) error {
	return fmt.Errorf("%w: %s: %q", errUnexpected, what, said)
}
