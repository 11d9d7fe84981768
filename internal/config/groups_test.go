package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	twoProviders = "providers:\n- {id: company, issuer: 'https://a.example.com', client_id: x}\n- {id: other, issuer: 'https://b.example.com', client_id: x}\n"
	oneProvider  = "providers:\n- {id: company, issuer: 'https://a.example.com', client_id: x}\n"
)

// TestGroupSources: a rule is for the groups of one source, which must be written when there are several.
func TestGroupSources(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text, backends string
		want           []string // by rule
		problems       []string // in order; where they are, and their words
	}{
		"one directory": {"groups:\n- {group: a, role: viewer}\n- {group: b, role: viewer, backend: LDAP}\n", "ldap,sqlite", []string{"ldap", "ldap"}, nil},
		"one proxy":     {"groups:\n- {group: a, role: viewer}\n", "header", []string{"header"}, nil},
		"one provider":  {oneProvider + "groups:\n- {group: a, role: viewer}\n- {group: a, role: viewer, backend: oidc}\n", "oidc", []string{"company", "company"}, nil},
		"nobody":        {"groups:\n- {group: a, role: viewer}\n", "sqlite", []string{""}, nil},
		"said": {
			twoProviders + "groups:\n- {group: a, role: viewer, provider: other}\n- {group: a, role: viewer, provider: company, backend: oidc}\n- {group: a, role: viewer, backend: header}\n",
			"oidc,header",
			[]string{"other", "company", "header"},
			nil,
		},
		"oidc beside ldap": {oneProvider + "groups:\n- {group: a, role: viewer, backend: oidc}\n- {group: a, role: viewer, backend: ldap}\n", "oidc,ldap", []string{"company", "ldap"}, nil},
		"not said": {
			twoProviders + "groups:\n- {group: a, role: viewer}\n- {group: b, role: viewer, provider: other}\n- {group: c, role: viewer, backend: oidc}\n", "oidc,ldap", nil,
			[]string{":5: the rule for the group \"a\" does not say whose group that is, and several tell of groups: write provider: company or provider: other or backend: ldap in it", ":7: the rule for the group \"c\""},
		},
		"two providers": {twoProviders + "groups:\n- {group: a, role: viewer}\n", "oidc", nil, []string{":5: the rule for the group \"a\" does not say"}},
		"not there": {
			oneProvider + "groups:\n- {group: a, role: viewer, provider: others}\n- {group: a, role: viewer, backend: ldap}\n", "oidc", nil,
			[]string{":4: the rule for the group \"a\" is for those of others, which is not in use: write provider: company", ":5: the rule for the group \"a\" is for those of ldap, which"},
		},
		"a provider of another backend": {oneProvider + "groups:\n- {group: a, role: viewer, provider: company, backend: ldap}\n", "oidc", nil, []string{":4: the rule for the group has a provider, and a backend that has none"}},
		"a backend without groups":      {"groups:\n- {group: a, role: viewer, backend: sqlite}\n", "header", nil, []string{":2: the backend \"sqlite\" tells of no groups: write ldap, header, or oidc"}},
		"a provider that is no ID":      {"groups:\n- {group: a, role: viewer, provider: ''}\n", "header", nil, []string{":2: the provider \"\" is no ID"}},
		"a provider called ldap":        {"providers:\n- {id: ldap, issuer: 'https://a.example.com', client_id: x}\n", "oidc", nil, []string{":2: the id ldap is a backend's name"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := Load(Source{Flags: Values{"config": writeFile(t, tc.text)}, Environ: []string{
				"DAGSTER_AUTH_BACKEND=" + tc.backends, "DAGSTER_AUTH_EXTERNAL_URL=https://dagster.example.com", "DAGSTER_AUTH_LDAP_SERVER=ldaps://x.example.com",
				"DAGSTER_AUTH_LDAP_BASE_DN=dc=x", "DAGSTER_AUTH_TRUSTED_PROXIES=127.0.0.1", "DAGSTER_AUTH_PROXY_USER_HEADER=Remote-User",
			}})
			var sources []string
			for _, rule := range cfg.GroupRules {
				sources = append(sources, rule.Source)
			}
			if diff := cmp.Diff(tc.want, sources); diff != "" || (err != nil) != (tc.problems != nil) {
				t.Fatalf("got %v; sources (-want +got):\n%s", err, diff)
			}
			if err == nil {
				return
			}
			lines := strings.Split(err.Error(), "\n")
			for _, want := range tc.problems {
				if !strings.Contains(err.Error(), "authkit.yaml"+want) || len(lines) != len(tc.problems) {
					t.Errorf("got %q, want %d problems, one of them %q", lines, len(tc.problems), want)
				}
			}
		})
	}
}

func TestRulesFor(t *testing.T) {
	t.Parallel()
	cfg, _, _, err := withProviders(t, twoProviders+"groups:\n- {group: a, role: admin, provider: company}\n- {group: b, role: viewer, provider: other}\n", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{"company": "a", "other": "b", "ldap": "", "": ""} {
		got := ""
		for _, rule := range cfg.RulesFor(source) {
			got += rule.Group
		}
		if got != want {
			t.Errorf("%q: got the rules for %q, want %q", source, got, want)
		}
	}
}
