package policy

import (
	"encoding/json"
	"slices"
	"testing"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// permissionFields are those of Dagster 1.10 to 1.13 that say what a person may do, and an object's place as AuthKit asks for it.
var permissionFields = map[string]string{
	"Query.canBulkTerminate":                         "",
	"Run.hasReExecutePermission":                     `{"repositoryOrigin":{"repositoryLocationName":"a"}}`,
	"Run.hasTerminatePermission":                     `{"repositoryOrigin":{"repositoryLocationName":"a"}}`,
	"Run.hasDeletePermission":                        `{"repositoryOrigin":{"repositoryLocationName":"a"}}`,
	"AssetNode.hasMaterializePermission":             `{"repository":{"location":{"name":"a"}}}`,
	"AssetNode.hasWipePermission":                    `{"repository":{"location":{"name":"a"}}}`,
	"AssetNode.hasReportRunlessAssetEventPermission": `{"repository":{"location":{"name":"a"}}}`,
	"Job.hasLaunchExecutionPermission":               `{"repository":{"location":{"name":"a"}}}`,
	"Job.hasLaunchReexecutionPermission":             `{"repository":{"location":{"name":"a"}}}`,
	"Pipeline.hasLaunchExecutionPermission":          `{"repository":{"location":{"name":"a"}}}`,
	"Pipeline.hasLaunchReexecutionPermission":        `{"repository":{"location":{"name":"a"}}}`,
	"PartitionSet.hasLaunchBackfillPermission":       `{"repositoryOrigin":{"repositoryLocationName":"a"}}`,
	"PartitionSet.hasCancelBackfillPermission":       `{"repositoryOrigin":{"repositoryLocationName":"a"}}`,
	"PartitionBackfill.hasCancelPermission":          `{"assetSelection":[{"path":["x"]}],"partitionSet":null}`,
	"PartitionBackfill.hasResumePermission":          `{"assetSelection":null,"partitionSet":{"repositoryOrigin":{"repositoryLocationName":"a"}}}`,
	"InstigationState.hasStartPermission":            `{"repositoryLocationName":"a","instigationType":"SENSOR"}`,
	"InstigationState.hasStopPermission":             `{"repositoryLocationName":"a","instigationType":"SCHEDULE"}`,
	"Sensor.hasCursorUpdatePermissions":              `{"sensorState":{"repositoryLocationName":"a"}}`,
}

func assetsInA(path []string) []string {
	if slices.Equal(path, []string{"x"}) {
		return []string{"a"}
	}
	return nil
}

// answered is what becomes of a field that Dagster answers with true.
func answered(t *testing.T, p *Policy, id identity.Identity, name, place string) bool {
	t.Helper()
	parent, field := split(name)
	rule := p.Rules(id, schema(t))(parent, field)
	if rule == nil {
		return true
	}
	if rule.Place == "" {
		place = ""
	}
	allowed, reason := p.Judge(id, assetsInA)(rule.Permission, json.RawMessage(place))
	if !allowed && reason == "" {
		t.Errorf("%s: refused without a reason", name)
	}
	return allowed
}

func split(name string) (parent, field string) {
	for i := range name {
		if name[i] == '.' {
			return name[:i], name[i+1:]
		}
	}
	return "", name
}

func TestFlags(t *testing.T) {
	t.Parallel()
	if len(flags) != len(permissionFields) {
		t.Errorf("the table has %d fields, this test %d", len(flags), len(permissionFields))
	}
	p := builtIn(t)
	editorOf := func(location string) identity.Identity {
		return grantee("viewer", identity.Grant{Location: location, Role: "editor"})
	}
	for name, place := range permissionFields {
		if answered(t, p, person("viewer"), name, place) {
			t.Errorf("%s: a viewer may", name)
		}
		for _, role := range []identity.Role{"editor", "admin"} {
			if !answered(t, p, person(role), name, place) {
				t.Errorf("%s: an %s may not", name, role)
			}
		}
		parent, field := split(name)
		for _, id := range []identity.Identity{person("viewer"), person("launcher")} {
			if rule := p.Rules(id, schema(t))(parent, field); rule != nil && rule.Place != "" {
				t.Errorf("%s: %q is asked for a %s without grants", name, rule.Place, id.Role)
			}
		}
		if want := name != "Query.canBulkTerminate"; answered(t, p, editorOf("a"), name, place) != want {
			t.Errorf("%s: an editor of the location may is %t, want %t", name, !want, want)
		}
		if answered(t, p, editorOf("b"), name, place) {
			t.Errorf("%s: an editor of another location may", name)
		}
		for _, nowhere := range []string{"", "null", "{}", "[]", `{"repository":null}`, `{"repositoryOrigin":null,"assetSelection":[{"path":["unknown"]}]}`} {
			if answered(t, p, editorOf("a"), name, nowhere) {
				t.Errorf("%s: an editor of a location may in %q", name, nowhere)
			}
		}
	}
}

func TestFlagsOfOneRole(t *testing.T) {
	t.Parallel()
	custom := customRoles(t)
	state := `{"repositoryLocationName":"a","instigationType":"`
	tests := []struct {
		id          identity.Identity
		name, place string
		want        bool
	}{
		{person("launcher"), "Run.hasDeletePermission", "", true},
		{person("launcher"), "AssetNode.hasMaterializePermission", "", true},
		{person("launcher"), "AssetNode.hasWipePermission", "", false},
		{person("launcher"), "Query.canBulkTerminate", "", true},
		{person("operator"), "InstigationState.hasStartPermission", state + `SCHEDULE"}`, true},
		{person("operator"), "InstigationState.hasStartPermission", state + `SENSOR"}`, false},
		{person("operator"), "InstigationState.hasStartPermission", "", false},
		{person("operator"), "InstigationState.hasStopPermission", state + `SCHEDULE"}`, true},
		{person("operator"), "Run.hasDeletePermission", "", false},
		{person("editor"), "Run.hasTimeTravelPermission", "", false},
		{person("admin"), "Run.hasTimeTravelPermission", "", true},
		{person(""), "Run.hasDeletePermission", "", false},
	}
	for _, test := range tests {
		if got := answered(t, custom, test.id, test.name, test.place); got != test.want {
			t.Errorf("%s for %q in %s: got %t, want %t", test.name, test.id.Role, test.place, got, test.want)
		}
	}
	for _, name := range []string{"Other.hasNumberOfPermissions", "Unknown.hasPermission", "Run.canTerminate", "InstigationState.canReset", "Run.status", "Query.version", "Permission.value"} {
		parent, field := split(name)
		if rule := custom.Rules(person("viewer"), schema(t))(parent, field); rule != nil {
			t.Errorf("%s is rewritten: %+v", name, rule)
		}
	}
}

func TestPermissionLists(t *testing.T) {
	t.Parallel()
	p := customRoles(t)
	editorOfA := grantee("viewer", identity.Grant{Location: "a", Role: "editor"})
	inA, inB := json.RawMessage(`{"name":"a"}`), json.RawMessage(`{"name":"b"}`)
	tests := []struct {
		id      identity.Identity
		place   json.RawMessage
		name    identity.Permission
		allowed bool
		reason  string
	}{
		{person("viewer"), nil, launchPipelineExecution, false, "Requires the Launcher role"},
		{person("viewer"), nil, startSchedule, false, "Requires the Editor role"},
		{person("viewer"), nil, "a_permission_of_tomorrow", false, "Requires the Admin role"},
		{person("viewer"), nil, "", false, "Your role does not allow this"},
		{person("launcher"), nil, launchPipelineExecution, true, ""},
		{person("launcher"), nil, wipeAssets, false, "Requires the Editor role"},
		{person("operator"), nil, startSchedule, true, ""},
		{person("operator"), nil, wipeAssets, false, "Requires the wipe_assets permission"},
		{editorOfA, inA, wipeAssets, true, ""},
		{editorOfA, inB, wipeAssets, false, "Requires the Editor role"},
		{editorOfA, nil, wipeAssets, false, "Requires the Editor role"},
	}
	for _, test := range tests {
		allowed, reason := p.Judge(test.id, assetsInA)(string(test.name), test.place)
		if allowed != test.allowed || reason != test.reason {
			t.Errorf("%s %v, %s in %s: got %t, %q; want %t, %q", test.id.Role, test.id.Grants, test.name, test.place, allowed, reason, test.allowed, test.reason)
		}
	}
	rules := map[string]struct {
		id    identity.Identity
		field string
		want  *graphql.Rule
	}{
		"a viewer's are all the same":           {person("viewer"), "Query.permissions", &graphql.Rule{Unnamed: true}},
		"a launcher's are not":                  {person("launcher"), "Query.permissions", &graphql.Rule{}},
		"an editor has all that are known":      {person("editor"), "Query.permissions", nil},
		"a grant counts in its location":        {editorOfA, "WorkspaceLocationEntry.permissions", &graphql.Rule{Place: "name"}},
		"and in the list of locations":          {editorOfA, "WorkspaceLocationStatusEntry.permissions", &graphql.Rule{Place: "name"}},
		"but not for the deployment":            {editorOfA, "Query.permissions", &graphql.Rule{Unnamed: true}},
		"a grant of nothing new asks nothing":   {grantee("viewer", identity.Grant{Location: "a", Role: "viewer"}), "WorkspaceLocationEntry.permissions", &graphql.Rule{Unnamed: true}},
		"a manifest is rewritten flag by flag":  {person("viewer"), "Repository.assetManifest", &graphql.Rule{Flags: manifestFlags}},
		"with its location for who has a grant": {editorOfA, "Repository.assetManifest", &graphql.Rule{Flags: manifestFlags, Place: "location { name }"}},
		"and not for an editor":                 {person("editor"), "Repository.assetManifest", nil},
	}
	for name, test := range rules {
		parent, field := split(test.field)
		got := p.Rules(test.id, schema(t))(parent, field)
		if (got == nil) != (test.want == nil) || got != nil && (got.Place != test.want.Place || got.Unnamed != test.want.Unnamed || len(got.Flags) != len(test.want.Flags)) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}
