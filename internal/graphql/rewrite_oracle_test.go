package graphql

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
)

// executor is a Dagster that makes all values up: from the schema and from where in the graph an object is, never from
// the keys of the document. With rules it is the Dagster that AuthKit wants people to see.
type executor struct {
	schema   *ast.Schema
	document *ast.QueryDocument
	values   values
	seed     uint32
	rules    func(parent, field string) *Rule // of a person with grants; nil: nobody asks
	judge    Judge
	out      bytes.Buffer
	// lengths of lists by type and field, where it is not made up.
	lengths map[string]int
	budget  int
}

// execute is the answer to the document.
func (e *executor) execute(tb testing.TB, op *Operation, s *Schema) string {
	tb.Helper()
	read, err := op.values()
	if err != nil {
		tb.Fatal(err)
	}
	e.schema, e.document, e.values, e.budget = s.raw, op.Document, read, 100_000_000
	e.out.WriteString(`{"data":`)
	e.object(rootType(op, s), []ast.SelectionSet{op.Definition.SelectionSet}, "")
	e.out.WriteString("}")
	return e.out.String()
}

// number is made up from a place.
func (e *executor) number(path string) uint32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d%s", e.seed, path)
	return h.Sum32()
}

func (e *executor) object(def *ast.Definition, sets []ast.SelectionSet, path string) {
	c := fieldCollector{
		refusal: &refusal{op: &Operation{Document: e.document}, schema: e.schema}, object: def, values: e.values,
		seen: map[string]bool{}, index: map[string]int{},
	}
	for _, set := range sets {
		if err := c.collect(set); err != nil {
			panic(err) // a document that is not valid
		}
	}
	e.out.WriteByte('{')
	for i, f := range c.fields {
		if i > 0 {
			e.out.WriteByte(',')
		}
		fmt.Fprintf(&e.out, "%q:", f.key)
		if f.name == "__typename" {
			fmt.Fprintf(&e.out, "%q", def.Name)
			continue
		}
		e.field(def, f, path)
	}
	e.out.WriteByte('}')
}

func (e *executor) field(parent *ast.Definition, f selectedField, path string) {
	def := parent.Fields.ForName(f.name)
	below := path + "/" + f.name
	var rule *Rule
	if e.rules != nil {
		rule = e.rules(parent.Name, f.name)
	}
	start := e.out.Len()
	e.value(def.Type, f.sets, below, e.lengths[parent.Name+"."+f.name])
	if rule == nil {
		return
	}
	var value any
	if err := decodeNumbers(e.out.Bytes()[start:], &value); err != nil {
		panic(err)
	}
	e.out.Truncate(start)
	e.out.Write(encodeJSON(e.ruled(rule, value, parent, f, path)))
}

// ruled is the naive way: the whole value in maps, the place looked up in the graph.
func (e *executor) ruled(rule *Rule, value any, parent *ast.Definition, f selectedField, path string) any {
	place := e.place(rule, parent, path)
	switch {
	case rule.Flags != nil:
		return e.flags(rule, value, place)
	case !rule.lists():
		if allowed, _ := e.judge(rule.Permission, place); value == true && !allowed {
			return false
		}
		return value
	}
	list, _ := value.([]any)
	for i, element := range list {
		if object, ok := element.(map[string]any); ok {
			e.permission(object, f, place, fmt.Sprintf("%s/%s/%d", path, f.name, i))
		}
	}
	return value
}

func (e *executor) permission(object map[string]any, f selectedField, place json.RawMessage, path string) {
	known := e.sub("{name:permission value:value}", "Permission", path)
	allowed, reason := e.judge(known["name"].(string), place)
	if allowed {
		return
	}
	op := e.document
	c := fieldCollector{
		refusal: &refusal{op: &Operation{Document: op}, schema: e.schema}, object: e.schema.Types["Permission"], values: e.values,
		seen: map[string]bool{}, index: map[string]int{},
	}
	for _, set := range f.sets {
		_ = c.collect(set)
	}
	selectsValue := slices.ContainsFunc(c.fields, func(f selectedField) bool { return f.name == permissionValue })
	if selectsValue && known["value"] == false {
		return
	}
	for _, f := range c.fields {
		switch {
		case f.name == permissionValue:
			object[f.key] = false
		case f.name == permissionReason && object[f.key] == nil:
			object[f.key] = reason
		}
	}
}

func (e *executor) flags(rule *Rule, value any, place json.RawMessage) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = e.flags(rule, v[i], place)
		}
	case map[string]any:
		for key := range v {
			permission, isFlag := rule.Flags[key]
			if isFlag && v[key] == true {
				v[key], _ = e.judge(permission, place)
			} else {
				v[key] = e.flags(rule, v[key], place)
			}
		}
	}
	return value
}

// sub asks something about the same object.
func (e *executor) sub(selection, parent, path string) map[string]any {
	op, err := Parse(Request{Query: selection}, DefaultLimits())
	if err != nil {
		panic(err)
	}
	other := executor{schema: e.schema, document: op.Document, seed: e.seed, values: values{}, budget: 1000}
	other.object(e.schema.Types[parent], []ast.SelectionSet{op.Definition.SelectionSet}, path)
	var object map[string]any
	if err := decodeNumbers(other.out.Bytes(), &object); err != nil {
		panic(err)
	}
	return object
}

func (e *executor) place(rule *Rule, parent *ast.Definition, path string) json.RawMessage {
	known := strings.ReplaceAll(strings.ReplaceAll(rule.Place, "nothingLikeThis", ""), "gone", "")
	if known == "" {
		return nil
	}
	return encodeJSON(e.sub("{"+known+"}", parent.Name, path))
}

func (e *executor) value(t *ast.Type, sets []ast.SelectionSet, path string, length int) {
	n := e.number(path)
	e.budget--
	switch {
	case !t.NonNull && n%7 == 0 && length == 0, e.budget < 0 && !t.NonNull:
		e.out.WriteString("null")
	case t.Elem != nil:
		if length == 0 {
			length = int(n % 4)
		}
		e.out.WriteByte('[')
		for i := range length {
			if i > 0 {
				e.out.WriteByte(',')
			}
			e.value(t.Elem, sets, fmt.Sprintf("%s/%d", path, i), 0)
		}
		e.out.WriteByte(']')
	default:
		e.named(e.schema.Types[t.NamedType], sets, path, n)
	}
}

func (e *executor) named(def *ast.Definition, sets []ast.SelectionSet, path string, n uint32) {
	switch def.Kind {
	case ast.Object:
		e.object(def, sets, path)
	case ast.Interface, ast.Union:
		all := e.schema.PossibleTypes[def.Name]
		if i := slices.IndexFunc(all, func(d *ast.Definition) bool { return d.Name == "PythonError" }); i >= 0 && n%5 > 0 {
			all = slices.Delete(slices.Clone(all), i, i+1) // few errors
		}
		e.object(all[n/7%uint32(len(all))], sets, path)
	case ast.Enum:
		fmt.Fprintf(&e.out, "%q", fmt.Sprint(def.Name, "_", n%3))
	case ast.Scalar, ast.InputObject:
		e.scalar(def.Name, n)
	}
}

func (e *executor) scalar(name string, n uint32) {
	switch name {
	case "Boolean":
		fmt.Fprintf(&e.out, "%t", n%5 > 0)
	case "Int":
		fmt.Fprintf(&e.out, "%d", n%1000)
	case "Float":
		fmt.Fprintf(&e.out, "%d.5e3", n%1000)
	case "String", "ID":
		fmt.Fprint(&e.out, []string{`"mine"`, `"theirs"`, `"launch"`, `"wipe"`, `"a \"quoted\" \ud83d\ude00 text, {[1]}"`, `"Zürich"`, `""`, `"\\"`}[n/11%8])
	default:
		fmt.Fprint(&e.out, []string{
			`{"hasWipePermission":true,"permissions":[{"value":true,"hasMaterializePermission":true}],"x":[]}`,
			`[{"hasMaterializePermission":true,"hasWipePermission":false,"authkit_x":1},{"hasWipePermission":"true"}]`,
			`{"has\u0057ipePermission":true,"hasMaterializePermission":{"hasWipePermission":true}}`, `"hasWipePermission"`, `1e400`, `true`, `{}`,
		}[n%7])
	}
}

// dagsterRules are for all permission fields of Dagster, for a person with grants.
func dagsterRules() func(parent, field string) *Rule {
	const origin, repository = "repositoryOrigin{repositoryLocationName}", "repository{location{name}}"
	rules := map[string]*Rule{
		"Query.permissions": {}, "WorkspaceLocationEntry.permissions": {Place: "name"}, "WorkspaceLocationStatusEntry.permissions": {Place: "name"},
		"Query.canBulkTerminate":            {Permission: "terminate"},
		"Sensor.hasCursorUpdatePermissions": {Permission: "cursor", Place: "sensorState{repositoryOrigin{repositoryLocationName}}"},
		"Repository.assetManifest": {Place: "location{name}", Flags: map[string]string{
			"hasWipePermission": "wipe", "hasMaterializePermission": "launch", "hasReportRunlessAssetEventPermission": "report",
		}},
	}
	places := map[string]string{
		"AssetNode.hasMaterializePermission hasWipePermission hasReportRunlessAssetEventPermission": repository,
		"InstigationState.hasStartPermission hasStopPermission":                                     origin,
		"Job.hasLaunchExecutionPermission hasLaunchReexecutionPermission":                           repository,
		"Pipeline.hasLaunchExecutionPermission hasLaunchReexecutionPermission":                      repository,
		"PartitionBackfill.hasCancelPermission hasResumePermission":                                 "assetSelection{path} partitionSet{repositoryOrigin{repositoryLocationName}}",
		"PartitionSet.hasLaunchBackfillPermission hasCancelBackfillPermission":                      origin,
		"Run.hasReExecutePermission hasTerminatePermission hasDeletePermission":                     origin + " assetSelection{path}",
	}
	for fields, place := range places {
		parent, names, _ := strings.Cut(fields, ".")
		for name := range strings.FieldsSeq(names) {
			rules[parent+"."+name] = &Rule{Permission: name, Place: place}
		}
	}
	return func(parent, field string) *Rule { return rules[parent+"."+field] }
}

// uiDocuments are all documents of Dagster's UI 1.13.27, from the source maps that it ships, each with its fragments.
func uiDocuments(tb testing.TB) map[string]string {
	tb.Helper()
	packed, err := os.Open("testdata/ui-documents-1.13.27.json.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer packed.Close()
	reader, err := gzip.NewReader(packed)
	if err != nil {
		tb.Fatal(err)
	}
	var documents map[string]string
	if err := json.NewDecoder(reader).Decode(&documents); err != nil {
		tb.Fatal(err)
	}
	return documents
}

// checkAgainstExecutor rewrites made up answers and compares them with those of a server that knows the rules.
func checkAgainstExecutor(t *testing.T, s *Schema, document string, rules func(parent, field string) *Rule, seeds int) (ruled int) {
	t.Helper()
	op := mustParseDocument(t, document)
	r, err := NewRewriting(op, s, rules)
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	if r == nil {
		return 0
	}
	forwarded, err := Parse(Request{Query: r.Query()}, roomier())
	if err != nil {
		t.Fatalf("%s is refused: %v", r.Query(), err)
	}
	for seed := range uint32(seeds) {
		answer := (&executor{seed: seed}).execute(t, forwarded, s)
		want := (&executor{seed: seed, rules: rules, judge: smallJudge}).execute(t, op, s)
		got, err := rewritten(r, smallJudge, answer, 1+int(seed*seed))
		if err != nil {
			t.Fatalf("%s: seed %d: %v", document, seed, err)
		}
		if want, got := decoded(t, want), decoded(t, got); !reflect.DeepEqual(want, got) {
			t.Fatalf("%s: seed %d (-want +got):\n%s\nanswer: %s", document, seed, cmp.Diff(want, got), answer)
		}
		plain := (&executor{seed: seed}).execute(t, op, s)
		if plain != want {
			ruled++
		}
	}
	return ruled
}

func decoded(tb testing.TB, text string) any {
	tb.Helper()
	var value any
	if err := decodeNumbers([]byte(text), &value); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return value
}

func TestRewritingOfTheUI(t *testing.T) {
	t.Parallel()
	schema, rules := dagsterSchema(t), dagsterRules()
	documents := uiDocuments(t)
	withRules, changed := 0, 0
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		op := mustParseDocument(t, documents[name])
		r, err := NewRewriting(op, schema, rules)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if selectsPermissions(documents[name]) != (r != nil) {
			t.Errorf("%s: got rewriting %t, but by its words it should be otherwise", name, r != nil)
		}
		if r == nil {
			continue
		}
		withRules++
		changed += checkAgainstExecutor(t, schema, documents[name], rules, 12)
	}
	t.Logf("%d documents, %d with permissions, %d answers that differ by person", len(documents), withRules, changed)
	if withRules < 20 || changed < 100 {
		t.Errorf("got %d documents and %d answers with permissions, want many", withRules, changed)
	}
}

// selectsPermissions goes by words, which is right for the documents of the UI.
func selectsPermissions(document string) bool {
	for _, word := range strings.FieldsFunc(document, func(r rune) bool { return strings.ContainsRune(" {}():", r) }) {
		if strings.HasPrefix(word, "has") && (strings.HasSuffix(word, "Permission") || strings.HasSuffix(word, "Permissions")) ||
			word == "permissions" || word == "canBulkTerminate" || word == "assetManifest" {
			return true
		}
	}
	return false
}
