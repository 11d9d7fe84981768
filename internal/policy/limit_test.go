package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

func at(location string, role identity.Role) identity.Grant {
	return identity.Grant{Location: location, Role: role}
}

func limitRoles(t *testing.T) *Roles {
	t.Helper()
	roles, err := NewRoles(map[identity.Role][]identity.Permission{
		"operator": {launchPipelineExecution, editSensor},
		"cleaner":  {wipeAssets, editSensor},
	})
	if err != nil {
		t.Fatal(err)
	}
	return roles
}

func TestLimited(t *testing.T) {
	t.Parallel()
	type grants []identity.Grant
	for _, test := range []struct {
		name   string
		role   identity.Role
		grants grants
		limit  Limit
		want   identity.Role
		held   grants
	}{
		{"no limit", "editor", grants{at("etl", "admin")}, Limit{}, "editor", grants{at("etl", "admin")}},
		{"less than the owner", "editor", nil, Limit{Role: "launcher"}, "launcher", nil},
		{"more than the owner", "viewer", nil, Limit{Role: "admin"}, "viewer", nil},
		{"the owner's own", "launcher", nil, Limit{Role: "launcher"}, "launcher", nil},
		{"a grant is cut", "viewer", grants{at("etl", "editor")}, Limit{Role: "launcher"}, "viewer", grants{at("etl", "launcher")}},
		{"a grant is not raised", "viewer", grants{at("etl", "launcher")}, Limit{Role: "admin"}, "viewer", grants{at("etl", "launcher")}},
		{"a grant that is cut to nothing", "viewer", grants{at("etl", "editor")}, Limit{Role: "viewer"}, "viewer", nil},
		{"several grants there", "viewer", grants{at("etl", "editor"), at("etl", "launcher"), at("ml", "launcher")}, Limit{Role: "launcher"}, "viewer", grants{at("etl", "launcher"), at("ml", "launcher")}},

		{"one location", "editor", nil, Limit{Location: "etl"}, "viewer", grants{at("etl", "editor")}},
		{"one location, and less", "admin", nil, Limit{Role: "launcher", Location: "etl"}, "viewer", grants{at("etl", "launcher")}},
		{"one location, and more", "launcher", nil, Limit{Role: "admin", Location: "etl"}, "viewer", grants{at("etl", "launcher")}},
		{"the grant of that location", "viewer", grants{at("etl", "editor"), at("ml", "admin")}, Limit{Location: "etl"}, "viewer", grants{at("etl", "editor")}},
		{"the grant of that location, cut", "viewer", grants{at("etl", "editor"), at("ml", "admin")}, Limit{Role: "launcher", Location: "etl"}, "viewer", grants{at("etl", "launcher")}},
		{"a location without a grant", "viewer", grants{at("ml", "admin")}, Limit{Role: "admin", Location: "etl"}, "viewer", nil},
		{"another spelling of the location", "viewer", grants{at("ETL", "admin")}, Limit{Location: "etl"}, "viewer", nil},
		{"role and grant there", "launcher", grants{at("etl", "editor")}, Limit{Location: "etl"}, "viewer", grants{at("etl", "launcher"), at("etl", "editor")}},
		{"to a viewer in one location", "admin", grants{at("etl", "admin")}, Limit{Role: "viewer", Location: "etl"}, "viewer", nil},

		{"a custom role within admin", "admin", nil, Limit{Role: "operator"}, "operator", nil},
		{"admin of a custom role", "operator", nil, Limit{Role: "admin"}, "operator", nil},
		{"a viewer of a custom role", "operator", nil, Limit{Role: "viewer"}, "viewer", nil},
		{"a custom role of a viewer", "viewer", nil, Limit{Role: "operator"}, "viewer", nil},
		{"what a launcher and an operator have", "operator", nil, Limit{Role: "launcher"}, "launcher&operator", nil},
		{"the same the other way", "launcher", nil, Limit{Role: "operator"}, "launcher&operator", nil},
		{"what two custom roles have", "operator", nil, Limit{Role: "cleaner"}, "cleaner&operator", nil},
		{"a custom role with itself", "operator", nil, Limit{Role: "operator"}, "operator", nil},
		{"a custom grant, cut", "viewer", grants{at("etl", "operator")}, Limit{Role: "launcher"}, "viewer", grants{at("etl", "launcher&operator")}},
		{"a custom role in one location", "operator", nil, Limit{Role: "cleaner", Location: "etl"}, "viewer", grants{at("etl", "cleaner&operator")}},

		{"an owner without a role", "", nil, Limit{Role: "admin"}, "", nil},
		{"an owner without a role, in one location", "", grants{at("etl", "admin")}, Limit{Role: "admin", Location: "etl"}, "", grants{at("etl", "admin")}},
		{"an owner's role that is no more", "gone", nil, Limit{}, "gone", nil},
		{"an owner's role that is no more, with one that is", "gone", nil, Limit{Role: "viewer"}, "gone", nil},
		{"a limit that is no more", "admin", nil, Limit{Role: "gone"}, "gone", nil},
		{"a limit that is no more, in one location", "admin", grants{at("etl", "admin")}, Limit{Role: "gone", Location: "etl"}, "gone", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			owner := identity.Identity{ID: "local:ada", Username: "ada", Role: test.role, Grants: test.grants}
			got := limitRoles(t).Limited(owner, test.limit)
			want := owner
			want.Role, want.Grants = test.want, test.held
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLimitedIsTheIntersection holds every pair of an owner and a limit against the definition: what is allowed is what the
// owner may do and, in the limit's place, the limit's role may do. Nothing else.
func TestLimitedIsTheIntersection(t *testing.T) {
	t.Parallel()
	roles := limitRoles(t)
	p, err := New(Options{Roles: roles, ProtectedTags: []string{"secret"}, ProtectedTagsRole: identity.Launcher})
	if err != nil {
		t.Fatal(err)
	}
	names := append(roles.Names(), "gone", "")
	places := map[string][]Reference{"": nil, "etl": {{Location, "etl"}}, "ml": {{Location, "ml"}}}
	needs := []Need{{Role: identity.Admin}, {Role: identity.Launcher, Tag: "secret"}}
	for permission := range leastRoles {
		needs = append(needs, Need{Permission: permission, Role: LeastRole(permission)})
	}
	needs = append(needs, Need{Permission: "of_tomorrow", Role: identity.Admin})
	may := func(id identity.Identity, need Need) bool {
		return p.Decide(id, []Action{{Name: "deed", Needs: []Need{need}}}, nil).Allowed
	}
	allowed, refused := 0, 0
	for _, role := range names {
		for _, granted := range names {
			owner := identity.Identity{ID: "local:ada", Role: role, Grants: []identity.Grant{{Location: "etl", Role: granted}}}
			for _, most := range names {
				for _, within := range []string{"", "etl", "ml"} {
					limited := roles.Limited(owner, Limit{Role: most, Location: within})
					for place, where := range places {
						for _, need := range needs {
							need.Where = where
							inside := within == "" || place == within
							atMost := most == "" || may(identity.Identity{ID: "x", Role: most}, need)
							want := inside && atMost && may(owner, need)
							if got := may(limited, need); got != want {
								t.Errorf("owner %q with %q in etl, limit %q in %q, %v in %q: got %v, want %v", role, granted, most, within, need, place, got, want)
							}
							if want {
								allowed++
							} else {
								refused++
							}
						}
					}
					reads := roles.Known(role) && (most == "" || roles.Known(most))
					if got := p.Decide(limited, nil, nil).Allowed; got != reads {
						t.Errorf("owner %q, limit %q: reading is %v, want %v", role, most, got, reads)
					}
				}
			}
		}
	}
	if allowed < 100 || refused < 100 {
		t.Errorf("compared %d allowed and %d refused: the test looks at too little", allowed, refused)
	}
}

func TestNobodyCanBeGivenAJointRole(t *testing.T) {
	t.Parallel()
	if role, err := limitRoles(t).Parse("launcher&operator"); err == nil {
		t.Errorf("got %q, want an error", role)
	}
	if _, err := limitRoles(t).Parse("operator"); err != nil {
		t.Errorf("the control: %v", err)
	}
	if _, err := NewRoles(map[identity.Role][]identity.Permission{"launcher&operator": {editSensor}}); err == nil {
		t.Error("a custom role of such a name: got no error")
	}
}
