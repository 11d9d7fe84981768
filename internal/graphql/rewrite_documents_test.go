package graphql

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// dice makes the same choices in every run.
type dice struct{ state uint64 }

func (d *dice) roll(n int) int {
	d.state = d.state*6364136223846793005 + 1442695040888963407
	return int(d.state>>33) % n
}

// documentMaker makes documents that are valid by Dagster's rules: an alias tells its field, so that all fields of a key
// can be merged.
type documentMaker struct {
	dice
	schema    *ast.Schema
	fragments []madeFragment
}

type madeFragment struct{ on, text string }

func (m *documentMaker) document() string {
	operation := "query($yes:Boolean=true,$no:Boolean=false){" + m.set(m.schema.Query, 5) + "}"
	for i, f := range m.fragments {
		operation += fmt.Sprintf("fragment F%d on %s{%s}", i, f.on, f.text)
	}
	return operation
}

func (m *documentMaker) set(def *ast.Definition, depth int) string {
	var out []string
	if def.Kind == ast.Union || m.roll(9) == 0 {
		out = append(out, "__typename")
	}
	for range 1 + m.roll(4) {
		if text := m.selection(def, depth); text != "" {
			out = append(out, text+[]string{"", "", "", "@include(if:$yes)", "@skip(if:$no)", "@skip(if:true)"}[m.roll(6)])
		}
	}
	if len(out) == 0 {
		return "__typename"
	}
	return strings.Join(out, " ")
}

// selection returns field or fragment without directives; fields with selections end in their brace, where no directive
// may stand, so that these get theirs before.
func (m *documentMaker) selection(def *ast.Definition, depth int) string {
	switch kind := m.roll(6); {
	case kind == 0 && depth > 0:
		on := m.overlapping(def)
		return "...on " + on.Name + "@include(if:$yes){" + m.set(on, depth-1) + "} ...@skip(if:true){__typename} __typename"
	case kind == 1 && depth > 0:
		return m.spread(def, depth)
	case len(def.Fields) == 0:
		return ""
	}
	field := def.Fields[m.roll(len(def.Fields))]
	if strings.HasPrefix(field.Name, "__") {
		return ""
	}
	alias := field.Name
	if m.roll(3) == 0 {
		alias = "x_" + field.Name + ":" + field.Name
	}
	kind := m.schema.Types[field.Type.Name()]
	switch {
	case kind.IsLeafType():
		return alias
	case depth == 0:
		return ""
	}
	return alias + "{" + m.set(kind, depth-1) + "} __typename"
}

// overlapping is a type that an object of the other type can have.
func (m *documentMaker) overlapping(def *ast.Definition) *ast.Definition {
	var all []string
	for name, other := range m.schema.Types {
		if other.IsCompositeType() && m.overlap(def, other) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return m.schema.Types[all[m.roll(len(all))]]
}

func (m *documentMaker) overlap(a, b *ast.Definition) bool {
	possible := func(d *ast.Definition) []*ast.Definition {
		if d.IsAbstractType() {
			return m.schema.PossibleTypes[d.Name]
		}
		return []*ast.Definition{d}
	}
	return slices.ContainsFunc(possible(a), func(d *ast.Definition) bool { return slices.Contains(possible(b), d) })
}

func (m *documentMaker) spread(def *ast.Definition, depth int) string {
	for i, f := range m.fragments {
		if f.text != "" && m.overlap(def, m.schema.Types[f.on]) && m.roll(2) == 0 {
			return fmt.Sprintf("...F%d", i)
		}
	}
	on := m.overlapping(def)
	i := len(m.fragments)
	m.fragments = append(m.fragments, madeFragment{on: on.Name})
	m.fragments[i].text = m.set(on, depth-1)
	return fmt.Sprintf("...F%d", i)
}

func TestRewritingOfMadeDocuments(t *testing.T) {
	t.Parallel()
	schema := loadSchema(t, smallSchema)
	changed := 0
	for seed := range uint64(200) {
		m := documentMaker{dice: dice{seed}, schema: schema.raw}
		document := m.document()
		if _, err := Parse(Request{Query: document}, DefaultLimits()); err == nil { // within the limits
			changed += checkAgainstExecutor(t, schema, document, smallRules(seed%2 == 0), 3)
		}
	}
	t.Logf("%d answers differ by person", changed)
	if changed < 100 {
		t.Errorf("got %d answers that differ by person, want many", changed)
	}
}

// FuzzNewRewriting checks that no document makes it fall over, and that what is forwarded can be read again.
func FuzzNewRewriting(f *testing.F) {
	schema := loadSchema(f, smallSchema)
	for _, document := range append(nastyDocuments(), allPositions,
		"{runs{...F}} fragment F on Run{parent{...G} x:hasTerminatePermission @skip(if:true)} fragment G on Runnable{hasTerminatePermission}",
		"{either{...on Job{hasLaunchPermission repository{assetManifest}} ...on Pipeline{hasLaunchPermission}}}",
		"{runOrError{...on Run{x:hasTerminatePermission} ...on NotFound{x:found}}}", "{authkit_x:version permissions{value}}",
		"subscription{changes{hasDeletePermission}}", "mutation{launch{hasDeletePermission}}", "{nope{...on Run{hasDeletePermission{a}}}}",
		"{permissions canBulkTerminate{x} repositories{assetManifest{x}}}",
	) {
		f.Add(document, true)
		f.Add(document, false)
	}
	f.Fuzz(func(t *testing.T, document string, placed bool) {
		op, err := Parse(Request{Query: document}, DefaultLimits())
		if err != nil {
			return
		}
		before := op.Request.Query
		r, err := NewRewriting(op, schema, smallRules(placed))
		var refused *Error
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("%q: got error %v, want one for the client", document, err)
		}
		again, printErr := printDocument(op.Document)
		if printErr != nil || again != before {
			t.Fatalf("%q: the operation was changed to %q", before, again)
		}
		if r == nil {
			return
		}
		l := roomier()
		l.Tokens *= 4 // places are asked for besides
		forwarded, err := Parse(Request{Query: r.Query()}, l)
		if err != nil || forwarded.Request.Query != r.Query() {
			t.Fatalf("%q is forwarded as %q, which reads with error %v", document, r.Query(), err)
		}
		_, _ = rewritten(r, smallJudge, `{"data":{"runs":[{"authkit_Run_repositoryOrigin":{},"hasDeletePermission":true}],"canBulkTerminate":true}}`, 3)
	})
}

// TestNewRewritingIsBounded gives it documents of fragments in fragments: plain doubling is no work at all, as equal nodes
// are one; sets of fragments that are merged in ever new ways are refused.
func TestNewRewritingIsBounded(t *testing.T) {
	t.Parallel()
	schema := loadSchema(t, smallSchema)
	var doubling, merging strings.Builder
	doubling.WriteString("{runs{...F0}}")
	for i := range 90 {
		fmt.Fprintf(&doubling, "fragment F%d on Run{a:parent{...F%d} b:parent{...F%d}}", i, i+1, i+1)
	}
	doubling.WriteString("fragment F90 on Run{hasDeletePermission}")
	// The states of an automaton that remembers the last keys: as many sets as there are paths.
	const states, levels = 16, 30
	merging.WriteString("{runs{...G0_0}}")
	for level := range levels {
		fmt.Fprintf(&merging, "fragment G%d_0 on Run{a:parent{...G%d_0 ...G%d_1} b:parent{...G%d_0}}", level, level+1, level+1, level+1)
		for state := 1; state < states; state++ {
			next := min(state+1, states-1)
			fmt.Fprintf(&merging, "fragment G%d_%d on Run{a:parent{...G%d_%d} b:parent{...G%d_%d}}", level, state, level+1, next, level+1, next)
		}
	}
	for state := range states {
		fmt.Fprintf(&merging, "fragment G%d_%d on Run{hasDeletePermission}", levels, state)
	}
	start := time.Now()
	if r := newRewriting(t, schema, doubling.String(), smallRules(true)); r == nil {
		t.Error("doubling fragments: got nothing to rewrite")
	}
	var refused *Error
	r, err := NewRewriting(mustParseDocument(t, merging.String()), schema, smallRules(true))
	if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("merged fragments: got rewriting %t and error %v, want 400", r != nil, err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %s, want far less", took)
	}
}

func TestRulesThatDoNotFit(t *testing.T) {
	t.Parallel()
	schema := loadSchema(t, smallSchema)
	tests := map[string]struct {
		document string
		rule     Rule
	}{
		"a boolean rule for a list":    {"{permissions{value}}", Rule{Permission: "x"}},
		"a list rule for a boolean":    {"{canBulkTerminate}", Rule{}},
		"a list rule for other types":  {"{repositories{name}}", Rule{}},
		"flags for an object":          {"{runs{id}}", Rule{Flags: map[string]string{"x": "y"}}},
		"a place that is no selection": {"{canBulkTerminate}", Rule{Permission: "x", Place: "a{"}},
		"a place of fragments":         {"{canBulkTerminate}", Rule{Permission: "x", Place: "...on Query{version}"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := mustParseDocument(t, tt.document)
			_, err := NewRewriting(op, schema, func(parent, field string) *Rule {
				if parent == "Query" && field == op.Fields[0].Name {
					return &tt.rule
				}
				return nil
			})
			var refused *Error
			if err == nil || errors.As(err, &refused) {
				t.Errorf("got error %v, want one that is not the client's", err)
			}
		})
	}
}

func TestUnnamedPermissions(t *testing.T) {
	t.Parallel()
	schema := loadSchema(t, smallSchema)
	unnamed := func(parent, field string) *Rule {
		if parent == "Query" && field == "permissions" {
			return &Rule{Unnamed: true}
		}
		return nil
	}
	asked := []string{}
	judge := func(permission string, _ json.RawMessage) (bool, string) {
		asked = append(asked, permission)
		return false, "no"
	}
	r := newRewriting(t, schema, "{permissions{value disabledReason} all:permissions{permission value}}", unnamed)
	if got, want := r.Query(), "query{permissions{value disabledReason} all:permissions{permission value}}"; got != want {
		t.Errorf("got request %s, want %s", got, want)
	}
	got, err := rewritten(r, judge, `{"data":{"permissions":[{"value":true,"disabledReason":null}],"all":[{"permission":"wipe","value":true}]}}`, 9)
	want := `{"data":{"permissions":[{"value":false,"disabledReason":"no"}],"all":[{"permission":"wipe","value":false}]}}`
	if got != want || err != nil || !slices.Equal(asked, []string{"", "wipe"}) {
		t.Errorf("got %s, error %v, after asking about %q; want %s", got, err, asked, want)
	}
}
