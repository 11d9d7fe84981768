package policy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

var update = flag.Bool("update", false, "write the golden files anew")

func person(role identity.Role) identity.Identity {
	return identity.Identity{ID: "local:someone", Username: "someone", Role: role}
}

func builtIn(t *testing.T) *Policy {
	t.Helper()
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// decide judges a document by the built-in roles, with nothing looked up in Dagster.
func decide(t *testing.T, id identity.Identity, document string) Decision {
	t.Helper()
	p := builtIn(t)
	return p.Decide(id, p.Actions(parse(t, document), nil), nil)
}

// refusedNames are the actions that were refused, each once.
func refusedNames(d Decision) []string {
	var names []string
	for _, verdict := range d.Refused() {
		if !slices.Contains(names, verdict.Action.Name) {
			names = append(names, verdict.Action.Name)
		}
	}
	return names
}

func parse(t *testing.T, document string) *graphql.Operation {
	t.Helper()
	op, err := graphql.Parse(graphql.Request{Query: document}, graphql.DefaultLimits())
	if err != nil {
		t.Fatalf("parsing %q: %v", document, err)
	}
	return op
}

// TestMatrix shows who may do what, so that a change of the policy is one changed line in a review.
func TestMatrix(t *testing.T) {
	var got strings.Builder
	fmt.Fprintf(&got, "%-30s %-8s %-8s %-8s %-8s %-8s\n", "", "(none)", "viewer", "launcher", "editor", "admin")
	fields := append(fieldsOf(t, "1.13.27"), "aMutationOfTomorrow", "__typename")
	for _, field := range fields {
		fmt.Fprintf(&got, "%-30s", field)
		for _, role := range append([]identity.Role{""}, identity.Roles()...) {
			word := "-"
			if decide(t, person(role), "mutation { "+field+" }").Allowed {
				word = "yes"
			}
			fmt.Fprintf(&got, " %-8s", word)
		}
		got.WriteString("\n")
	}
	golden := filepath.Join("testdata", "matrix.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the policy changed (-want +got), run with -update if that is meant:\n%s", diff)
	}
}

func fieldsOf(t *testing.T, version string) []string {
	t.Helper()
	var fields []string
	for _, line := range factsOf(t, version) {
		fields = append(fields, line[0])
	}
	return fields
}

// factsOf reads each mutation of a Dagster version with the permissions that its code checks.
func factsOf(t *testing.T, version string) [][]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "mutations-"+version+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]string
	for line := range strings.Lines(string(raw)) {
		lines = append(lines, strings.Fields(line))
	}
	if len(lines) < 37 {
		t.Fatalf("got %d mutations of %s, want at least the 37 of 1.10.0", len(lines), version)
	}
	return lines
}

// TestEveryMutationHasARule takes what each Dagster version checks from that version itself.
func TestEveryMutationHasARule(t *testing.T) {
	newest := map[string][]string{}
	for _, version := range []string{"1.10.0", "1.10.21", "1.11.16", "1.12.22", "1.13.27"} {
		for _, line := range factsOf(t, version) {
			if !Known(line[0]) {
				t.Errorf("%s: the mutation %s has no rule", version, line[0])
			}
			newest[line[0]] = line[1:]
		}
	}
	for field, want := range newest {
		var got []string
		for _, permission := range mutations[field] {
			got = append(got, string(permission))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s needs %v, want what Dagster 1.13.27 checks: %v", field, got, want)
		}
	}
	if len(newest) != len(mutations) {
		t.Errorf("the table names %d mutations, the five Dagster versions have %d", len(mutations), len(newest))
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		id         identity.Identity
		document   string
		allowed    bool
		reason     string
		refused    []string
		neededRole identity.Role
	}{
		"viewer reads":                       {person("viewer"), "{ version }", true, "", nil, "viewer"},
		"nobody does not":                    {identity.Identity{Role: "admin"}, "{ version }", false, "VIEWER_REQUIRED", nil, "viewer"},
		"no role does not":                   {person(""), "{ version }", false, "VIEWER_REQUIRED", []string{"read"}, "viewer"},
		"an unknown role does not":           {person("Admin"), "{ version }", false, "VIEWER_REQUIRED", []string{"read"}, "viewer"},
		"viewer may not launch":              {person("viewer"), "mutation { launchRun }", false, "LAUNCHER_REQUIRED_FOR_MUTATIONS", []string{"launchRun"}, "launcher"},
		"launcher may":                       {person("launcher"), "mutation { launchRun }", true, "", nil, "launcher"},
		"an alias changes nothing":           {person("viewer"), "mutation { logTelemetry: launchRun }", false, "LAUNCHER_REQUIRED_FOR_MUTATIONS", []string{"launchRun"}, "launcher"},
		"the highest of several is named":    {person("viewer"), "mutation { launchRun reloadWorkspace }", false, "EDITOR_REQUIRED_FOR_MUTATIONS", []string{"launchRun", "reloadWorkspace"}, "editor"},
		"one refused refuses all":            {person("launcher"), "mutation { launchRun reloadWorkspace }", false, "EDITOR_REQUIRED_FOR_MUTATIONS", []string{"reloadWorkspace"}, "editor"},
		"unknown needs admin":                {person("editor"), "mutation { launchRockets }", false, "ADMIN_REQUIRED_FOR_MUTATIONS", []string{"launchRockets"}, "admin"},
		"admin may":                          {person("admin"), "mutation { launchRockets }", true, "", nil, "admin"},
		"viewer may send telemetry":          {person("viewer"), "mutation { logTelemetry }", true, "", nil, "viewer"},
		"a skipped field counts":             {person("viewer"), "mutation { launchRun @skip(if: true) }", false, "LAUNCHER_REQUIRED_FOR_MUTATIONS", []string{"launchRun"}, "launcher"},
		"a field of a fragment counts":       {person("viewer"), "mutation { ...F } fragment F on Mutation { ... { launchRun } }", false, "LAUNCHER_REQUIRED_FOR_MUTATIONS", []string{"launchRun"}, "launcher"},
		"a query's field of that name reads": {person("viewer"), "{ launchRun }", true, "", nil, "viewer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decide(t, test.id, test.document)
			refused := refusedNames(got)
			if got.Allowed != test.allowed || got.Reason() != test.reason || got.Needed != test.neededRole {
				t.Errorf("got allowed %t, reason %q, needed %q; want %t, %q, %q",
					got.Allowed, got.Reason(), got.Needed, test.allowed, test.reason, test.neededRole)
			}
			if diff := cmp.Diff(test.refused, refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrites(t *testing.T) {
	t.Parallel()
	tests := []struct {
		action Action
		least  identity.Role
		reason string
	}{
		{ReportAsset("report_asset_materialization", nil), identity.Editor, "EDITOR_REQUIRED"},
		{UnknownWrite("POST /new"), identity.Admin, "ADMIN_REQUIRED"},
	}
	for _, test := range tests {
		if got := builtIn(t).Decide(person(identity.Viewer), []Action{test.action}, nil); got.Allowed || got.Reason() != test.reason {
			t.Errorf("%s by a viewer: got allowed %t, reason %q; want refused, %q", test.action.Name, got.Allowed, got.Reason(), test.reason)
		}
		if got := builtIn(t).Decide(person(test.least), []Action{test.action}, nil); !got.Allowed {
			t.Errorf("%s by a %s: refused, want allowed", test.action.Name, test.least)
		}
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	decision := decide(t, person(identity.Launcher), "mutation { launchRun resetSchedule }")
	want := "resetSchedule requires the Editor role (start_schedule). Your role is Launcher."
	if got := decision.Message("resetSchedule"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want = "Not run: another operation of the same request was refused."
	if got := decision.Message("launchRun"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	arguments := map[string]any{
		"executionParams": map[string]any{
			"selector": map[string]any{
				"repositoryLocationName": "loc", "repositoryName": "__repository__", "jobName": "etl",
				"assetSelection":      []any{map[string]any{"path": []any{"raw", "orders"}}, map[string]any{"path": []any{"raw", "orders"}}},
				"assetCheckSelection": map[string]any{"assetKey": map[string]any{"path": "lone"}}, // GraphQL takes a value for a list of one
			},
			"executionMetadata": map[string]any{"parentRunId": "r1", "tags": []any{map[string]any{"key": "user", "value": "x"}}},
		},
		"runIds": []any{"r2", "r3", nil, float64(4)},
	}
	want := map[string][]string{
		"code_location": {"loc"}, "repository": {"__repository__"}, "job": {"etl"}, "assets": {"lone", "raw/orders"}, "run_ids": {"r1", "r2", "r3"},
	}
	if diff := cmp.Diff(want, Targets(arguments)); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}
