package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// oracle is AuthKit beside the two Dagsters that know what is right: a read-only one for viewers, an ordinary one for editors.
type oracle struct {
	t                  *testing.T
	kit                *kit
	readOnly, ordinary *client
	viewer, editor     *client
	schema             liveSchema
	left, right        half

	mutations map[string]bool // compared
	seen      map[string]int  // permission fields, and how many values of each were compared
}

// TestOracle sends the same requests to bare Dagsters and through AuthKit, all on one storage. A viewer gets what
// `dagster-webserver --read-only` answers and an editor what an ordinary one does, for every mutation and permission field
// that the schema has, but for messages and for what is named here as an exception.
func TestOracle(t *testing.T) {
	t.Parallel()
	k := start(t, options{oracle: true}) // ready, so that the others find the tables of Dagster's storage made
	o := &oracle{t: t, kit: k, readOnly: k.bare("--read-only"), ordinary: k.bare(), mutations: map[string]bool{}, seen: map[string]int{}}
	o.readOnly.waitLoaded()
	o.ordinary.waitLoaded()
	o.viewer, o.editor = k.signIn("vic"), k.signIn("ed")
	o.schema = introspect(t, o.ordinary)
	o.left, o.right = k.prepareHalf(t, o.ordinary, "left"), k.prepareHalf(t, o.ordinary, "right")

	o.everyMutationHasASample()
	o.refusals()
	o.refusedTogether()
	o.reports()
	o.permissionFields()
	o.permissionsOverWebSocket()
	o.codeQueries()
	o.deeds()

	values := 0
	for _, n := range o.seen {
		values += n
	}
	t.Logf("dagster %s: %d mutations compared", dagster, len(o.mutations))
	t.Logf("dagster %s: %d permission fields compared, %d values", dagster, len(o.seen), values)
	o.isInReadme()
}

// isInReadme: the table of tested versions says what was tested.
func (o *oracle) isInReadme() {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		o.t.Fatal(err)
	}
	if row := fmt.Sprintf("| %s | %d | %d |\n", dagster, len(o.mutations), len(o.seen)); !strings.Contains(string(readme), row) {
		o.t.Errorf("README.md's table of versions lacks the row %q", row)
	}
}

func (o *oracle) everyMutationHasASample() {
	known := map[string]bool{}
	for _, s := range samples() {
		known[s.mutation] = true
	}
	for _, field := range o.schema["Mutation"].Fields {
		if !known[field.Name] {
			o.t.Errorf("Dagster %s has the mutation %s, for which there are no arguments here", dagster, field.Name)
		}
	}
}

// result is the type that a mutation answers with.
func (o *oracle) result(mutation string) liveRef {
	for _, field := range o.schema["Mutation"].Fields {
		if field.Name == mutation {
			return field.Type
		}
	}
	return liveRef{}
}

// documents select of a mutation's result its type alone, and more and more of it.
func (o *oracle) documents(s sample, h half) []string {
	call := s.mutation
	if s.arguments != "" {
		call += "(" + h.fill(s.arguments) + ")"
	}
	result := o.result(s.mutation)
	if o.schema.isLeaf(result) {
		return []string{"mutation { deed: " + call + " }"}
	}
	selections := []string{"{ __typename }", o.schema.everything(result.named(), 0), o.schema.everything(result.named(), 1)}
	if slices.Contains([]string{"terminateRuns", "launchMultipleRuns"}, s.mutation) {
		selections = append(selections, o.schema.everything(result.named(), 2))
	}
	if slices.Contains(dryRuns, s.mutation) {
		selections = append(selections, "{ __typename ... on DryRunInstigationTick { evaluationResult { cursor } } }")
	}
	documents := make([]string, 0, len(selections))
	for _, selection := range selections {
		documents = append(documents, "mutation { deed: "+call+" "+selection+" }")
	}
	return documents
}

// refusals are of every mutation by a viewer. None changes anything or runs anybody's code.
func (o *oracle) refusals() {
	for _, s := range samples() {
		if !o.schema.has("Mutation", s.mutation) {
			continue
		}
		o.mutations[s.mutation] = true
		for _, document := range o.documents(s, o.left) {
			ran := o.kit.ran()
			bare := o.readOnly.graphql(document, nil)
			bareRan := o.kit.ran() > ran
			stored, ran := o.kit.stored(), o.kit.ran()
			kept := o.viewer.graphql(document, nil)
			if diff := cmp.Diff(stored, o.kit.stored()); diff != "" {
				o.t.Errorf("%s by a viewer changed Dagster's storage (-before +after):\n%s", document, diff)
			}
			if o.kit.ran() != ran {
				o.t.Errorf("%s by a viewer ran code", document)
			}
			o.refusal(s, document, bare, kept, bareRan)
		}
	}
}

func (o *oracle) refusal(s sample, document string, bare, kept answer, bareRan bool) {
	o.t.Helper()
	switch {
	case slices.Contains(booleans, s.mutation):
		if bare.Status != 500 {
			o.t.Errorf("%s: a read-only Dagster answers %d, which once was 500: compare it too\n%s", document, bare.Status, bare.Body)
		}
		o.wantForbidden(document, kept)
	case slices.Contains(dryRuns, s.mutation) && dagsterBefore(13):
		if strings.Contains(document, "evaluationResult {") && !bareRan {
			o.t.Errorf("%s: a read-only Dagster ran nothing, which once it did: compare it too\n%s", document, bare.Body)
		}
		o.wantForbidden(document, kept)
	case strings.Contains(document, fieldKey("TerminateRunFailure", "run")):
		// A refusal names the run, and nobody asks Dagster for it to say no.
		if !strings.Contains(bare.Body, "TerminateRunFailure") {
			o.t.Errorf("%s: a read-only Dagster answers %s, want TerminateRunFailure", document, bare.Body)
		}
		o.wantForbidden(document, kept)
	default:
		refused := strings.Contains(bare.Body, "UnauthorizedError") || strings.Contains(bare.Body, "TerminateRunFailure")
		if documents := o.documents(s, o.left); refused == slices.Contains(anyones, s.mutation) && document == documents[len(documents)-1] {
			o.t.Errorf("%s: a read-only Dagster answers %s, so the arguments are not valid", document, bare.Body)
		}
		o.same(document, bare, kept, withoutMessages)
	}
}

// wantForbidden is the refusal where no type of the schema has a word for it: data is null, and each root field has its error.
func (o *oracle) wantForbidden(document string, got answer, keys ...string) {
	o.t.Helper()
	if len(keys) == 0 {
		keys = []string{"deed"}
	}
	var failed []string
	for _, e := range got.Errors {
		if e.Extensions["code"] == "FORBIDDEN" && e.Message != "" && len(e.Path) == 1 {
			failed = append(failed, e.Path[0].(string))
		}
	}
	if got.Status != 200 || got.Data != nil || !slices.Equal(failed, keys) {
		o.t.Errorf("%s: got %d %s, want data null and FORBIDDEN for %q", document, got.Status, got.Body, keys)
	}
}

// same reports whether two answers are equal once normalise has been over them.
func (o *oracle) same(what string, bare, kept answer, normalise func(key string, leaf any) any) {
	o.t.Helper()
	var a, b any
	if json.Unmarshal([]byte(bare.Body), &a) != nil || json.Unmarshal([]byte(kept.Body), &b) != nil {
		o.t.Errorf("%s: answers that are not JSON: %s and %s", what, bare.Body, kept.Body)
		return
	}
	diff := cmp.Diff(walk("", a, normalise), walk("", b, normalise))
	if diff != "" || bare.Status != kept.Status {
		o.t.Errorf("%s: Dagster answers %d, AuthKit %d (-Dagster +AuthKit):\n%s", what, bare.Status, kept.Status, diff)
	}
}

// walk applies a function to every leaf of a JSON value, with the name of the field that it belongs to.
func walk(key string, value any, leaf func(string, any) any) any {
	switch v := value.(type) {
	case map[string]any:
		walked := make(map[string]any, len(v))
		for name, element := range v {
			if name == "locations" { // of an error, in the document as it was sent on
				continue
			}
			_, field := ofKey(name)
			walked[name] = walk(field, element, leaf)
		}
		return walked
	case []any:
		walked := make([]any, 0, len(v))
		for _, element := range v {
			walked = append(walked, walk(key, element, leaf))
		}
		return walked
	}
	return leaf(key, value)
}

// withoutMessages leaves of texts for people that there is one.
func withoutMessages(key string, leaf any) any {
	if text, is := leaf.(string); is && text != "" && (key == "message" || key == "disabledReason") {
		return "(a text)"
	}
	return leaf
}

// withoutVolatile leaves out what differs from one half or one moment to the next.
func withoutVolatile(key string, leaf any) any {
	lower := strings.ToLower(key)
	switch v := leaf.(type) {
	case string:
		if key == "backfillId" {
			return "(an ID)"
		}
		return sharedWords(v)
	case float64:
		if strings.Contains(lower, "time") {
			return "(a time)"
		}
	}
	return leaf
}

// refusedTogether: one refused field refuses the document, and each root field is answered as refused.
func (o *oracle) refusedTogether() {
	launch := o.left.fill(`launchRun(` + oracleJob + `}) { __typename ... on UnauthorizedError { message } }`)
	schedule := o.left.fill(`startSchedule(scheduleSelector: {` + inRepository + `, scheduleName: "schedule_$side"}) { __typename ... on Error { message } }`)
	both := `mutation { one: ` + launch + ` two: ` + schedule + ` }`
	o.same(both, o.readOnly.graphql(both, nil), o.viewer.graphql(both, nil), withoutMessages)

	// A read-only Dagster runs the second one.
	nux := filepath.Join(o.kit.home, ".nux", "nux.yaml")
	if err := os.RemoveAll(nux); err != nil {
		o.t.Fatal(err)
	}
	mixed := `mutation { one: ` + launch + ` two: setNuxSeen }`
	o.wantForbidden(mixed, o.viewer.graphql(mixed, nil), "one", "two")
	if _, err := os.Stat(nux); err == nil {
		o.t.Errorf("%s by a viewer ran setNuxSeen", mixed)
	}
	if got := o.viewer.graphql(`mutation { two: setNuxSeen }`, nil); string(got.Data["two"]) != "true" {
		o.t.Errorf("the control, setNuxSeen alone: %s", got.Body)
	}
	if _, err := os.Stat(nux); err != nil {
		o.t.Errorf("the control, setNuxSeen alone: %v", err)
	}
}

// reports are the three routes that write without GraphQL. Before 1.13 a read-only Dagster writes what it is told.
func (o *oracle) reports() {
	for _, route := range []string{"/report_asset_materialization/", "/report_asset_observation/", "/report_asset_check/"} {
		send := func(c *client) (status int, written bool) {
			before := o.kit.stored()
			resp, _ := c.do("POST", route+"elsewhere", `{"check_name":"check_left","passed":true}`, "Content-Type", "application/json")
			return resp.StatusCode, !slices.Equal(before, o.kit.stored())
		}
		if status, written := send(o.readOnly); written != dagsterBefore(13) {
			o.t.Errorf("%s on a read-only Dagster: got %d, written is %t, want %t", route, status, written, dagsterBefore(13))
		}
		if status, written := send(o.viewer); status != 403 || written {
			o.t.Errorf("%s by a viewer: got %d, written is %t, want 403", route, status, written)
		}
		if status, written := send(o.editor); status != 200 || !written {
			o.t.Errorf("%s by an editor, the control: got %d, written is %t", route, status, written)
		}
	}
}

// permissionFields asks for all of them, on every way from every root field, and as Dagster's UI does.
func (o *oracle) permissionFields() {
	o.asMeasured()
	documents := []string{uiPermissions}
	for _, field := range o.schema["Query"].Fields {
		call := field.Name
		if arguments, known := mayRoots[field.Name]; known {
			call += "(" + o.left.fill(arguments) + ")"
		}
		switch below := o.schema.maySelection(field.Type.named()); {
		case field.Name == "permissions":
			documents = append(documents, `{ permissions__Query: permissions { permission value disabledReason } }`)
		case isMayField("Query", field.Name):
			documents = append(documents, `{ `+fieldKey("Query", field.Name)+`: `+field.Name+` }`)
		case below == "":
		case field.needsArguments() && call == field.Name:
			o.t.Errorf("Query.%s leads to permission fields, but there are no arguments for it here", field.Name)
		default:
			documents = append(documents, `{ root: `+call+" "+below+` }`)
		}
	}
	for _, document := range documents {
		bare := o.readOnly.graphql(document, nil)
		o.count(bare)
		o.same("as a viewer: "+document, bare, o.viewer.graphql(document, nil), withoutMessages)
		o.same("as an editor: "+document, o.ordinary.graphql(document, nil), o.editor.graphql(document, nil), withoutMessages)
	}
	for _, field := range o.schema.mayFields() {
		if o.seen[field] == 0 {
			o.t.Errorf("%s: no answer had a value of it", field)
		}
	}
}

// count notes which fields an answer has.
func (o *oracle) count(a answer) {
	var visit func(value any)
	visit = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, element := range v {
				if parent, field := ofKey(name); parent != "" && isMayField(parent, field) && element != nil {
					o.seen[parent+"."+field]++
				}
				visit(element)
			}
		case []any:
			for _, element := range v {
				visit(element)
			}
		}
	}
	var value any
	if err := json.Unmarshal([]byte(a.Body), &value); err != nil {
		o.t.Fatal(err)
	}
	visit(value)
}

// asMeasured compares the schema's permission fields with those that were found once in the same version.
func (o *oracle) asMeasured() {
	raw, err := os.ReadFile("testdata/permission-fields-" + dagster + ".json")
	if err != nil {
		o.t.Fatalf("there is no list of Dagster %s's permission fields: %v", dagster, err)
	}
	var measured struct {
		Fields []struct{ Parent, Field string }
	}
	if err := json.Unmarshal(raw, &measured); err != nil {
		o.t.Fatal(err)
	}
	want := map[string]bool{}
	for _, f := range measured.Fields {
		if isMayField(f.Parent, f.Field) {
			want[f.Parent+"."+f.Field] = true
		}
	}
	got := slices.DeleteFunc(o.schema.mayFields(), func(f string) bool { return f == "Repository.assetManifest" })
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got); diff != "" {
		o.t.Errorf("permission fields of %s (-measured +got):\n%s", dagster, diff)
	}
}

// permissionsOverWebSocket: a subscription's answers have them too.
func (o *oracle) permissionsOverWebSocket() {
	document := o.left.fill(`subscription { logs: pipelineRunLogs(runId: "$run5") `) + o.schema.maySelection("PipelineRunLogsSubscriptionPayload") + ` }`
	bare := o.firstData(o.readOnly, document)
	o.count(bare)
	o.same("as a viewer: "+document, bare, o.firstData(o.viewer, document), withoutMessages)
	o.same("as an editor: "+document, o.firstData(o.ordinary, document), o.firstData(o.editor, document), withoutMessages)
}

// firstData is the first data frame of a subscription, as an answer.
func (o *oracle) firstData(c *client, document string) answer {
	o.t.Helper()
	conn, _, err := c.socket("/graphql", nil, "graphql-ws")
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, frame := range []string{initFrame, startFrame(o.t, map[string]any{"query": document})} {
		if err := conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
			o.t.Fatal(err)
		}
	}
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			o.t.Fatalf("%s: no data: %v", document, err)
		}
		var frame struct {
			Type    string
			Payload json.RawMessage
		}
		if err := json.Unmarshal(message, &frame); err != nil {
			o.t.Fatal(err)
		}
		if frame.Type == "data" || frame.Type == "error" {
			return answer{Status: 200, Body: string(frame.Payload)}
		}
	}
}

// codeQueries are the one wanted difference: a read-only Dagster runs pipelines' code for whoever asks, AuthKit asks for the
// permission to run it.
func (o *oracle) codeQueries() {
	asked := 0
	for _, field := range codeFields {
		parent, name, _ := strings.Cut(field, ".")
		if !o.schema.has(parent, name) {
			continue
		}
		asked++
		document := codeQueries[field]
		before := o.kit.ran()
		o.readOnly.graphql(document, nil)
		if o.kit.ran() == before && !slices.Contains(codeless, field) {
			o.t.Errorf("%s: a read-only Dagster ran no code for it", field)
		}
		before = o.kit.ran()
		got := o.viewer.graphql(document, nil)
		if len(got.Errors) == 0 || got.Errors[0].Extensions["code"] != "FORBIDDEN" || got.Data != nil || o.kit.ran() != before {
			o.t.Errorf("%s by a viewer: got %s and %d runs of code, want FORBIDDEN and none", field, got.Body, o.kit.ran()-before)
		}
		o.same(field+" by an editor", o.ordinary.graphql(document, nil), o.editor.graphql(document, nil), withoutVolatile)
		if o.kit.ran() == before && !slices.Contains(codeless, field) {
			o.t.Errorf("%s by an editor, the control, ran no code", field)
		}
	}
	o.t.Logf("dagster %s: %d queries that run code", dagster, asked)
}

// deeds are of every mutation by an editor, to the one half by an ordinary Dagster and to the other by AuthKit.
func (o *oracle) deeds() {
	for _, s := range samples() {
		if !o.schema.has("Mutation", s.mutation) {
			continue
		}
		bare, bareChanges := o.deed(o.ordinary, s, o.left)
		kept, keptChanges := o.deed(o.editor, s, o.right)
		if got := doneAs(bare); got != s.done {
			o.t.Errorf("%s(%s): an ordinary Dagster answers %s, want %s, so the arguments are not valid", s.mutation, s.arguments, bare.Body, s.done)
		}
		o.same(s.mutation+" by an editor", bare, kept, withoutVolatile)
		// The one thing that AuthKit adds: who launched a run.
		keptChanges = slices.DeleteFunc(keptChanges, func(line string) bool { return line == "+ tag ID user ed@example.com" })
		if diff := cmp.Diff(bareChanges, keptChanges); diff != "" {
			o.t.Errorf("%s by an editor changes other things in Dagster's storage (-Dagster +AuthKit):\n%s", s.mutation, diff)
		}
		if (len(bareChanges) == 0) != s.silent {
			o.t.Errorf("%s changed in an ordinary Dagster's storage %q, want silent is %t", s.mutation, bareChanges, s.silent)
		}
	}
}

func (o *oracle) deed(c *client, s sample, h half) (answer, []string) {
	if s.reset != "" {
		o.ordinary.graphql("mutation { "+s.reset+" }", nil)
	}
	documents := o.documents(s, h)
	before := o.kit.stored()
	got := c.graphql(documents[min(2, len(documents)-1)], nil)
	return got, changes(before, o.kit.stored())
}

// doneAs is the type of what was done, or the value of a Boolean one.
func doneAs(a answer) string {
	if name := a.typename("deed"); name != "" {
		return name
	}
	return string(a.Data["deed"])
}
