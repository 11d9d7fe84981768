package dagster

import (
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"dagster-authkit/internal/graphql"
)

// creatorTags say who or what launched a run, or reported an event. Dagster's daemon sets them; its UI believes whoever
// did, and shows the first that it finds in the place of the person.
var creatorTags = []string{
	"dagster/schedule_name", "dagster/sensor_name", "dagster/created_by", "dagster/auto_materialize",
	"dagster/auto_observe", "dagster/reporting_user",
}

// executionTag is the input type of a run tag in Dagster's schema: {key, value}.
const executionTag = "ExecutionTag"

// SignRuns writes a request anew so that every run and backfill that it launches carries the tag with the user as its
// value. Whatever the client itself wants to say about who launched them is removed. An empty tag turns that off.
//
// Where a mutation takes run tags is what the schema says: a re-execution by the parent's ID takes none before
// Dagster 1.10.1, and stays unsigned there.
func SignRuns(op *graphql.Operation, schema *graphql.Schema, tag, user string) (graphql.Request, error) {
	if tag == "" || op.Type != ast.Mutation {
		return op.Request, nil
	}
	fields := map[string][]string{}
	for _, field := range op.Fields {
		fields[field.Name] = append(fields[field.Name], field.ResponseKey)
	}
	sign := func(tags any) any { return signed(tags, tag, user) }
	var edits []graphql.Edit
	for _, mutation := range slices.Sorted(maps.Keys(fields)) {
		for _, path := range runTagPaths(schema, mutation) {
			edits = append(edits, graphql.Edit{Fields: fields[mutation], Path: path, Change: sign})
		}
	}
	return op.Edit(schema, edits...)
}

// signed are the client's tags without those that name a creator, and the user's at the end, which Dagster would let win
// even if one of the same key were still there.
func signed(tags any, tag, user string) []any {
	kept := make([]any, 0, len(graphql.List(tags))+1)
	for _, t := range graphql.List(tags) {
		if given, ok := t.(map[string]any); ok {
			if key, ok := given["key"].(string); ok && (key == tag || slices.Contains(creatorTags, key)) {
				continue
			}
		}
		kept = append(kept, t)
	}
	return append(kept, map[string]any{"key": tag, "value": user})
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
