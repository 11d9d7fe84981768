package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2" //nolint:depguard // a case must be made again from its seed
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	paths "dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
)

// TestLanguage sends requests to two judges: AuthKit's reader, and Dagster's own, in Python. What Dagster runs from the
// form that AuthKit would forward must be what AuthKit judged: no root field more, none fewer, none of another name, and
// with the arguments that AuthKit saw. Where Dagster runs the client's own request too, it must mean the same. Nothing
// may run from what AuthKit takes for a page.
//
// The requests are: those that failed once, in testdata/language/kept; Dagster's own documents, from its UI; and generated
// ones. A generated request is known by its number: LANGUAGE_SEED=1234 makes that one again and tells all about it.
// LANGUAGE_TIME=30m goes on with new numbers for that long (`make language`), and ends with what was refused on either side.
func TestLanguage(t *testing.T) {
	judge := startJudge(t)
	run := languageRun{t: t, judge: judge, refusals: map[string]*refusalClass{}}
	t.Run("kept", func(t *testing.T) { run.onKept(t, keptCases(t)) })
	ui := uiDocuments(t)
	t.Run("ui", func(t *testing.T) { run.onUI(t, ui) })
	maker := newCaseMaker(judge.schema, ui, languageSeeds(t))
	if seed := os.Getenv("LANGUAGE_SEED"); seed != "" {
		run.explain(t, maker, seed)
		return
	}
	t.Run("generated", func(t *testing.T) { run.generated(t, maker) })
	run.report()
}

const (
	shortCases    = 2000
	languageBatch = 50
	mostFindings  = 10
)

// languageCase is one request as a client would send it.
type languageCase struct {
	Name string `json:"-"`
	Why  string `json:"why,omitempty"`
	// Want is what must come of a kept case: "refused", "runs", or "forwarded" when Dagster runs nothing of it.
	Want string `json:"want,omitempty"`
	// Frame is a message for the WebSocket; all else is empty then.
	Frame   string      `json:"frame,omitempty"`
	Method  string      `json:"method,omitempty"`
	Target  string      `json:"target,omitempty"`
	Headers [][2]string `json:"headers,omitempty"`
	Body    string      `json:"body,omitempty"`
	// Base64 stands for Frame, or for Body where there is a Method, when they are no UTF-8.
	Base64 string `json:"base64,omitempty"`
}

func (c languageCase) String() string {
	if c.Method == "" {
		return fmt.Sprintf("frame %q", c.Frame)
	}
	return fmt.Sprintf("%s %q %q\n%q", c.Method, c.Target, c.Headers, c.Body)
}

// verdict is what AuthKit makes of a case.
type verdict struct {
	refused string // why it is not forwarded
	op      *graphql.Operation
	// forwarded is what Dagster gets. Without an operation it is something that must not run anything.
	forwarded any
}

// judged reads a case as internal/server does (judge, canonicalRequest, graphiQLRequest, pathRequest, judgeMessage). It
// refuses no more than the server: mutations by GET and subscriptions by HTTP are held against Dagster too. All but
// subscriptions are refused over the WebSocket, where Dagster runs a query as a subscription if a field's name fits both.
func (c languageCase) judged() verdict {
	if c.Method == "" {
		return judgedFrame(c.Frame)
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.raw())))
	if err != nil {
		return verdict{refused: "net/http refuses it"}
	}
	path, err := paths.ReadPath(r.URL, "")
	switch {
	case err != nil:
		return verdict{refused: "the path is refused"}
	case path.Route != paths.GraphQL:
		body := c.Body
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			body = ""
		}
		return verdict{forwarded: wire(r.Method, path.Escaped+"?"+r.URL.RawQuery, c.Headers, body)}
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html"):
		return verdict{forwarded: wire(r.Method, path.Escaped, [][2]string{{"Accept", "text/html"}}, "")}
	}
	request, err := graphql.ReadHTTP(r, graphql.DefaultLimits())
	if err != nil {
		return verdict{refused: err.Error()}
	}
	op, err := graphql.Parse(request, graphql.DefaultLimits())
	if err != nil {
		return verdict{refused: err.Error()}
	}
	body := string(op.Request.Encode())
	return verdict{op: op, forwarded: wire(http.MethodPost, path.Escaped, [][2]string{{"Content-Type", "application/json"}}, body)}
}

func (c languageCase) raw() string {
	var raw strings.Builder
	fmt.Fprintf(&raw, "%s %s HTTP/1.1\r\nHost: localhost\r\n", c.Method, c.Target)
	for _, h := range c.Headers {
		fmt.Fprintf(&raw, "%s: %s\r\n", h[0], h[1])
	}
	fmt.Fprintf(&raw, "Content-Length: %d\r\n\r\n%s", len(c.Body), c.Body)
	return raw.String()
}

func judgedFrame(data string) verdict {
	frame, err := graphql.ReadFrame([]byte(data), graphql.DefaultLimits())
	if err != nil {
		return verdict{refused: err.Error()}
	}
	if frame.Type != graphql.FrameStart {
		return verdict{forwarded: encoded(string(frame.Encode()))}
	}
	op, err := graphql.Parse(frame.Request, graphql.DefaultLimits())
	if err != nil {
		return verdict{refused: err.Error()}
	}
	if op.Type != "subscription" {
		return verdict{refused: "not a subscription"}
	}
	frame.Request = op.Request
	return verdict{op: op, forwarded: encoded(string(frame.Encode()))}
}

// question is a case for the judge in Python.
type question struct {
	Way       string        `json:"way"`
	Raw       any           `json:"raw"`
	Forwarded any           `json:"forwarded,omitempty"`
	Judged    *judgedFields `json:"judged,omitempty"`
}

type judgedFields struct {
	Type   string        `json:"type"`
	Fields []judgedField `json:"fields"`
}

type judgedField struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	// Arguments is JSON text: what Python can't read of it must not hinder the rest.
	Arguments string `json:"arguments"`
}

func wire(method, target string, headers [][2]string, body string) any {
	list := make([][2]string, len(headers))
	for i, h := range headers {
		list[i] = [2]string{latin1(h[0]), latin1(h[1])}
	}
	return map[string]any{"method": method, "target": latin1(target), "headers": list, "body": encoded(body)}
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// latin1 is text that has a character for each byte, as ASGI takes bytes.
func latin1(text string) string {
	runes := make([]rune, len(text))
	for i := range len(text) {
		runes[i] = rune(text[i])
	}
	return string(runes)
}

func (c languageCase) question(v verdict) (question, error) {
	q := question{Way: "frame", Raw: encoded(c.Frame), Forwarded: v.forwarded}
	if c.Method != "" {
		q.Way, q.Raw = "http", wire(c.Method, c.Target, c.Headers, c.Body)
	}
	if v.op == nil {
		return q, nil
	}
	q.Judged = &judgedFields{Type: string(v.op.Type), Fields: []judgedField{}}
	for _, f := range v.op.Fields {
		arguments, err := v.op.Arguments(f)
		if err != nil {
			return q, fmt.Errorf("the arguments of %s: %w", f.ResponseKey, err)
		}
		text, err := json.Marshal(arguments)
		if err != nil {
			return q, fmt.Errorf("the arguments of %s: %w", f.ResponseKey, err)
		}
		q.Judged.Fields = append(q.Judged.Fields, judgedField{Name: f.Name, Key: f.ResponseKey, Arguments: string(text)})
	}
	return q, nil
}

// findings compares the two judges.
func (j *judgeProcess) findings(v verdict, a said) []string {
	if v.refused != "" {
		return nil
	}
	found := a.Problems
	if v.op == nil {
		for _, call := range a.Forwarded.Ran {
			found = append(found, fmt.Sprintf("taken for a page, but Dagster runs %s %s", call.Type, call.Name))
		}
		return found
	}
	names := make(map[string]string, len(v.op.Fields))
	var judged, ran []string
	for _, f := range v.op.Fields {
		names[f.ResponseKey] = f.Name
		judged = append(judged, f.ResponseKey)
	}
	for _, call := range a.Forwarded.Ran {
		if !slices.Contains(ran, call.Key) {
			ran = append(ran, call.Key)
		}
		if name, known := names[call.Key]; !known || name != call.Name || call.Type != string(v.op.Type) {
			found = append(found, fmt.Sprintf("Dagster runs %s %s as %s, which was not judged so", call.Type, call.Name, call.Key))
		}
	}
	// @skip and @include may leave fields out, and so change the order; what was judged has all of them. A field whose
	// arguments turn out to be wrong is left out too.
	if len(ran) > 0 && !a.Forwarded.Partly && !strings.Contains(v.op.Request.Query, "@") && !slices.Equal(judged, ran) {
		found = append(found, fmt.Sprintf("judged %v, but Dagster runs %v", judged, ran))
	}
	if len(a.Raw.Ran) > 0 && len(ran) == 0 {
		found = append(found, "Dagster runs what the client sent, but not what is forwarded: "+a.Forwarded.Refused)
	}
	if bad := a.Raw.Refused; len(ran) > 0 && len(a.Raw.Ran) == 0 && j.misread(bad) {
		found = append(found, "Dagster can't read what the client sent, but runs what is forwarded: "+bad)
	}
	return found
}

// misread tells a request that Dagster's parser did not take from one that its validation refused, as it does for what
// stands in parts of a document that are not forwarded.
func (j *judgeProcess) misread(refused string) bool {
	if strings.HasSuffix(j.versions, "graphql-core 3.2.6") && describes(refused) {
		return false
	}
	return strings.Contains(refused, "Syntax Error")
}

// describes reports whether what was refused are the descriptions of an operation or its variables. Later versions take
// them; they say nothing and are not forwarded.
func describes(refused string) bool {
	return strings.Contains(refused, "Unexpected description") || strings.HasSuffix(refused, "Expected _, found String _.")
}

// languageRun sends cases and collects what came of them.
type languageRun struct {
	t        *testing.T
	judge    *judgeProcess
	cases    int
	forward  int // were forwarded
	ran      int // and ran
	found    int
	refusals map[string]*refusalClass
}

// refusalClass counts requests that one side takes and the other does not, with an example.
type refusalClass struct {
	count   int
	example string
}

func (run *languageRun) on(t *testing.T, cases []languageCase) {
	t.Helper()
	for batch := range slices.Chunk(cases, languageBatch) {
		run.batch(t, batch)
	}
}

// onKept also checks that each case still comes out as it did, so that none of them passes by being refused.
func (run *languageRun) onKept(t *testing.T, cases []languageCase) {
	for batch := range slices.Chunk(cases, languageBatch) {
		for i, a := range run.batch(t, batch) {
			if got := came(batch[i].judged(), a); got != batch[i].Want {
				t.Errorf("%s: is %s, want %s\n%s\n%+v", batch[i].Name, got, batch[i].Want, batch[i], a)
			}
		}
	}
}

func came(v verdict, a said) string {
	switch {
	case v.refused != "":
		return "refused"
	case len(a.Forwarded.Ran) > 0:
		return "runs"
	default:
		return "forwarded"
	}
}

func (run *languageRun) batch(t *testing.T, cases []languageCase) []said {
	t.Helper()
	verdicts, questions := make([]verdict, len(cases)), make([]question, len(cases))
	for i, c := range cases {
		verdicts[i] = c.judged()
		var err error
		if questions[i], err = c.question(verdicts[i]); err != nil {
			run.fail(t, c, err.Error())
		}
	}
	answers := run.judge.ask(t, questions)
	for i, c := range cases {
		run.count(c, verdicts[i], answers[i])
		for _, finding := range run.judge.findings(verdicts[i], answers[i]) {
			run.fail(t, c, finding)
		}
	}
	return answers
}

func (run *languageRun) fail(t *testing.T, c languageCase, finding string) {
	t.Helper()
	text, _ := json.Marshal(c.kept(finding))
	t.Errorf("%s: %s\n%s\nto keep: %s", c.Name, finding, c, text)
	if run.found++; run.found >= mostFindings {
		t.Fatal("enough")
	}
}

// kept is the form for testdata/language/kept.
func (c languageCase) kept(why string) languageCase {
	c.Why = why
	if text := &c.Body; c.Method == "" {
		text = &c.Frame
		c.encodeOdd(text)
	} else {
		c.encodeOdd(text)
	}
	return c
}

func (c *languageCase) encodeOdd(text *string) {
	if !utf8.ValidString(*text) {
		c.Base64, *text = encoded(*text), ""
	}
}

func (run *languageRun) count(c languageCase, v verdict, a said) {
	run.cases++
	class := ""
	switch {
	case v.refused != "" && len(a.Raw.Ran) > 0:
		class = "stricter: " + cut(v.refused)
	case v.refused != "":
		class = "both refuse: " + cut(v.refused)
	case len(a.Forwarded.Ran) == 0:
		run.forward++
		class = "Dagster refuses: " + a.Forwarded.Refused
	default:
		run.forward++
		run.ran++
		if len(a.Raw.Ran) == 0 {
			class = "looser: " + a.Raw.Refused
		}
	}
	if class == "" {
		return
	}
	if run.refusals[class] == nil {
		run.refusals[class] = &refusalClass{example: c.Name + " " + c.String()}
	}
	run.refusals[class].count++
}

// cut leaves out what a message says of one place in the document.
func cut(message string) string {
	head, rest, found := strings.Cut(message, "document:")
	if _, after, ok := strings.Cut(rest, ": "); found && ok {
		return head + after
	}
	return message
}

func (run *languageRun) generated(t *testing.T, maker *caseMaker) {
	first, until := uint64(0), time.Time{}
	if text := os.Getenv("LANGUAGE_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("LANGUAGE_TIME: %v", err)
		}
		until = time.Now().Add(d)
		first = uint64(time.Now().Unix()) << 20
	}
	for seed := first; time.Now().Before(until) || until.IsZero() && seed < shortCases; seed += languageBatch {
		cases := make([]languageCase, languageBatch)
		for i := range cases {
			cases[i] = maker.make(seed + uint64(i))
		}
		run.batch(t, cases)
		if (seed-first)%(400*languageBatch) == 0 && !until.IsZero() {
			t.Logf("%s: %d cases, %d forwarded, %d ran", time.Now().Format(time.TimeOnly), run.cases, run.forward, run.ran)
		}
	}
}

// onUI checks that no document of Dagster's own UI is refused.
func (run *languageRun) onUI(t *testing.T, documents []string) {
	if len(documents) < 100 {
		t.Fatalf("found %d documents in Dagster's UI, want at least 100", len(documents))
	}
	var cases []languageCase
	for i, document := range documents {
		body, _ := json.Marshal(map[string]any{"query": document, "variables": map[string]any{}})
		c := postCase(string(body))
		c.Name = "ui " + strconv.Itoa(i)
		if v := c.judged(); v.refused != "" {
			t.Errorf("a document of the UI is refused: %s\n%s", v.refused, document)
		}
		cases = append(cases, c)
	}
	run.on(t, cases)
}

func postCase(body string) languageCase {
	return languageCase{Method: http.MethodPost, Target: "/graphql", Headers: [][2]string{{"Content-Type", "application/json"}}, Body: body}
}

func (run *languageRun) explain(t *testing.T, maker *caseMaker, seed string) {
	number, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		t.Fatalf("LANGUAGE_SEED: %v", err)
	}
	c := maker.make(number)
	v := c.judged()
	t.Logf("%s\nrefused: %q\nforwarded: %v", c, v.refused, v.op)
	if v.op != nil {
		t.Logf("forwarded: %s", v.op.Request.Encode())
	}
	t.Logf("answer: %+v", run.batch(t, []languageCase{c}))
}

// report tells how much was tried, and where the judges take different requests: neither is a fault.
func (run *languageRun) report() {
	run.t.Logf("%s: %d cases, %d of them forwarded, %d of those ran", run.judge.versions, run.cases, run.forward, run.ran)
	if os.Getenv("LANGUAGE_TIME") == "" {
		return
	}
	classes := make([]string, 0, len(run.refusals))
	for class := range run.refusals {
		classes = append(classes, class)
	}
	slices.SortFunc(classes, func(a, b string) int { return run.refusals[b].count - run.refusals[a].count })
	for _, class := range classes {
		r := run.refusals[class]
		run.t.Logf("%6d %s\n       e.g. %.600s", r.count, class, r.example)
	}
}

func keptCases(t *testing.T) []languageCase {
	t.Helper()
	files, err := filepath.Glob("testdata/language/kept/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []languageCase
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c languageCase
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if c.Base64 != "" {
			odd, err := base64.StdEncoding.DecodeString(c.Base64)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if c.Method == "" {
				c.Frame = string(odd)
			} else {
				c.Body = string(odd)
			}
		}
		c.Name = filepath.Base(file)
		cases = append(cases, c)
	}
	return cases
}

// caseMaker makes the case of a number.
type caseMaker struct {
	documents documentMaker
	seeds     seedTexts
}

func (m *caseMaker) make(seed uint64) languageCase {
	random := dice{rand.New(rand.NewPCG(seed, 1))}
	c := m.request(random)
	c.Name = "LANGUAGE_SEED=" + strconv.FormatUint(seed, 10)
	return c
}

// dice are a case's random choices.
type dice struct{ *rand.Rand }

// chance is true in the given percentage of cases.
func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }
