package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/identity"
)

// directory are the settings that the ldap backend can't do without, and more.
func directory(more ...string) []string {
	return append(more, "DAGSTER_AUTH_BACKEND=ldap", "DAGSTER_AUTH_LDAP_SERVER=ldaps://ldap.example.com",
		"DAGSTER_AUTH_LDAP_BASE_DN=ou=people,dc=example,dc=com", "DAGSTER_AUTH_DEFAULT_ROLE=viewer")
}

func TestLDAPSettings(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  []string
		want func(*LDAP)
	}{
		"the least": {want: func(*LDAP) {}},
		"active directory": {env: []string{"DAGSTER_AUTH_LDAP_PRESET=AD"}, want: func(l *LDAP) {
			l.Preset, l.SubjectAttribute, l.NameAttribute, l.Groups = "ad", "objectGUID", "sAMAccountName", "memberof"
			l.UserFilter = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={username})(userPrincipalName={username})))"
			l.GroupFilter = "(&(objectClass=group)(member={dn}))"
		}},
		"groups in groups": {env: []string{"DAGSTER_AUTH_LDAP_PRESET=ad", "DAGSTER_AUTH_LDAP_NESTED_GROUPS=true"}, want: func(l *LDAP) {
			l.Preset, l.SubjectAttribute, l.NameAttribute, l.Groups, l.NestedGroups = "ad", "objectGUID", "sAMAccountName", "search", true
			l.UserFilter = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={username})(userPrincipalName={username})))"
			l.GroupFilter = "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))"
		}},
		"what is given is before the preset": {
			env:  []string{"DAGSTER_AUTH_LDAP_PRESET=openldap", "DAGSTER_AUTH_LDAP_USER_FILTER=(mail={username})", "DAGSTER_AUTH_LDAP_GROUPS=MemberOf"},
			want: func(l *LDAP) { l.UserFilter, l.Groups = "(mail={username})", "memberof" },
		},
		"several servers": {
			env: []string{"DAGSTER_AUTH_LDAP_SERVER=ldaps://a, LDAP://b:1389/,c,[::1]:99", "DAGSTER_AUTH_LDAP_USE_TLS=true"},
			want: func(l *LDAP) {
				l.Servers, l.UseTLS = []string{"ldaps://a:636", "ldap://b:1389", "ldaps://c:636", "ldaps://[::1]:99"}, true
			},
		},
		"loopback in clear": {
			env:  []string{"DAGSTER_AUTH_LDAP_SERVER=ldap://localhost,127.0.0.1:389"},
			want: func(l *LDAP) { l.Servers = []string{"ldap://localhost:389", "ldap://127.0.0.1:389"} },
		},
		"a base that is no domain": {
			env:  []string{"DAGSTER_AUTH_LDAP_BASE_DN=ou=people,o=example"},
			want: func(l *LDAP) { l.BaseDN, l.GroupBaseDN = "ou=people,o=example", "ou=people,o=example" },
		},
		"the searching account": {
			env:  []string{"DAGSTER_AUTH_LDAP_BIND_DN=AD\\svc", "DAGSTER_AUTH_LDAP_BIND_PASSWORD=hunter2"},
			want: func(l *LDAP) { l.BindDN, l.BindPassword = "AD\\svc", NewSecret("hunter2") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := defaults().LDAP
			want.Servers, want.BaseDN, want.GroupBaseDN = []string{"ldaps://ldap.example.com:636"}, "ou=people,dc=example,dc=com", "dc=example,dc=com"
			tc.want(&want)
			cfg, warnings, err := Load(Source{Environ: directory(tc.env...)})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Load: error %v, warnings %q, want none", err, warnings)
			}
			if diff := cmp.Diff(want, cfg.LDAP); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLDAPSettingsRefused(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{
		"LDAP_SERVER=ldap://ldap.example.com":      "passwords would cross the network to ldap.example.com:389 in clear: write ldaps://ldap.example.com",
		"LDAP_SERVER=ldaps://a,b.example.com":      "passwords would cross the network to b.example.com:389 in clear",
		"LDAP_SERVER=http://a":                     "is no server",
		"LDAP_SERVER=ldapi:///var/run/slapd":       "is no server",
		"LDAP_SERVER=ldap://a/dc=x":                "is no server",
		"LDAP_SERVER=ldaps://user:hunter2@a":       "it has an @",
		"LDAP_SERVER=ldaps://a:0":                  "has no port from 1 to 65535",
		"LDAP_SERVER= , ":                          "it names no server",
		"LDAP_BASE_DN=people":                      "is no distinguished name",
		"LDAP_BIND_DN=cn=x":                        "it has no password",
		"LDAP_BIND_PASSWORD=hunter2":               "nobody has this password",
		"LDAP_USER_FILTER=(uid=ada)":               "is no filter for people",
		"LDAP_USER_FILTER=uid={username}":          "is no filter for people",
		"LDAP_USER_FILTER=(uid:dn:={username})":    "is no filter for people",
		"LDAP_USER_FILTER=(uid>={username})":       "is no filter for people",
		"LDAP_USER_FILTER=(&(uid={username})":      "is no filter for people",
		"LDAP_USER_FILTER=(uid={username})(uid=x)": "is no filter for people",
		"LDAP_USER_FILTER=({username}=x)":          "is no filter for people",
		"LDAP_GROUP_FILTER=(cn=x)":                 "is no filter for groups",
		"LDAP_GROUP_FILTER=(member={dn}":           "is no filter for groups",
		"LDAP_GROUP_PATTERN=cn=admins,dc=x":        "it must have {role} in one place",
		"LDAP_GROUP_PATTERN={role}":                "is no distinguished name",
		"LDAP_NAME_ATTRIBUTE=uid)(x":               "is no attribute",
		"LDAP_FULL_NAME_ATTRIBUTE=cn,":             "is no attribute",
		"LDAP_ROLE_ATTRIBUTE=1.2.3":                "is no attribute",
		"LDAP_PRESET=novell":                       "is neither openldap nor ad",
		"LDAP_GROUPS=all":                          "is neither search nor memberof",
		"LDAP_NESTED_GROUPS=true":                  "only Active Directory follows groups in groups",
		"LDAP_TIMEOUT=0":                           "is too short",
		"LDAP_TIMEOUT=5m":                          "is too long",
	} {
		name, _, _ := strings.Cut(env, "=")
		_, _, err := Load(Source{Environ: directory("DAGSTER_AUTH_" + env)})
		if err == nil || !strings.HasPrefix(err.Error(), "DAGSTER_AUTH_"+name+": ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want one line with %q", env, err, want)
		}
	}
	_, _, err := Load(Source{Environ: []string{"DAGSTER_AUTH_BACKEND=sqlite,ldap"}})
	if err == nil || !strings.Contains(err.Error(), "DAGSTER_AUTH_LDAP_SERVER: ") || !strings.Contains(err.Error(), "DAGSTER_AUTH_LDAP_BASE_DN: ") {
		t.Errorf("nothing given: got %v, want both settings named", err)
	}
	_, _, err = Load(Source{Environ: directory("DAGSTER_AUTH_LDAP_PRESET=ad", "DAGSTER_AUTH_LDAP_NESTED_GROUPS=yes", "DAGSTER_AUTH_LDAP_GROUPS=memberof")})
	if err == nil || !strings.Contains(err.Error(), "memberOf knows nothing of groups in groups") {
		t.Errorf("memberof with groups in groups: got %v", err)
	}
}

func TestLDAPWarnings(t *testing.T) {
	t.Parallel()
	_, warnings, err := Load(Source{Environ: directory("DAGSTER_AUTH_LDAP_SERVER=ldap://x", "DAGSTER_AUTH_LDAP_ALLOW_INSECURE=true")})
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(string(warnings[0]), "NOT SAFE: ") {
		t.Errorf("in clear: got %v, %q, want a warning", err, warnings)
	}
	withoutRoles := slices.DeleteFunc(directory(), func(entry string) bool { return strings.Contains(entry, "DEFAULT_ROLE") })
	_, warnings, err = Load(Source{Environ: withoutRoles})
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(string(warnings[0]), "nobody of the directory gets a role") {
		t.Errorf("no rules: got %v, %q, want a warning", err, warnings)
	}
}

func TestLDAPGroupPattern(t *testing.T) {
	t.Parallel()
	want := []identity.GroupRule{
		{Source: "ldap", Group: "cn=admins,ou=g,dc=x", Role: "admin"},
		{Source: "ldap", Group: "cn=editors,ou=g,dc=x", Role: "editor"},
		{Source: "ldap", Group: "cn=launchers,ou=g,dc=x", Role: "launcher"},
		{Source: "ldap", Group: "cn=viewers,ou=g,dc=x", Role: "viewer"},
	}
	if diff := cmp.Diff(want, LDAP{GroupPattern: "cn={role},ou=g,dc=x"}.GroupRules()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (LDAP{}).GroupRules(); got != nil {
		t.Errorf("without a pattern: got %v, want none", got)
	}
}
