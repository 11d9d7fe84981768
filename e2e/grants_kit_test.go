package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// startLocations serves two code locations, loc_a.py and loc_b.py, beside defs.py. Runs are queued there.
func startLocations(t testing.TB, o options) *kit {
	t.Helper()
	k := prepare(t, o)
	for _, name := range []string{"loc_a.py", "loc_b.py"} {
		copyFile(t, "testdata/grants/location.py", filepath.Join(k.dir, name))
	}
	copyFile(t, "testdata/grants/dagster.yaml", filepath.Join(k.home, "dagster.yaml"))
	o.args = append([]string{"-f", "loc_a.py", "-f", "loc_b.py"}, o.args...)
	k.run(o)
	t.Cleanup(k.stop)
	k.waitReady()
	return k
}

// person is somebody new with a role everywhere and grants, each "role location", signed in.
func (k *kit) person(name, role string, grants ...string) *client {
	k.t.Helper()
	const password = "a-person-of-this-test"
	k.cli(password+"\n", "add-user", name, "--role", role, "--email", name+"@example.com", "--password-stdin")
	for _, grant := range grants {
		role, location, _ := strings.Cut(grant, " ")
		k.cli("", "grant", name, role, "--location", location)
	}
	c := k.anonymous()
	if resp, body := c.login(name, password); resp.StatusCode != http.StatusSeeOther {
		k.t.Fatalf("signing in as %s: got %d, want 303\n%s", name, resp.StatusCode, body)
	}
	return c
}

// marks are what the code of the locations has left, in sorted order: the webserver loads several at once.
func (k *kit) marks() []string {
	k.t.Helper()
	content, err := os.ReadFile(filepath.Join(k.home, "marks"))
	if err != nil {
		k.t.Fatal(err)
	}
	return slices.Sorted(strings.SplitSeq(strings.TrimSpace(string(content)), "\n"))
}

// everything is all that a mutation of the grants' tests can change: what is stored, the states of runs, and code that ran.
func (k *kit) everything() string {
	k.t.Helper()
	return k.fingerprint() + "\n" +
		strings.Join(k.query("history/runs.db", `SELECT run_id || ' ' || status FROM runs ORDER BY 1`), "\n") + "\n" +
		strings.Join(k.marks(), "\n")
}

// enum is a value that GraphQL writes without quotes.
type enum string

// call is a mutation with arguments that can be written in several ways.
type call struct {
	field     string
	arguments map[string]any
	types     map[string]string // of the arguments, for variables
	selection string            // empty: the field is a scalar
}

// The ways to write a call.
var forms = []string{"literals", "variables", "nested variables"}

func (c call) document(form string) (string, map[string]any) {
	writer := callWriter{values: map[string]any{}}
	names := slices.Sorted(maps.Keys(c.arguments))
	arguments := make([]string, 0, len(names))
	for _, name := range names {
		var text string
		switch form {
		case "variables":
			text = writer.variable(name, c.types[name], plainValue(c.arguments[name]))
		case "nested variables":
			writer.nested = true
			fallthrough
		default:
			text = writer.literal(c.arguments[name])
		}
		arguments = append(arguments, name+": "+text)
	}
	head := "mutation"
	if len(writer.definitions) > 0 {
		head += "(" + strings.Join(writer.definitions, ", ") + ")"
	}
	list := ""
	if len(arguments) > 0 {
		list = "(" + strings.Join(arguments, ", ") + ")"
	}
	return head + " { deed: " + c.field + list + " " + c.selection + " }", writer.values
}

type callWriter struct {
	nested      bool
	definitions []string
	values      map[string]any
}

func (w *callWriter) variable(name, kind string, value any) string {
	w.definitions = append(w.definitions, "$"+name+": "+kind)
	w.values[name] = value
	return "$" + name
}

func (w *callWriter) literal(value any) string {
	switch value := value.(type) {
	case enum:
		return string(value)
	case string:
		if w.nested {
			return w.variable(fmt.Sprintf("v%d", len(w.values)), "String!", value)
		}
		text, _ := json.Marshal(value)
		return string(text)
	case []any:
		texts := make([]string, 0, len(value))
		for _, element := range value {
			texts = append(texts, w.literal(element))
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case map[string]any:
		texts := make([]string, 0, len(value))
		for _, name := range slices.Sorted(maps.Keys(value)) {
			texts = append(texts, name+": "+w.literal(value[name]))
		}
		return "{" + strings.Join(texts, ", ") + "}"
	default:
		text, _ := json.Marshal(value)
		return string(text)
	}
}

// plainValue is the value as JSON knows it.
func plainValue(value any) any {
	switch value := value.(type) {
	case enum:
		return string(value)
	case []any:
		list := make([]any, 0, len(value))
		for _, element := range value {
			list = append(list, plainValue(element))
		}
		return list
	case map[string]any:
		object := map[string]any{}
		for name, inner := range value {
			object[name] = plainValue(inner)
		}
		return object
	default:
		return value
	}
}

// refusal is how AuthKit words one, wherever in the answer it stands: launchMultipleRuns and terminateRuns answer in lists.
var refusal = regexp.MustCompile(`requires the [A-Z][a-z]+ role`)

// try sends a call and tells whether AuthKit refused it.
func (c *client) try(call call, form string) (bool, answer) {
	c.t.Helper()
	document, variables := call.document(form)
	got := c.graphql(document, variables)
	return refusal.MatchString(got.Body), got
}

// place is a code location of the tests and what lives there.
type place struct {
	file, name                                                     string // loc_a.py, loc_a
	scheduleOrigin, scheduleSelector, sensorOrigin, sensorSelector string
}

// placeOf learns what only Dagster knows: the IDs of schedules and sensors.
func placeOf(t *testing.T, c *client, file string) place {
	t.Helper()
	p := place{file: file, name: strings.TrimSuffix(file, ".py")}
	selector := `repositorySelector: {repositoryLocationName: "` + file + `", repositoryName: "__repository__"}`
	var found struct {
		S struct {
			Results []struct{ State struct{ ID string } }
		}
	}
	ids := func(document string) (string, string) {
		t.Helper()
		got := c.graphql(document, nil)
		if err := json.Unmarshal([]byte(got.Body), &struct{ Data any }{&found}); err != nil || len(found.S.Results) != 1 {
			t.Fatalf("%v: %s", err, got.Body)
		}
		origin, id, _ := strings.Cut(found.S.Results[0].State.ID, "::")
		return origin, id
	}
	p.scheduleOrigin, p.scheduleSelector = ids(`{ s: schedulesOrError(` + selector + `) { ... on Schedules { results { state: scheduleState { id } } } } }`)
	p.sensorOrigin, p.sensorSelector = ids(`{ s: sensorsOrError(` + selector + `) { ... on Sensors { results { state: sensorState { id } } } } }`)
	return p
}

func (p place) repository() map[string]any {
	return map[string]any{"repositoryLocationName": p.file, "repositoryName": "__repository__"}
}

func (p place) with(name, value string) map[string]any {
	object := p.repository()
	object[name] = value
	return object
}

func (p place) asset(suffix string) map[string]any {
	return map[string]any{"path": []any{p.name + suffix}}
}

// execution is Dagster's ExecutionParams for the location's job, with metadata or without.
func (p place) execution(metadata map[string]any) map[string]any {
	params := map[string]any{"selector": p.with("jobName", "job"), "mode": "default"}
	if metadata != nil {
		params["executionMetadata"] = metadata
	}
	return params
}

const (
	launched  = `{ __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } }`
	message   = `{ __typename ... on Error { message } }`
	execType  = "ExecutionParams!"
	launchErr = `{ __typename ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } } } }`
)

func (p place) launch(metadata map[string]any) call {
	return call{"launchRun", map[string]any{"executionParams": p.execution(metadata)}, map[string]string{"executionParams": execType}, launched}
}

func (p place) reexecute(metadata map[string]any) call {
	return call{"launchRunReexecution", map[string]any{"executionParams": p.execution(metadata)}, map[string]string{"executionParams": "ExecutionParams"}, launched}
}

// run launches one there, by somebody who may, and returns its ID.
func (p place) run(c *client) string {
	c.t.Helper()
	_, got := c.try(p.launch(nil), "literals")
	return c.id(got, `"runId": *"([^"]+)"`)
}

// backfill starts one of the location's partitioned job.
func (p place) backfill(c *client) string {
	c.t.Helper()
	_, got := c.try(p.launchBackfill(), "literals")
	return c.id(got, `"backfillId": *"([^"]+)"`)
}

func (p place) launchBackfill() call {
	selector := map[string]any{"partitionSetName": "parts_job_partition_set", "repositorySelector": p.repository()}
	return backfillCall(map[string]any{"selector": selector, "partitionNames": []any{"one"}})
}

func backfillCall(params map[string]any) call {
	return call{
		"launchPartitionBackfill",
		map[string]any{"backfillParams": params},
		map[string]string{"backfillParams": "LaunchBackfillParams!"},
		`{ __typename ... on LaunchBackfillSuccess { backfillId } ... on Error { message } }`,
	}
}

// id finds the ID of what was just made.
func (c *client) id(got answer, pattern string) string {
	c.t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(got.Body)
	if match == nil {
		c.t.Fatalf("nothing was made: %s", got.Body)
	}
	return match[1]
}

// one is a call whose arguments are all Strings.
func one(field, selection string, arguments ...string) call {
	c := call{field: field, arguments: map[string]any{}, types: map[string]string{}, selection: cmp.Or(selection, message)}
	for i := 0; i < len(arguments); i += 2 {
		c.arguments[arguments[i]], c.types[arguments[i]] = arguments[i+1], "String!"
	}
	return c
}

// settled waits until the answer of the code locations is there for everybody.
func (k *kit) settled(c *client) {
	k.t.Helper()
	k.eventually(2*time.Minute, "all code locations are loaded", func() bool {
		got := c.graphql(`{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { name loadStatus } } } }`, nil)
		return strings.Count(got.Body, "LOADED") == 3
	})
}
