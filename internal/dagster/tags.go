package dagster

import (
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"dagster-authkit/internal/graphql"
)

// creatorTags say who or what launched a run, or reported an event. Dagster's daemon sets them; its UI believes whoever
// did, and shows them in the place of the person: of several the first, and it sorts them, so that dagster/... comes
// before user. The newest runs page takes a run that was retried before for an automatic retry, which nobody launched.
var creatorTags = []string{
	"dagster/schedule_name", "dagster/sensor_name", "dagster/created_by", "dagster/auto_materialize",
	"dagster/auto_observe", "dagster/retry_number", "dagster/reporting_user",
	".dagster/repository", // says of which code location a run is; hidden, so that no client sends it back
}

// executionTag is the input type of a run tag in Dagster's schema: {key, value}.
const executionTag = "ExecutionTag"

// SignRuns writes a request anew so that every run and backfill that it launches carries the tag with the user as its
// value. Whatever the client itself wants to say about who launched them is removed. An empty tag turns that off.
//
// Where a mutation takes run tags is what the schema says: a re-execution by the parent's ID takes none in Dagster 1.10.0
// and names there whom the parent names. What else such a re-execution inherits is Parents' concern. Dagster takes tags
// for the re-execution of a backfill and ignores them, up to 1.13: that one keeps the user of the first.
func (p Parents) SignRuns(op *graphql.Operation, schema *graphql.Schema, tag, user string) (graphql.Request, error) {
	if tag == "" || op.Type != ast.Mutation {
		return op.Request, nil
	}
	fields := map[string][]string{}
	for _, field := range op.Fields {
		fields[field.Name] = append(fields[field.Name], field.ResponseKey)
	}
	s := signature{tag: tag, user: user, parents: p}
	var edits []graphql.Edit
	for _, mutation := range slices.Sorted(maps.Keys(fields)) {
		for _, path := range runTagPaths(schema, mutation) {
			edit := graphql.Edit{Fields: fields[mutation], Path: path, Change: s.tags}
			if len(p) > 0 && reexecutions[mutation] && path[0] == reexecutionParams {
				edit.Path, edit.Change = path[:1], s.reexecution
			}
			edits = append(edits, edit)
		}
	}
	return op.Edit(schema, edits...)
}

// signature is what is written on runs.
type signature struct {
	tag, user string
	parents   Parents
}

// tags are the client's without those that name a creator, and the user's at the end, which Dagster would let win even if
// one of the same key were still there.
func (s signature) tags(given any) any {
	list := graphql.List(given)
	kept := make([]any, 0, len(list)+1)
	for _, tag := range list {
		if key := tagKey(tag); key != s.tag && !slices.Contains(creatorTags, key) {
			kept = append(kept, tag)
		}
	}
	return append(kept, runTag(s.tag, s.user))
}

func tagKey(tag any) string {
	given, _ := tag.(map[string]any)
	key, _ := given["key"].(string)
	return key
}

func runTag(key, value string) map[string]any {
	return map[string]any{"key": key, "value": value}
}

// runTagPaths are the places in a mutation's arguments where its run tags stand: an argument and the input fields below
// it. Tags in a filter choose runs and set nothing.
func runTagPaths(schema *graphql.Schema, mutation string) [][]string {
	if schema == nil || schema.Raw().Mutation == nil {
		return nil
	}
	field := schema.Raw().Mutation.Fields.ForName(mutation)
	if field == nil {
		return nil
	}
	var paths [][]string
	for _, argument := range field.Arguments {
		paths = append(paths, tagPathsBelow(schema.Raw(), argument.Type, []string{argument.Name})...)
	}
	return paths
}

// maxTagDepth is how deep run tags are looked for; input types may contain themselves.
const maxTagDepth = 6

func tagPathsBelow(schema *ast.Schema, t *ast.Type, path []string) [][]string {
	if t.Elem != nil && t.Elem.Name() == executionTag {
		return [][]string{path}
	}
	definition := schema.Types[t.Name()]
	if definition == nil || definition.Kind != ast.InputObject || strings.HasSuffix(definition.Name, "Filter") || len(path) == maxTagDepth {
		return nil
	}
	var paths [][]string
	for _, field := range definition.Fields {
		paths = append(paths, tagPathsBelow(schema, field.Type, append(slices.Clone(path), field.Name))...)
	}
	return paths
}
