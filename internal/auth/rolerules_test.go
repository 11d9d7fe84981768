package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

func TestRoleRules(t *testing.T) {
	t.Parallel()
	roles, err := policy.NewRoles(map[identity.Role][]identity.Permission{
		"operator": {"start_schedule", "stop_running_schedule"},
		"wiper":    {"wipe_assets"},
		"both":     {"start_schedule", "stop_running_schedule", "wipe_assets"},
	})
	if err != nil {
		t.Fatal(err)
	}
	rules := []identity.GroupRule{
		{Group: "Everybody", Role: "viewer"},
		{Group: "wipers", Role: "wiper"},
		{Group: "operators", Role: "operator"},
		{Group: "both", Role: "both"},
		{Group: "launchers", Role: "launcher"},
		{Group: "admins", Role: "admin"},
		{Group: "analytics", Location: "analytics", Role: "editor"},
		{Group: "launchers", Location: "analytics", Role: "launcher"},
		{Group: "", Role: "admin"},
	}
	for _, tc := range []struct {
		name   string
		groups string
		byDef  identity.Role
		role   identity.Role // empty: nobody may sign in
		grants []identity.Grant
	}{
		{name: "no group", groups: ""},
		{name: "a group without a rule", groups: "guests"},
		{name: "an empty group is no group", groups: "guests,"},
		{name: "no group, with a default", byDef: "viewer", role: "viewer"},
		{name: "a group, spelt otherwise", groups: "everyBODY", role: "viewer"},
		{name: "the most permissive, in either order", groups: "admins,everybody,launchers", role: "admin", grants: []identity.Grant{{Location: "analytics", Role: "launcher"}}},
		{name: "a rule is below the default", groups: "everybody", byDef: "launcher", role: "launcher"},
		{name: "of two that differ, the first rule's", groups: "operators,wipers", role: "wiper"},
		{name: "a custom role that has all of another", groups: "operators,both,wipers", role: "both"},
		{name: "a role in a code location alone", groups: "analytics", role: "viewer", grants: []identity.Grant{{Location: "analytics", Role: "editor"}}},
		{
			name: "two in one code location", groups: "analytics,launchers", role: "launcher",
			grants: []identity.Grant{{Location: "analytics", Role: "editor"}, {Location: "analytics", Role: "launcher"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := auth.NewRoleRules(auth.RoleRulesOptions{Rules: rules, Default: tc.byDef, Roles: roles})
			if err != nil {
				t.Fatal(err)
			}
			// What the user had before counts for nothing.
			user := identity.User{Name: "ada", Role: "admin", RuleGrants: []identity.Grant{{Location: "old", Role: "admin"}}, Groups: strings.Split(tc.groups, ",")}
			err = r.Apply(&user)
			if tc.role == "" {
				none, is := errors.AsType[*auth.NoRoleError](err)
				if !is || none.Username != "ada" || !cmp.Equal(none.Groups, user.Groups) {
					t.Errorf("got %v, want a NoRoleError with ada's groups", err)
				}
				return
			}
			if err != nil || user.Role != tc.role {
				t.Errorf("got the role %q, %v, want %q", user.Role, err, tc.role)
			}
			if diff := cmp.Diff(tc.grants, user.RuleGrants); diff != "" {
				t.Errorf("grants (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := auth.NewRoleRules(auth.RoleRulesOptions{Rules: []identity.GroupRule{{Group: "x", Role: "root"}}, Default: "boss", Roles: roles}); err == nil ||
		!strings.Contains(err.Error(), "root") || !strings.Contains(err.Error(), "boss") {
		t.Errorf("got %v, want both roles that do not exist named", err)
	}
}
