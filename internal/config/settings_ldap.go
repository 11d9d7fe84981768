package config

import (
	"fmt"
	"strings"
	"time"
)

// The settings of the ldap backend. The preset and nested groups stand first, as the defaults of others follow from them.

func ldapSettings() []setting {
	var all []setting
	for _, group := range [][]setting{ldapServerSettings(), ldapPeopleSettings(), ldapGroupSettings()} {
		all = append(all, group...)
	}
	return all
}

func ldapServerSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_PRESET", Default: presetOpenLDAP,
				Meaning: "Kind of directory: openldap (the defaults below), or ad for Active Directory (objectGUID, sAMAccountName or userPrincipalName, memberOf).",
			},
			func(c *Config, text string) error { return into(&c.LDAP.Preset)(oneOf(text, presetOpenLDAP, presetAD)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_NESTED_GROUPS", Default: "false",
				Meaning: "Whether groups in groups count (ad only).",
			},
			func(c *Config, text string) error { return into(&c.LDAP.NestedGroups)(parseBool(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_SERVER", List: true,
				Meaning: "The directory, such as ldaps://ldap.example.com; several, separated by commas, are asked in that order.",
			},
			func(c *Config, text string) error { return into(&c.LDAP.Servers)(parseLDAPServers(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_USE_TLS", Default: "false",
				Meaning: "Secure ldap:// servers by StartTLS, and take servers without a scheme for ldaps://. Certificates are always verified.",
			},
			func(c *Config, text string) error { return into(&c.LDAP.UseTLS)(parseBool(text)) },
		},
		{
			Setting{
				Env:     "DAGSTER_AUTH_LDAP_CA_CERT",
				Meaning: "PEM file with the authorities that sign the directory's certificate, in place of those of the machine.",
			},
			func(c *Config, text string) error { c.LDAP.CACert = text; return nil },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_ALLOW_INSECURE", Default: "false",
				Meaning: "Let passwords go to an ldap:// server on another machine in clear.",
			},
			func(c *Config, text string) error { return into(&c.LDAP.AllowInsecure)(parseBool(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_TIMEOUT", Default: "10",
				Meaning: "How long connecting to a directory server, and each question to it, may take, in seconds or as 5s.",
			},
			func(c *Config, text string) error { return into(&c.LDAP.Timeout)(parseLDAPTimeout(text)) },
		},
	}
}

func ldapPeopleSettings() []setting {
	return []setting{
		{
			Setting{Env: "DAGSTER_AUTH_LDAP_BASE_DN", Meaning: "Where people are, such as ou=people,dc=example,dc=com."},
			func(c *Config, text string) error { c.LDAP.BaseDN = text; return checkDN(text) },
		},
		{
			Setting{
				Env:     "DAGSTER_AUTH_LDAP_BIND_DN",
				Meaning: "Account that searches, which need only read; Active Directory also takes svc@example.com. Without it the search has no name.",
			},
			func(c *Config, text string) error { c.LDAP.BindDN = text; return nil },
		},
		{
			Setting{Env: "DAGSTER_AUTH_LDAP_BIND_PASSWORD", Secret: true, Meaning: "Its password."},
			func(c *Config, text string) error { c.LDAP.BindPassword = NewSecret(text); return nil },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_USER_FILTER", Default: "(uid={username})",
				Meaning: "Finds a person by what they type as their name. Whoever no longer matches is signed out at the next refresh.",
			},
			func(c *Config, text string) error { c.LDAP.UserFilter = text; return checkUserFilter(text) },
		},
		attributeSetting("SUBJECT", "entryUUID", "Attribute that never changes and makes the identity.", func(c *Config) *string { return &c.LDAP.SubjectAttribute }),
		attributeSetting("NAME", "uid", "Attribute with the name that is shown, and that stands in runs and in the audit trail.", func(c *Config) *string { return &c.LDAP.NameAttribute }),
		attributeSetting("EMAIL", "mail", "Attribute with the email address.", func(c *Config) *string { return &c.LDAP.EmailAttribute }),
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_FULL_NAME_ATTRIBUTE", Default: "displayName,cn", List: true,
				Meaning: "Attributes with the full name; the first that has a value counts.",
			},
			func(c *Config, text string) error { return into(&c.LDAP.FullName)(parseAttributes(text)) },
		},
	}
}

func attributeSetting(what, byDefault, meaning string, field func(*Config) *string) setting {
	return setting{
		Setting{Env: "DAGSTER_AUTH_LDAP_" + what + "_ATTRIBUTE", Default: byDefault, Meaning: meaning},
		func(c *Config, text string) error { *field(c) = text; return checkAttribute(text) },
	}
}

func ldapGroupSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_GROUPS", Default: LDAPSearch,
				Meaning: "Where a person's groups stand: search (groups that name the person), or memberof (the attribute memberOf of the person's entry).",
			},
			func(c *Config, text string) error { return into(&c.LDAP.Groups)(oneOf(text, LDAPSearch, LDAPMemberOf)) },
		},
		{
			Setting{
				Env:     "DAGSTER_AUTH_LDAP_GROUP_BASE_DN",
				Meaning: "Where groups are searched; without it, in the domain (dc=...) of the people.",
			},
			func(c *Config, text string) error { c.LDAP.GroupBaseDN = text; return checkDN(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_GROUP_FILTER", Default: "(|(member={dn})(uniqueMember={dn})(memberUid={username}))",
				Meaning: "Finds the groups of the person with that DN and that value of the name's attribute.",
			},
			func(c *Config, text string) error { c.LDAP.GroupFilter = text; return checkGroupFilter(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_LDAP_GROUP_PATTERN",
				Meaning: "DN of the groups that give roles, with {role} in place of admins, editors, launchers and viewers, " +
					"such as cn={role},ou=groups,dc=example,dc=com. For other groups see groups below.",
			},
			func(c *Config, text string) error { c.LDAP.GroupPattern = text; return checkDNPattern(text) },
		},
		{
			Setting{
				Env:     "DAGSTER_AUTH_LDAP_ROLE_ATTRIBUTE",
				Meaning: "Attribute of the person's entry whose value is a role; it counts like a group that gives this role.",
			},
			func(c *Config, text string) error { c.LDAP.RoleAttribute = text; return checkAttribute(text) },
		},
	}
}

// parseLDAPTimeout wants less than a refresh may take as a whole, so that another server can be asked.
func parseLDAPTimeout(text string) (time.Duration, error) {
	const most = time.Minute
	d, err := durationFrom(text, time.Second)
	if err == nil && d > most {
		return 0, fmt.Errorf("%q is too long: write at most %s", text, most)
	}
	return d, err
}

// oneOf wants one of two words.
func oneOf(text, first, second string) (string, error) {
	for _, word := range []string{first, second} {
		if strings.EqualFold(text, word) {
			return word, nil
		}
	}
	return "", fmt.Errorf("%q is neither %s nor %s", text, first, second)
}
