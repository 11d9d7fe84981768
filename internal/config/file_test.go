package config

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

// writeFile makes a config file that its owner alone can read.
func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authkit.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const wholeFile = `# A comment.
---
host: 0.0.0.0
port: 80
path_prefix: "/dagster"
trusted_proxies: [10.0.0.0/8, 192.168.1.4]
db: sqlite:////data/x.db
session_max_age: 3600
session_idle_timeout: 30m
secret_key: |
  kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
rate_limit: no
cookie_samesite: strict
admin_user: 0123
report_only: true
run_user_tag: ''
protected_tags:
  - a/*   # any of a
  - "b"
protected_tags_role: launcher
roles:
  - name: operator
    permissions: [start_schedule, stop_running_schedule, start_schedule]
  - {name: night-watch, permissions: [terminate_pipeline_execution]}
groups:
  - group: cn=data-admins,ou=groups,dc=example,dc=org
    role: admin
  - {group: analysts, location: analytics, role: operator}
backend: [sqlite]
`

func TestFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, wholeFile)
	want := defaults()
	want.File, want.Host, want.Port, want.PathPrefix = path, "0.0.0.0", 80, "/dagster"
	want.TrustedProxies, want.Database = prefixes("10.0.0.0/8", "192.168.1.4/32"), "/data/x.db"
	want.SessionMaxAge, want.SessionIdleTimeout = time.Hour, 30*time.Minute
	want.SecretKey, want.RateLimit, want.CookieSameSite = NewSecret(strings.Repeat("k", 32)), false, http.SameSiteStrictMode
	want.AdminUser, want.ReportOnly, want.RunUserTag = "0123", true, ""
	want.ProtectedTags, want.ProtectedTagsRole = []string{"a/*", "b"}, identity.Launcher
	want.Backends = []string{"local"}
	want.GroupRules = []identity.GroupRule{
		{Group: "cn=data-admins,ou=groups,dc=example,dc=org", Role: identity.Admin}, {Group: "analysts", Location: "analytics", Role: "operator"},
	}
	want.Roles = map[identity.Role][]identity.Permission{
		"operator": {"start_schedule", "stop_running_schedule"}, "night-watch": {"terminate_pipeline_execution"},
	}
	for name, src := range map[string]Source{
		"flag":     {Flags: Values{"config": path}},
		"variable": {Environ: []string{"DAGSTER_AUTH_CONFIG=" + path}},
		"both":     {Flags: Values{"config": path}, Environ: []string{"DAGSTER_AUTH_CONFIG=/nowhere"}},
	} {
		got, _, err := Load(src)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFileGivesWay(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "port: 1\nhost: 10.0.0.1\ndatabase_url: file.db\n")
	cfg, values, _, err := Inspect(Source{
		Flags:   Values{"config": path, "port": "3"},
		Environ: []string{"DAGSTER_WEBSERVER_PORT=2", "DAGIT_HOST=10.0.0.2", "DAGSTER_AUTH_METRICS_TOKEN=hunter2"},
	})
	if err != nil || cfg.Port != 3 || cfg.Host != "10.0.0.2" || cfg.Database != "file.db" {
		t.Errorf("got port %d, host %s, database %s, %v, want 3, 10.0.0.2 and file.db", cfg.Port, cfg.Host, cfg.Database, err)
	}
	got := map[string]Value{}
	for _, value := range values {
		got[value.Name] = value
	}
	for _, want := range []Value{
		{"DAGSTER_AUTH_CONFIG", path, "--config"},
		{"port", "3", "--port"},
		{"host", "10.0.0.2", "DAGIT_HOST"},
		{"database_url", "file.db", path + ":3"},
		{"backend", "sqlite", "default"},
		{"metrics_token", "[hidden]", "DAGSTER_AUTH_METRICS_TOKEN"},
		{"secret_key", "", "default"},
	} {
		if got[want.Name] != want {
			t.Errorf("got %+v, want %+v", got[want.Name], want)
		}
	}
}

// TestFileMistakes: each line of want is the beginning of one of the problems, all of which are told at once.
func TestFileMistakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"many at once": {
			"prot: 80\nbackend: ldpa\nport: [1]\nbackend: local\nsession_max_age: 1s\nexternal_url: https://x/y\n",
			[]string{
				":1: prot is not a setting: did you mean port?", ":3: port is a list: write one value",
				":4: backend is there already, in line 2", `:2: backend: "ldpa" is no backend`,
				`:5: session_max_age: "1s" is too short`, ":6: external_url: ",
			},
		},
		"the variable's name":   {"DAGSTER_AUTH_BACKEND: local", []string{":1: DAGSTER_AUTH_BACKEND is not a setting: did you mean backend?"}},
		"the flag's name":       {"max-body: 1MiB", []string{":1: max-body is not a setting: did you mean max_body?"}},
		"nothing like it":       {"completely_else: 1", []string{":1: completely_else is not a setting: see dagster-authkit --help"}},
		"itself":                {"config: x.yaml", []string{":1: config is not a setting"}},
		"no value":              {"\nport:\n", []string{":2: port has no value"}},
		"null":                  {"port: ~", []string{":1: port has no value"}},
		"a mapping":             {"port: {a: 1}", []string{":1: port has settings of its own"}},
		"a list in a list":      {"trusted_proxies: [[a]]", []string{":1: trusted_proxies is a list"}},
		"wrong text":            {"rate_limit: maybe", []string{`:1: rate_limit: "maybe" is neither yes nor no`}},
		"an alias":              {"host: &a x\nadmin_user: *a", []string{":1: host: anchors, aliases", ":2: admin_user: anchors, aliases"}},
		"a merge":               {"host: x\n<<: *a", []string{":2: "}},
		"a tag":                 {"port: !!str 80", []string{":1: port: anchors, aliases and tags"}},
		"two documents":         {"port: 1\n---\nport: 2\n", []string{":3: a second YAML document"}},
		"a directive":           {"%YAML 1.2\n---\nport: 2\n", []string{":3: a second YAML document"}},
		"a list of settings":    {"- port: 1\n", []string{":1: write settings, one a line"}},
		"a word":                {"hello\n", []string{":1: write settings, one a line"}},
		"a number as a key":     {"1: 2\n", []string{`:1: 1 is no name of a setting`}},
		"not YAML":              {"port: 1\nhost: \"x\n", []string{":2: this is no YAML"}},
		"a tab":                 {"roles:\n\t- name: x\n", []string{":2: this is no YAML"}},
		"not UTF-8":             {"host: \xff", []string{" is no UTF-8 text"}},
		"a zero byte":           {"host: a\x00", []string{" is no UTF-8 text"}},
		"too large":             {strings.Repeat("# comment\n", 7000), []string{" is too large"}},
		"a long line":           {"# x\n# " + strings.Repeat("x", 9000), []string{":2: the line is too long"}},
		"brackets":              {strings.Repeat("[\n", 1001), []string{" has too many brackets"}},
		"two names":             {"db: x\ndatabase_url: y", []string{":1: database_url and db are one setting"}},
		"a secret twice":        {"secret_key: " + strings.Repeat("k", 32) + "\nsecret_key_file: x", []string{":2: secret_key and secret_key_file are one setting"}},
		"a secret's file":       {"secret_key_file: /nowhere/x", []string{":1: secret_key_file: open /nowhere/x"}},
		"no secret":             {"backend_file: x", []string{":1: backend_file is not a setting"}},
		"short secret":          {"secret_key: hunter2", []string{":1: secret_key: 7 bytes are too few"}},
		"secret in bad YAML":    {"secret_key: \"hunter2\nport: 1", []string{":1: this is no YAML"}},
		"impossible together":   {"backend: dummy\nhost: 0.0.0.0", []string{":1: backend: the dummy backend's passwords are public"}},
		"protected user tag":    {"run_user_tag: ecs/user", []string{`:1: run_user_tag: "ecs/user" is a protected tag`}},
		"no protected tags":     {"protected_tags: []", []string{":1: protected_tags: there is no tag in it"}},
		"roles no list":         {"roles: {operator: [x]}", []string{":1: roles is no list"}},
		"role a word":           {"roles: [operator]", []string{":1: a role has a name and permissions"}},
		"role without a name":   {"roles:\n- permissions: [a]", []string{":2: the role has no name"}},
		"role without any":      {"roles:\n- name: operator", []string{":2: role operator has no permissions"}},
		"role with an empty":    {"roles: [{name: operator, permissions: []}]", []string{":1: role operator has no permissions"}},
		"role with a word":      {"roles: [{name: operator, permissions: x}]", []string{":1: permissions is no list", ":1: role operator has no permissions"}},
		"role with more":        {"roles: [{name: operator, permission: [x]}]", []string{":1: permission is not part of a role: did you mean permissions?", ":1: role operator has no permissions"}},
		"role built in":         {"roles: [{name: admin, permissions: [x]}]", []string{":1: role admin is built in"}},
		"role with a bad name":  {"roles: [{name: Op erator, permissions: [x]}]", []string{`:1: role name "Op erator": use a lower-case letter`}},
		"role twice":            {"roles: [{name: a, permissions: [x]}, {name: a, permissions: [y]}]", []string{":1: role a is there already"}},
		"permission odd":        {"roles: [{name: a, permissions: [x, Y z]}]", []string{`:1: "Y z" is no permission: see dagster-authkit list-permissions`}},
		"permission a list":     {"roles: [{name: a, permissions: [x, [y]]}]", []string{":1: permissions is a list"}},
		"groups no list":        {"groups: {a: admin}", []string{":1: groups is no list"}},
		"group a word":          {"groups: [admins]", []string{":1: a rule has a group and a role"}},
		"group without a name":  {"groups:\n- role: admin", []string{":2: the rule has no group"}},
		"group without a role":  {"groups:\n- group: a", []string{":2: the rule for the group has no role"}},
		"group with more":       {"groups:\n- {group: a, role: viewer, loction: x}", []string{":2: loction is not part of a rule for groups: did you mean location?"}},
		"group of nothing":      {"groups:\n- {group: ' ', role: viewer}", []string{":2: group: it is empty"}},
		"location of nothing":   {"groups:\n- {group: a, role: viewer, location: ''}", []string{":2: location: it is empty"}},
		"group's role unknown":  {"groups:\n- {group: a, role: viewer}\n- {group: b, role: boss}", []string{`:3: the group "b" is given "boss", which is no role`}},
		"a key of odd letters":  {"\"a\\e[2J\": 1", []string{`:1: "a\x1b[2J" is not a setting`}},
		"unknown and something": {"roels: []\nport: 99999", []string{":1: roels is not a setting: did you mean roles?", `:2: port: "99999" is no whole number`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, tc.text)
			_, _, err := Load(Source{Flags: Values{"config": path}})
			if err == nil {
				t.Fatal("Load: got no error")
			}
			lines := strings.Split(err.Error(), "\n")
			for i, want := range tc.want {
				if i >= len(lines) || !strings.Contains(lines[i], path+want) {
					t.Errorf("problem %d: got %q, want %q", i, err, path+want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") || name != "short secret" && len(lines) != len(tc.want) {
				t.Errorf("got %q, want %d problems and no secret", lines, len(tc.want))
			}
		})
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for path, want := range map[string]string{"/nowhere.yaml": "--config: open /nowhere.yaml", folder: "--config: read " + folder, "": "--config: it names no file"} {
		_, _, err := Load(Source{Flags: Values{"config": path, "port": "x"}})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("%q: got %v, want %q and the port's problem", path, err, want)
		}
	}
	if _, _, err := Load(Source{Environ: []string{"DAGSTER_AUTH_CONFIG="}}); err != nil {
		t.Errorf("an empty variable: %v", err)
	}
}

// TestFileWithSecretsIsPrivate: others may read a file without secrets, and nobody but owner and group one with them.
func TestFileWithSecretsIsPrivate(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 32)
	for _, tc := range []struct {
		text string
		mode os.FileMode
		bad  bool
	}{
		{"secret_key: " + key, 0o644, true},
		{"admin_password: " + key, 0o604, true},
		{"metrics_token: " + key, 0o606, true},
		{"secret_key: " + key, 0o600, false},
		{"secret_key: " + key, 0o640, false},
		{"port: 1\ndb: /data/x.db", 0o644, false},
		{"secret_key_file: x", 0o644, false},
	} {
		path := writeFile(t, tc.text)
		if err := os.Chmod(path, tc.mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := Load(Source{Flags: Values{"config": path}})
		if refused := err != nil && strings.Contains(err.Error(), "chmod 600 "+path); refused != tc.bad {
			t.Errorf("%s with mode %o: got %v, want it refused: %v", tc.text, tc.mode, err, tc.bad)
		}
	}
}

func TestEverySettingHasAKey(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range Settings() {
		for _, key := range s.keys() {
			if seen[key] || key != strings.ToLower(key) {
				t.Errorf("%s: the key %q is of two settings", s.Env, key)
			}
			seen[key] = true
		}
		if s.Key() == "" && s.Env != "DAGSTER_AUTH_CONFIG" {
			t.Errorf("%s has no key", s.Env)
		}
	}
	for _, key := range []string{"session_max_age", "backend", "host", "port", "path_prefix", "db", "secret_key", "secret_key_file", "upstream"} {
		if !seen[key] {
			t.Errorf("%s is no key", key)
		}
	}
}

func TestShared(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "db: x.db\nbackend: nonsense\nroles: [{name: operator, permissions: [start_schedule]}]\n")
	src := Source{Flags: Values{"config": path}}
	cfg, err := Shared(src, "DAGSTER_AUTH_DATABASE_URL")
	if err != nil || cfg.Database != "x.db" || len(cfg.Roles) != 1 {
		t.Errorf("Shared: got %q, %v, %v, want x.db and one role", cfg.Database, cfg.Roles, err)
	}
	if _, _, err := Load(src); err == nil {
		t.Error("Load of the same: got no error")
	}
	if _, err := Shared(Source{Flags: Values{"db": "redis://x"}}, "DAGSTER_AUTH_DATABASE_URL"); err == nil {
		t.Error("a redis URL: got no error")
	}
	if _, err := Shared(Source{Flags: Values{"config": writeFile(t, "roles: x")}}, "DAGSTER_AUTH_DATABASE_URL"); err == nil {
		t.Error("a bad role: got no error")
	}
	if cfg, err := Shared(Source{Environ: []string{"DAGSTER_AUTH_DB=y.db", "DAGSTER_AUTH_BACKEND=nonsense"}}, "DAGSTER_AUTH_DATABASE_URL"); err != nil || cfg.Database != "y.db" {
		t.Errorf("without a file: got %q, %v, want y.db", cfg.Database, err)
	}
}

// FuzzFile: whatever a config file holds, it is read or refused.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{wholeFile, "a: &x [*x]", "roles: [{name: a, permissions: [b]}]", "? a\n: b", "a: !!x |\n  b", "{a: b, c: [d, {e: f}]}", "%YAML 1.2\n---\n", "a: >-\n b\n\n c"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		read := &file{path: "x", entries: map[string]entry{}}
		if err := read.parse(data); err != nil && strings.HasPrefix(err.Error(), "x: this is no YAML") {
			t.Errorf("the parser gave no line for %q", data)
		}
	})
}
