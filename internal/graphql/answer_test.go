package graphql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// allPositions has a position of each kind in it.
const allPositions = `{a:canBulkTerminate permissions{permission v:value r:disabledReason} repositories{assetManifest}
	runs{x:hasTerminatePermission children{hasDeletePermission}}}`

func TestWriterRefuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", maxAnswerDepth)
	tests := map[string]struct{ answer, control string }{
		"cut short":             {`{"data":{"a":true}`, `{"data":{"a":true}}`},
		"cut in a string":       {`{"data":{"version":"`, `{"data":{"version":""}}`},
		"cut after a backslash": {`{"data":{"version":"\`, `{"data":{"version":"\\"}}`},
		"nothing":               {``, `{}`},
		"a list":                {`[{"data":{"a":true}}]`, `{"x":[{"data":{"a":true}}]}`},
		"a literal":             {`true `, ` {} `},
		"two answers":           {`{"data":{}}{"data":{"a":true}}`, `{"data":{}}`},
		"a comma too many":      {`{"data":{"a":true,}}`, `{"data":{"a":true}}`},
		"a comma too few":       {`{"data":{"a":true "b":1}}`, `{"data":{"a":true,"b":1}}`},
		"no colon":              {`{"data":{"a" true}}`, `{"data":{"a":true}}`},
		"two colons":            {`{"data":{"a"::true}}`, `{"data":{"a":true}}`},
		"no key":                {`{"data":{a:true}}`, `{"data":{"a":true}}`},
		"the wrong bracket":     {`{"data":{"runs":[{"x":true]}}`, `{"data":{"runs":[{"x":true}]}}`},
		"brackets that cross":   {`{"data":{"other":[{]}}}`, `{"data":{"other":[{}]}}`},
		"a bracket too many":    {`{"data":{}}}`, `{"data":{}}`},
		"odd bytes":             {`{"data":{"a":true}}` + "\x00", `{"data":{"a":true}}` + "\t"},
		"a broken key":          {`{"data":{"\x":true}}`, `{"data":{"\\x":true}}`},
		"too deep":              {`{"x":` + deep, `{"x":` + deep[1:] + strings.Repeat("]", maxAnswerDepth-1) + `}`},

		"a boolean in a string":           {`{"data":{"a":"true"}}`, `{"data":{"a":null}}`},
		"a boolean in a list":             {`{"data":{"a":[true]}}`, `{"data":{"a":false}}`},
		"a boolean in an object":          {`{"data":{"a":{"x":true}}}`, `{"data":{"A":{"x":true}}}`},
		"a boolean and more":              {`{"data":{"a":truefalse}}`, `{"data":{"a":true}}`},
		"a number for a boolean":          {`{"data":{"a":1}}`, `{"data":{"b":1}}`},
		"permissions in an object":        {`{"data":{"permissions":{"permission":"a","v":true}}}`, `{"data":{"permissions":null}}`},
		"permissions in lists":            {`{"data":{"permissions":[[]]}}`, `{"data":{"permissions":[null]}}`},
		"permissions that are broken":     {`{"data":{"permissions":[{"permission":"a","v":true,}]}}`, `{"data":{"permissions":[{"permission":"a","v":true}]}}`},
		"a permission of no name":         {`{"data":{"permissions":[{"v":true}]}}`, `{"data":{"permissions":[{"permission":"a","v":true}]}}`},
		"a permission of another name":    {`{"data":{"permissions":[{"permission":1,"v":true}]}}`, `{"data":{"permissions":[{"permission":"1","v":true}]}}`},
		"a permission of another value":   {`{"data":{"permissions":[{"permission":"a","v":1}]}}`, `{"data":{"permissions":[{"permission":"a","v":null}]}}`},
		"permissions that are very large": {`{"data":{"permissions":["` + strings.Repeat("x", maxHeld), `{"data":{"config":["` + strings.Repeat("x", maxHeld) + `"]}}`},
	}
	r := newRewriting(t, loadSchema(t, smallSchema), allPositions, smallRules(true))
	nobody := func(string, json.RawMessage) (bool, string) { return false, "" }
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, part := range []int{1, 1 << 16} {
				if len(tt.answer) > 1<<20 && part == 1 {
					continue
				}
				if _, err := rewritten(r, nobody, tt.control, part); err != nil {
					t.Fatalf("control: got error %v, want none", err)
				}
				got, err := rewritten(r, nobody, tt.answer, part)
				if err == nil {
					t.Errorf("in parts of %d: got %.200s, want an error", part, got)
				}
			}
		})
	}
}

func TestWriterStaysBroken(t *testing.T) {
	t.Parallel()
	r := newRewriting(t, loadSchema(t, smallSchema), allPositions, smallRules(true))
	var out strings.Builder
	w := r.Writer(&out, smallJudge)
	_, first := io.WriteString(w, `{"data":{"a":1}`)
	before := out.String()
	_, second := io.WriteString(w, `,"x":1}`)
	if closed := w.Close(); first == nil || second == nil || closed == nil || out.String() != before {
		t.Errorf("got errors %v, %v and %v and %q after %q, want nothing after the first error", first, second, closed, out.String(), before)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriterReportsTheOtherEnd(t *testing.T) {
	t.Parallel()
	r := newRewriting(t, loadSchema(t, smallSchema), allPositions, smallRules(true))
	w := r.Writer(brokenWriter{}, smallJudge)
	if _, err := io.WriteString(w, `{"data":{}}`); err == nil {
		t.Error("got no error of Write, want that of the writer behind it")
	}
}

func TestWriterPassesOnWhatIsDecided(t *testing.T) {
	t.Parallel()
	r := newRewriting(t, loadSchema(t, smallSchema), allPositions, smallRules(true))
	var out strings.Builder
	w := r.Writer(&out, smallJudge)
	for _, step := range []struct{ in, out string }{
		{`{"data":{"version":"1`, `{"data":{"version":"1`}, {`.13"`, `.13"`}, {`,"a":t`, `,"a":`}, {`rue`, ``}, {`}`, `false}`}, {`}`, `}`},
	} {
		out.Reset()
		if _, err := io.WriteString(w, step.in); err != nil {
			t.Fatal(err)
		}
		if out.String() != step.out {
			t.Errorf("after %s: got %s, want %s", step.in, out.String(), step.out)
		}
	}
}

// TestWriterMemory streams 50 MB of assets, and a manifest of 50 MB, without holding them.
func TestWriterMemory(t *testing.T) { // not parallel: it counts what is allocated
	const limit = 1 << 20
	r := newRewriting(t, loadSchema(t, smallSchema), allPositions, smallRules(true))
	node := []byte(`{"id":"` + strings.Repeat("x", 5000) + `","x":true,"hasWipePermission":true,"children":[]},`)
	for _, start := range []string{`{"data":{"runs":[`, `{"data":{"repositories":[{"assetManifest":[`} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := r.Writer(io.Discard, smallJudge)
		_, err := io.WriteString(w, start)
		for range 10_000 {
			if err == nil {
				_, err = w.Write(node)
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err != nil || used > limit {
			t.Errorf("%s: error %v, %d bytes allocated for 50 MB, want at most %d", start, err, used, limit)
		}
	}
}

// naive does with an answer to allPositions, as maps, what nobody's judge makes of it; false is for a wrong shape.
func naive(value any, where string) (any, bool) {
	below := map[string]string{
		" data": "data", "data a": "boolean", "data permissions": "list", "data repositories": "repository", "data runs": "run",
		"repository assetManifest": "raw", "run x": "boolean", "run children": "child", "child hasDeletePermission": "boolean",
	}
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			next := below[where+" "+key]
			if where == "raw" {
				next = "raw"
				if (key == "hasWipePermission" || key == "hasMaterializePermission") && v[key] == true {
					next = "boolean"
				}
			}
			if strings.HasPrefix(key, "authkit_") && next == "" {
				if where == "run" && key == "authkit_Run_repositoryOrigin" || where == "child" && key == "authkit_Run_repositoryOrigin" ||
					where == "repository" && key == "authkit_Repository_location" {
					delete(v, key)
				}
				continue
			}
			var ok bool
			if next == "" {
				continue
			}
			if v[key], ok = naiveRuled(v[key], next); !ok {
				return nil, false
			}
		}
	case []any:
		for i := range v {
			var ok bool
			if v[i], ok = naive(v[i], where); !ok {
				return nil, false
			}
		}
	}
	return value, true
}

func naiveRuled(value any, kind string) (any, bool) {
	switch kind {
	case "boolean":
		_, is := value.(bool)
		if value == nil {
			return nil, true
		}
		return false, is
	case "list":
		list, is := value.([]any)
		for i := range list {
			if list[i] != nil && !naivePermission(list[i]) {
				return nil, false
			}
		}
		return value, is || value == nil
	default:
		return naive(value, kind)
	}
}

func naivePermission(value any) bool {
	object, is := value.(map[string]any)
	if !is {
		return false
	}
	if _, is := object["permission"].(string); !is {
		return false
	}
	v, given := object["v"]
	if given && v == false {
		return true
	}
	if _, is := v.(bool); given && v != nil && !is {
		return false
	}
	if v == true {
		object["v"] = false
	}
	if r, given := object["r"]; given && r == nil {
		object["r"] = "no"
	}
	return true
}

// FuzzWriter checks that any JSON, in any parts, comes out as it was but for the positions that have a rule.
func FuzzWriter(f *testing.F) {
	for _, answer := range []string{
		`{"data":{"a":true,"permissions":[{"permission":"x","v":true,"r":null}],"repositories":[{"authkit_Repository_location":{"name":"x"},"assetManifest":[{"hasWipePermission":true,"x":{"hasMaterializePermission":true}}]}],"runs":[{"authkit_Run_repositoryOrigin":null,"x":true,"children":[[{"hasDeletePermission":true}]]}]}}`,
		` { "data" : { "runs" : { "\u0078" : true , "authkit_Run_repositoryOrigin" : [ 1 , { } ] } , "a" : null } , "y" : "\\" } `,
		`{"a":1.50e+3,"a":"\ud83d\ude00\"\\\\","data":{"a":true,"a":false,"runs":[],"repositories":{"assetManifest":true}}}`,
		`{"data":{"other":[{"a":[{"b":[{"c":[{"d":[{"e":[{"f":[{"g":[{"h":[[]]}]}]}]}]}]}]}]}],"a":"x"}}`, `{"data":[[{"a":true}]]}`, `{}`,
		`{"data":{"runs":[{"id":1,"authkit_Run_repositoryOrigin":1},{"authkit_Run_repositoryOrigin":1,"authkit_Run_repositoryOrigin":2,"id":2}]}}`,
	} {
		f.Add([]byte(answer), 1)
		f.Add([]byte(answer), 5)
	}
	r := newRewriting(f, loadSchema(f, smallSchema), allPositions, smallRules(true))
	f.Fuzz(func(t *testing.T, answer []byte, part int) { checkWriter(t, r, answer, max(part, 1)) })
}

func checkWriter(t *testing.T, r *Rewriting, answer []byte, part int) {
	t.Helper()
	nobody := func(string, json.RawMessage) (bool, string) { return false, "no" }
	answer = bytes.TrimSpace(answer)
	var value map[string]any
	if checkJSON(answer, 1000) != nil || decodeNumbers(answer, &value) != nil || value == nil || value["errors"] != nil {
		_, _ = rewritten(r, nobody, string(answer), part) // no panic
		return
	}
	want, right := naive(value, "")
	whole, err := rewritten(r, nobody, string(answer), len(answer))
	if (err == nil) != right {
		t.Fatalf("%s: got error %v, want one: %t", answer, err, !right)
	}
	if err != nil {
		return
	}
	if got := decoded(t, whole); !reflect.DeepEqual(want, got) { // cmp.Diff takes its time on nested lists
		t.Fatalf("%s (-want +got):\n%s", answer, cmp.Diff(want, got))
	}
	if inParts, err := rewritten(r, nobody, string(answer), part); err != nil || inParts != whole {
		t.Fatalf("in parts of %d: got %s and error %v, want %s", part, inParts, err, whole)
	}
	if _, err := rewritten(r, nobody, string(answer[:len(answer)-1]), part); err == nil {
		t.Fatalf("%s is taken for whole without its last byte", answer)
	}
}

// FuzzWriterShapes makes answers of the words that matter, where FuzzWriter mostly makes broken JSON.
func FuzzWriterShapes(f *testing.F) {
	f.Add([]byte("\x02\x00\x03\x02\x01\x04\x00\x06\x05\x01\x02\x03\x04\x05\x06\x07\x08"), 3)
	f.Add(bytes.Repeat([]byte{1, 9, 2, 5, 3, 7, 8, 8, 1, 4, 3}, 20), 1)
	r := newRewriting(f, loadSchema(f, smallSchema), allPositions, smallRules(true))
	f.Fuzz(func(t *testing.T, choices []byte, part int) {
		s := shaper{choices: choices}
		s.object([]string{"data", "extensions"}, 0)
		checkWriter(t, r, s.out.Bytes(), max(part, 1))
	})
}

// shaper makes an answer to allPositions, mostly of the right shape.
type shaper struct {
	choices []byte
	out     bytes.Buffer
}

func (s *shaper) choose(n int) int {
	if len(s.choices) == 0 {
		return 0
	}
	c := s.choices[0]
	s.choices = s.choices[1:]
	return int(c) % n
}

func (s *shaper) space() { s.out.WriteString([]string{"", "", "", " ", "\n\t"}[s.choose(5)]) }

func (s *shaper) object(keys []string, depth int) {
	s.out.WriteByte('{')
	for i, key := range keys {
		if s.choose(8) == 7 {
			continue
		}
		if s.out.Bytes()[s.out.Len()-1] != '{' && i > 0 {
			s.out.WriteByte(',')
		}
		text := string(encodeJSON(key))
		if s.choose(6) == 5 {
			text = fmt.Sprintf("\"\\u%04x%s\"", key[0], key[1:])
		}
		s.out.WriteString(text)
		s.space()
		s.out.WriteByte(':')
		s.space()
		s.member(key, depth+1)
	}
	s.out.WriteByte('}')
}

func (s *shaper) member(key string, depth int) {
	below := map[string][]string{
		"data": {"version", "a", "permissions", "runs", "repositories", "x"}, "runs": {"authkit_Run_repositoryOrigin", "id", "x", "children"},
		"children": {"id", "authkit_Run_repositoryOrigin", "hasDeletePermission"}, "permissions": {"permission", "v", "r", "x"},
		"repositories":  {"assetManifest", "name", "authkit_Repository_location"},
		"assetManifest": {"hasWipePermission", "authkit_x", "assetManifest", "hasMaterializePermission"},
		"version":       {"a", "data", "x", "permissions"},
	}[key]
	switch {
	case depth > 10 || len(s.choices) == 0:
		s.out.WriteString("null")
	case below == nil:
		s.leaf(key)
	default:
		s.below(key, below, depth)
	}
}

func (s *shaper) below(key string, keys []string, depth int) {
	n := s.choose(5)
	if key != "permissions" && n < 2 || key == "permissions" && n == 4 {
		s.object(keys, depth)
		return
	}
	s.out.WriteByte('[')
	for i := range n {
		if i > 0 {
			s.out.WriteByte(',')
		}
		s.space()
		if s.choose(10) == 9 {
			s.member(key, depth+1)
		} else {
			s.object(keys, depth)
		}
	}
	s.out.WriteByte(']')
}

func (s *shaper) leaf(key string) {
	leaves := []string{`true`, `false`, `null`, `true`, `"x"`, `1.50`, `{}`, `[true]`, `"\\"`, `"\"}"`}
	switch {
	case key == "permission":
		leaves = []string{`"launch"`, `"\u0061"`, `"wipe"`, `""`}
	case strings.HasPrefix(key, "has") || key == "a" || key == "v":
		leaves = append([]string{`true`, `true`, `true`, `false`, `null`, `true`, `true`}, leaves[s.choose(len(leaves))])
	}
	s.out.WriteString(leaves[s.choose(len(leaves))])
}

func TestWriterAtOnce(t *testing.T) {
	t.Parallel()
	r := newRewriting(t, loadSchema(t, smallSchema), allPositions, smallRules(true))
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for range 100 {
				got, err := rewritten(r, smallJudge, `{"data":{"runs":[{"authkit_Run_repositoryOrigin":{"locationName":"mine"},"x":true}]}}`, i+1)
				if want := `{"data":{"runs":[{"x":true}]}}`; got != want || err != nil {
					t.Fatalf("got %s and error %v, want %s", got, err, want)
				}
			}
		})
	}
}
