package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withProviders loads a config file of that text with the settings that oidc needs.
func withProviders(t *testing.T, text string, mode os.FileMode, env ...string) (Config, []Value, []Warning, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authkit.yaml")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	env = append([]string{"DAGSTER_AUTH_BACKEND=oidc", "DAGSTER_AUTH_EXTERNAL_URL=https://dagster.example.com"}, env...)
	return Inspect(Source{Flags: Values{"config": path}, Environ: env})
}

func TestProviders(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, values, _, err := withProviders(t, `
providers:
  - id: google
    preset: google
    client_id: one
    client_secret: s3cret
    allowed_domains: [Example.com, example.org]
  - {id: company, name: Company SSO, issuer: "https://id.example.com/realms/x", client_id: two, client_secret_file: `+secret+`,
     scopes: openid email, groups_claim: realm_access.roles, allowed_groups: [staff], ca_cert: /etc/ca.pem}
`, 0o600, "DAGSTER_AUTH_OIDC_ISSUER=https://first.example.com", "DAGSTER_AUTH_OIDC_CLIENT_ID=zero")
	if err != nil {
		t.Fatal(err)
	}
	want := []OIDCProvider{
		{ID: "sso", Issuer: "https://first.example.com", ClientID: "zero"},
		{ID: "google", Preset: "google", ClientID: "one", ClientSecret: NewSecret("s3cret"), AllowedDomains: []string{"example.com", "example.org"}},
		{
			ID: "company", Name: "Company SSO", Issuer: "https://id.example.com/realms/x", ClientID: "two", ClientSecret: NewSecret("of-a-file"),
			Scopes: []string{"openid", "email"}, GroupsClaim: "realm_access.roles", AllowedGroups: []string{"staff"}, CACert: "/etc/ca.pem",
		},
	}
	if diff := cmp.Diff(want, cfg.OIDC); diff != "" {
		t.Errorf("providers (-want +got):\n%s", diff)
	}
	shown := map[string]string{}
	for _, value := range values {
		shown[value.Name] = value.Text
		if strings.Contains(value.Text, "s3cret") || strings.Contains(value.Text, "of-a-file") {
			t.Errorf("%s shows a secret", value.Name)
		}
	}
	if shown["providers.google.client_secret"] != hidden || shown["providers.company.client_secret"] != hidden || shown["providers.company.name"] != "Company SSO" {
		t.Errorf("check-config shows %v", shown)
	}
}

func TestProvidersThatAreWrong(t *testing.T) {
	t.Parallel()
	const good = "providers:\n- {id: a, issuer: https://id.example.com, client_id: x}\n"
	for name, tc := range map[string]struct {
		text string
		env  []string
		want string
	}{
		"control":                 {good, nil, ""},
		"http on this machine":    {"providers:\n- {id: a, issuer: 'http://127.0.0.1:8080/realms/x', client_id: x}", nil, ""},
		"no list":                 {"providers: {a: b}", nil, ":1: providers is no list"},
		"a word":                  {"providers: [google]", nil, ":1: a provider has settings of its own"},
		"no id":                   {"providers:\n- {issuer: https://id.example.com, client_id: x}", nil, ":2: the provider has no id"},
		"an id for no address":    {"providers:\n- {id: ../a, issuer: https://id.example.com, client_id: x}", nil, `:2: the id "../a" stands in addresses`},
		"no issuer":               {"providers:\n- {id: a, client_id: x}", nil, ":2: the provider has no issuer"},
		"issuer in clear":         {"providers:\n- {id: a, issuer: http://id.example.com, client_id: x}", nil, ":2: issuer: "},
		"issuer with a query":     {"providers:\n- {id: a, issuer: 'https://id.example.com?x', client_id: x}", nil, ":2: issuer: "},
		"no client":               {"providers:\n- {id: a, issuer: https://id.example.com}", nil, ":2: the provider has no client_id"},
		"GitHub without a secret": {"providers:\n- {id: a, preset: github, client_id: x}", nil, ":2: GitHub wants a client_secret"},
		"an unknown preset":       {"providers:\n- {id: a, preset: gogle, client_id: x}", nil, `:2: preset: "gogle" is no preset`},
		"a typing error":          {"providers:\n- {id: a, isuer: x, client_id: x}", nil, ":2: isuer is not part of a provider: did you mean issuer?"},
		"twice the same":          {good + "- {id: a, issuer: https://two.example.com, client_id: x}", nil, ":3: there is a provider a already"},
		"two secrets":             {"providers:\n- {id: a, issuer: https://id.example.com, client_id: x, client_secret: x, client_secret_file: /x}", nil, ":2: client_secret"},
		"a secret's file":         {"providers:\n- {id: a, issuer: https://id.example.com, client_id: x, client_secret_file: /nowhere}", nil, ":2: client_secret_file: "},
		"an issuer's file":        {"providers:\n- {id: a, issuer_file: /x, client_id: x}", nil, ":2: issuer_file is not part of a provider"},
		"a domain with @":         {"providers:\n- {id: a, issuer: https://id.example.com, client_id: x, allowed_domains: ['@x.com']}", nil, ":2: allowed_domains: "},
		"a button's name":         {"providers:\n- {id: a, issuer: https://id.example.com, client_id: x, name: '" + strings.Repeat("x", 41) + "'}", nil, ":2: name: "},
		"no provider":             {"port: 3000", nil, "oidc needs a provider"},
		"no external address":     {good, []string{"DAGSTER_AUTH_EXTERNAL_URL="}, "oidc needs DAGSTER_AUTH_EXTERNAL_URL"},
		"strict cookies":          {good, []string{"DAGSTER_AUTH_COOKIE_SAMESITE=strict"}, "write lax"},
		"a variable's issuer":     {good, []string{"DAGSTER_AUTH_OIDC_ISSUER=ftp://x", "DAGSTER_AUTH_OIDC_CLIENT_ID=x"}, "DAGSTER_AUTH_OIDC_ISSUER: "},
		"a variable alone":        {good, []string{"DAGSTER_AUTH_OIDC_CLIENT_ID=x"}, "DAGSTER_AUTH_OIDC_*: the provider has no issuer"},
	} {
		env := tc.env
		if name == "no external address" {
			env = nil
		}
		_, _, _, err := withProviders(t, tc.text, 0o600, env...)
		if name == "no external address" {
			_, _, err = Load(Source{Environ: []string{"DAGSTER_AUTH_BACKEND=oidc", "DAGSTER_AUTH_OIDC_PRESET=google", "DAGSTER_AUTH_OIDC_CLIENT_ID=x"}})
		}
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
		if err != nil && strings.Count(err.Error(), "\n") > 0 && name != "two secrets" {
			t.Errorf("%s: one mistake gives several lines:\n%v", name, err)
		}
	}
	// A secret in the file is nobody else's to read.
	const inline = "providers:\n- {id: a, issuer: https://id.example.com, client_id: x, client_secret: s3cret}"
	if _, _, _, err := withProviders(t, inline, 0o644); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a secret that everybody may read: got %v", err)
	}
	if _, _, _, err := withProviders(t, inline, 0o600); err != nil {
		t.Errorf("the control: %v", err)
	}
}
