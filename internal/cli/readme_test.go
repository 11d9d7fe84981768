package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dagster-authkit/internal/config"
)

// TestReadmeHasEverySetting: the table in the README is the one that --help is made from.
func TestReadmeHasEverySetting(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), strings.TrimSpace(config.Markdown())) {
		t.Errorf("the README's table of settings is not the program's; it should be:\n%s", config.Markdown())
	}
}

// TestReadmePresetsAreGood: whoever copies a config file for a directory from the README can start with it.
func TestReadmePresetsAreGood(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "ldap")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	presets := map[string]bool{}
	for _, block := range strings.Split(string(readme), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if !strings.Contains(text, "ldap_server") {
			continue
		}
		path := filepath.Join(t.TempDir(), "authkit.yaml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/run/secrets/ldap", secret)), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, warnings, err := config.Load(config.Source{Flags: config.Values{"config": path}})
		if err != nil || len(warnings) > 0 {
			t.Errorf("got %v, %q, want neither error nor warning for:\n%s", err, warnings, text)
			continue
		}
		presets[cfg.LDAP.Preset] = true
		if len(cfg.LDAP.Servers) != 2 || cfg.LDAP.BindPassword.Reveal() != "hunter2" || len(cfg.GroupRules)+len(cfg.LDAP.GroupRules()) < 3 {
			t.Errorf("got the servers %q and the rules %v %v", cfg.LDAP.Servers, cfg.GroupRules, cfg.LDAP.GroupRules())
		}
	}
	if !presets["openldap"] || !presets["ad"] {
		t.Errorf("the README has presets for %v, want openldap and ad", presets)
	}
}
