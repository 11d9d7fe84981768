package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/store"
)

// TestGrantsByRules: whoever looks for why somebody may do something is told of the rules that give it.
func TestGrantsByRules(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	s, err := store.Open(t.Context(), store.Options{URL: path, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	for name, rules := range map[string][]identity.Grant{"carol": {{Location: "etl", Role: identity.Editor}}, "dave": nil} {
		user := identity.User{Backend: "ldap", Subject: name, Name: name, Role: identity.Viewer, RuleGrants: rules}
		if _, err := s.UpsertUser(t.Context(), user); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	document := `mutation { reloadRepositoryLocation(repositoryLocationName: "etl") { __typename } }`
	for name, tc := range map[string]struct {
		args, want []string
		otherwise  string // what is said of dave, who is in no group of a rule
	}{
		"list":        {[]string{"list-grants"}, []string{"carol", "(by a rule)", "etl", "editor", "ldap", "ldap:carol"}, ""},
		"list, JSON":  {[]string{"list-grants", "-o", "json"}, []string{`"rule":`, "true"}, "[]"},
		"permissions": {[]string{"list-permissions", "--user"}, []string{"reload_repository_location", "etl", "editor", "(by", "a", "rule)"}, "-"},
		"explain":     {[]string{"explain", "--file", "-", "--user"}, []string{"editor", "grant", "(by", "a", "rule)", "allowed"}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(user string) string {
				args := append(append([]string{}, tc.args...), user, "--db", path)
				return strings.Join(strings.Fields(call{stdin: document}.run(t, args...).out), " ")
			}
			want := strings.Join(tc.want, " ")
			if got := run("carol"); !strings.Contains(got, want) {
				t.Errorf("carol: got %q, want %q in it", got, want)
			}
			if got := run("dave"); strings.Contains(got, want) || !strings.Contains(got, tc.otherwise) {
				t.Errorf("dave: got %q, want %q in it and not %q", got, tc.otherwise, want)
			}
		})
	}
}
