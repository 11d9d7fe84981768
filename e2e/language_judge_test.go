package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"dagster-authkit/internal/graphql"
)

// judgeProcess is testdata/language/judge.py, running.
type judgeProcess struct {
	in       io.Writer
	out      io.Reader
	schema   *graphql.Schema
	versions string
}

// said is what Dagster made of a case.
type said struct {
	Raw, Forwarded outcome
	Problems       []string
}

type outcome struct {
	Ran     []calledField
	Refused string // why nothing ran
	Partly  bool   // there were errors
}

// calledField is a root field that ran.
type calledField struct{ Type, Name, Key string }

func startJudge(t *testing.T) *judgeProcess {
	t.Helper()
	cmd := exec.Command(filepath.Join(venv, "bin", "python"), "testdata/language/judge.py")
	cmd.Env = append(cleanEnv(), "PATH="+os.Getenv("PATH"), "DAGSTER_DISABLE_TELEMETRY=yes", "PYTHONDONTWRITEBYTECODE=1")
	stderr := &output{}
	cmd.Stderr = stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // the end of its input ends it
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("the judge in Python ended: %v\n%s", err, stderr)
		}
	})
	j := &judgeProcess{in: in, out: out}
	var hello struct {
		Data     json.RawMessage `json:"data"`
		Versions string          `json:"versions"`
	}
	// AuthKit asks for what it reads itself; whoever writes documents has to know a little more.
	introspection := strings.Replace(graphql.IntrospectionQuery(), "{", "{"+writersQuestion+" ", 1)
	j.exchange(t, map[string]string{"introspection": introspection}, &hello)
	j.versions = hello.Versions
	j.schema, err1 = graphql.ParseIntrospection([]byte(`{"data":` + string(hello.Data) + `}`))
	if err1 != nil {
		t.Fatal(err1)
	}
	j.addForWriters(t, hello.Data)
	return j
}

// writersQuestion asks for enum values, and for which arguments and input fields have default values.
const writersQuestion = `writers:__schema{types{name enumValues(includeDeprecated:true){name} ` +
	`inputFields(includeDeprecated:true){name defaultValue} ` +
	`fields(includeDeprecated:true){name args(includeDeprecated:true){name defaultValue}}}}`

type writersInput struct {
	Name         string
	DefaultValue *string
}

// addForWriters puts the answer to writersQuestion into the schema, which is nobody else's here.
func (j *judgeProcess) addForWriters(t *testing.T, data []byte) {
	t.Helper()
	var answer struct {
		Writers struct {
			Types []struct {
				Name        string
				EnumValues  []struct{ Name string }
				InputFields []writersInput
				Fields      []struct {
					Name string
					Args []writersInput
				}
			}
		}
	}
	if err := json.Unmarshal(data, &answer); err != nil || len(answer.Writers.Types) == 0 {
		t.Fatalf("enum values and default values: %v, %d types", err, len(answer.Writers.Types))
	}
	value := func(in writersInput) *ast.Value { return &ast.Value{Raw: *in.DefaultValue, Kind: ast.EnumValue} }
	for _, in := range answer.Writers.Types {
		def := j.schema.Raw().Types[in.Name]
		if def == nil {
			continue
		}
		for _, v := range in.EnumValues {
			def.EnumValues = append(def.EnumValues, &ast.EnumValueDefinition{Name: v.Name})
		}
		for _, f := range in.InputFields {
			if field := def.Fields.ForName(f.Name); field != nil && f.DefaultValue != nil {
				field.DefaultValue = value(f)
			}
		}
		for _, f := range in.Fields {
			for _, a := range f.Args {
				if argument := def.Fields.ForName(f.Name).Arguments.ForName(a.Name); argument != nil && a.DefaultValue != nil {
					argument.DefaultValue = value(a)
				}
			}
		}
	}
}

func (j *judgeProcess) ask(t *testing.T, questions []question) []said {
	t.Helper()
	var reply struct {
		Answers []said `json:"answers"`
	}
	j.exchange(t, map[string]any{"cases": questions}, &reply)
	if len(reply.Answers) != len(questions) {
		t.Fatalf("asked %d questions, got %d answers", len(questions), len(reply.Answers))
	}
	return reply.Answers
}

func (j *judgeProcess) exchange(t *testing.T, message, reply any) {
	t.Helper()
	data, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)); err != nil {
		t.Fatalf("asking the judge in Python: %v", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(j.out, size[:]); err != nil {
		t.Fatalf("the judge in Python did not answer: %v", err)
	}
	data = make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(j.out, data); err != nil {
		t.Fatalf("the judge in Python did not answer: %v", err)
	}
	if err := json.Unmarshal(data, reply); err != nil {
		t.Fatalf("the judge in Python answered %.200q: %v", data, err)
	}
}

var (
	uiTemplate   = regexp.MustCompile(`\(\[("\\n +(?:query|mutation|subscription|fragment) (?:[^"\\]|\\.)*"(?:,"(?:[^"\\]|\\.)*")*)\]\)`)
	uiDefinition = regexp.MustCompile(`(query|mutation|subscription|fragment) +(\w+)`)
	uiSpread     = regexp.MustCompile(`\.\.\. *(\w+)`)
)

// uiDocuments are the documents of Dagster's UI, each with the fragments that it reaches, out of the scripts that the
// installed dagster-webserver serves: gql templates, whose places hold nothing but fragments.
func uiDocuments(t *testing.T) []string {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join(venv, "lib", "python*", "site-packages", "dagster_webserver", "webapp", "build", "_next", "static", "chunks", "*.js"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(venv, "lib", "python*", "site-packages", "dagster_webserver", "webapp", "build", "_next", "static", "chunks", "*", "*.js"))
	if err != nil {
		t.Fatal(err)
	}
	operations, fragments := map[string]string{}, map[string]string{}
	for _, script := range append(scripts, pages...) {
		data, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range uiTemplate.FindAllSubmatch(data, -1) {
			var pieces []string
			if json.Unmarshal([]byte("["+string(m[1])+"]"), &pieces) == nil {
				addDefinitions(strings.Join(pieces, ""), operations, fragments)
			}
		}
	}
	names := make([]string, 0, len(operations))
	for name := range operations {
		names = append(names, name)
	}
	slices.Sort(names)
	var documents []string
	for _, name := range names {
		if text, ok := withFragments(operations[name], fragments); ok {
			documents = append(documents, text)
		}
	}
	return documents
}

// addDefinitions parts a text at the definitions in it, which begin at the left.
func addDefinitions(text string, operations, fragments map[string]string) {
	for _, definition := range splitDefinitions(text) {
		m := uiDefinition.FindStringSubmatch(definition)
		switch {
		case m == nil:
		case m[1] == "fragment":
			fragments[m[2]] = definition
		default:
			operations[m[2]] = definition
		}
	}
}

// splitDefinitions ends a definition where its last brace is closed. No string of these documents has braces.
func splitDefinitions(text string) []string {
	var all []string
	depth, start := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 && !strings.HasPrefix(strings.TrimLeft(text[i+1:], " \n"), ")") {
				all = append(all, text[start:i+1])
				start = i + 1
			}
		}
	}
	return all
}

func withFragments(operation string, fragments map[string]string) (string, bool) {
	text, todo, seen := operation, []string{operation}, map[string]bool{"on": true}
	for len(todo) > 0 {
		for _, m := range uiSpread.FindAllStringSubmatch(todo[0], -1) {
			if seen[m[1]] {
				continue
			}
			seen[m[1]] = true
			fragment, known := fragments[m[1]]
			if !known {
				return "", false
			}
			text += fragment
			todo = append(todo, fragment)
		}
		todo = todo[1:]
	}
	return text, true
}

// seedTexts are texts that the mutators start from.
type seedTexts struct {
	documents, bodies, frames, queries []string
}

// languageSeeds are what the fuzz targets of internal/graphql have kept, and the requests that were tried on Dagster.
func languageSeeds(t *testing.T) seedTexts {
	t.Helper()
	var seeds seedTexts
	const folder = "../internal/graphql/testdata/fuzz/"
	for _, values := range fuzzCorpus(t, folder+"FuzzParse") {
		seeds.documents = append(seeds.documents, values[0])
	}
	for _, values := range fuzzCorpus(t, folder+"FuzzReadFrame") {
		seeds.frames = append(seeds.frames, values[0])
	}
	for _, values := range fuzzCorpus(t, folder+"FuzzReadHTTP") {
		if len(values) == 3 {
			seeds.queries, seeds.bodies = append(seeds.queries, values[0]), append(seeds.bodies, values[2])
		}
	}
	data, err := os.ReadFile("testdata/surface-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var surface []struct {
		Target string
		Body   []byte `json:"body_base64"`
	}
	if err := json.Unmarshal(data, &surface); err != nil {
		t.Fatal(err)
	}
	for _, s := range surface {
		if _, query, found := strings.Cut(s.Target, "?"); found {
			seeds.queries = append(seeds.queries, query)
		}
		if len(s.Body) > 0 {
			seeds.bodies = append(seeds.bodies, string(s.Body))
		}
	}
	return seeds
}

// fuzzCorpus reads the strings of each file of a fuzz target's corpus.
func fuzzCorpus(t *testing.T, folder string) [][]string {
	t.Helper()
	files, err := filepath.Glob(folder + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus in %s: %v", folder, err)
	}
	var all [][]string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, line := range strings.Split(string(data), "\n")[1:] {
			text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(line, "string("), "[]byte("), ")")
			if value, err := strconv.Unquote(text); err == nil {
				values = append(values, value)
			}
		}
		if len(values) > 0 {
			all = append(all, values)
		}
	}
	return all
}
