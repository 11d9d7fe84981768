package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/identity"
)

// LDAP are the settings of the directory.
type LDAP struct {
	// Preset is openldap or ad: what the settings are that were not given.
	Preset string
	// Servers are ldap:// and ldaps:// URLs with a host and a port, in the order in which they are asked.
	Servers []string
	// UseTLS secures ldap:// servers by StartTLS.
	UseTLS bool
	// AllowInsecure lets passwords go to another machine in clear.
	AllowInsecure bool
	// CACert is the path of a PEM file with the authorities to trust in place of the machine's own; empty: the machine's.
	CACert string
	BaseDN string
	// BindDN and BindPassword are those of the account that searches; both empty: it searches without a name.
	BindDN       string
	BindPassword Secret
	// UserFilter finds a person's entry, with {username} in place of what was typed.
	UserFilter string
	// The attributes that make a user. FullName are several, of which the first that has a value counts.
	SubjectAttribute string
	NameAttribute    string
	EmailAttribute   string
	FullName         []string
	// Groups says where a person's groups stand: LDAPMemberOf or LDAPSearch.
	Groups string
	// NestedGroups counts groups in groups too. Active Directory alone can tell.
	NestedGroups bool
	// GroupBaseDN and GroupFilter find the groups of a person, with {dn} and {username} in place of the person's.
	GroupBaseDN string
	GroupFilter string
	// GroupPattern is a DN with {role} in place of admins, editors, launchers and viewers; empty: there is none.
	GroupPattern string
	// RoleAttribute is an attribute whose values name roles; empty: there is none.
	RoleAttribute string
	// Timeout bounds connecting to a server, and each question to one.
	Timeout time.Duration
}

// Where the groups of a person stand in a directory.
const (
	LDAPMemberOf = "memberof"
	LDAPSearch   = "search"
)

const (
	presetOpenLDAP = "openldap"
	presetAD       = "ad"
)

// nestedFilter follows groups in groups: the directory itself does, by LDAP_MATCHING_RULE_IN_CHAIN (MS-ADTS, 3.1.1.3.4.4.3).
const nestedFilter = "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))"

// presetValue is the setting's value when it was not given, by what was chosen before.
func (c Config) presetValue(env string) (string, bool) {
	if c.LDAP.NestedGroups {
		switch env {
		case "DAGSTER_AUTH_LDAP_GROUPS":
			return LDAPSearch, true
		case "DAGSTER_AUTH_LDAP_GROUP_FILTER":
			return nestedFilter, true
		}
	}
	if c.LDAP.Preset != presetAD {
		return "", false
	}
	text, ok := map[string]string{
		"DAGSTER_AUTH_LDAP_USER_FILTER":       "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={username})(userPrincipalName={username})))",
		"DAGSTER_AUTH_LDAP_SUBJECT_ATTRIBUTE": "objectGUID",
		"DAGSTER_AUTH_LDAP_NAME_ATTRIBUTE":    "sAMAccountName",
		"DAGSTER_AUTH_LDAP_GROUPS":            LDAPMemberOf,
		"DAGSTER_AUTH_LDAP_GROUP_FILTER":      "(&(objectClass=group)(member={dn}))",
	}[env]
	return text, ok
}

// ActiveDirectory reports whether the directory is one.
func (l LDAP) ActiveDirectory() bool { return l.Preset == presetAD }

// GroupRules are what the pattern gives to the groups that it names, as the Python AuthKit has it.
func (l LDAP) GroupRules() []identity.GroupRule {
	return patternRules(identity.SourceLDAP, l.GroupPattern)
}

// The places in filters and patterns.
const (
	namePlace = "{username}"
	dnPlace   = "{dn}"
)

// parseLDAPServers reads servers, with commas or blanks between. One without a scheme is an ldap:// server, or with TLS an ldaps:// one,
// as the Python AuthKit has it; which of both is settled when UseTLS is known, by settleLDAP.
func parseLDAPServers(text string) ([]string, error) {
	var servers []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		server, err := parseLDAPServer(word)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	if len(servers) == 0 {
		return nil, errors.New("it names no server: write ldaps://ldap.example.com")
	}
	return servers, nil
}

// withoutScheme marks a server that was written without one.
const withoutScheme = "ldap?"

func parseLDAPServer(word string) (string, error) {
	scheme, rest, found := strings.Cut(word, "://")
	if !found {
		scheme, rest = withoutScheme, word
	}
	scheme = strings.ToLower(scheme)
	u, err := url.Parse("//" + strings.TrimSuffix(rest, "/"))
	known := scheme == "ldap" || scheme == "ldaps" || scheme == withoutScheme
	if strings.Contains(word, "@") {
		return "", errors.New("it has an @: write the account into DAGSTER_AUTH_LDAP_BIND_DN, and servers as ldaps://ldap.example.com")
	}
	if err != nil || !known || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%.200q is no server: write ldaps://ldap.example.com or ldap://ldap.example.com:389", word)
	}
	if port := u.Port(); port != "" {
		if _, err := parseInt(port, 1, 65535); err != nil {
			return "", fmt.Errorf("%.200q has no port from 1 to 65535", word)
		}
	}
	return scheme + "://" + u.Host, nil
}

// settleLDAP gives each server the scheme and the port that it was written without, and the groups' base.
func (c *Config) settleLDAP() {
	for i, server := range c.LDAP.Servers {
		scheme, host, _ := strings.Cut(server, "://")
		if scheme == withoutScheme {
			scheme = "ldap"
			if c.LDAP.UseTLS {
				scheme = "ldaps"
			}
		}
		port := map[string]int{"ldap": 389, "ldaps": 636}[scheme]
		if u, err := url.Parse("//" + host); err == nil && u.Port() == "" {
			host = net.JoinHostPort(u.Hostname(), strconv.Itoa(port))
		}
		c.LDAP.Servers[i] = scheme + "://" + host
	}
	if c.LDAP.GroupBaseDN == "" {
		c.LDAP.GroupBaseDN = domainOf(c.LDAP.BaseDN)
	}
}

// domainOf is the end of a DN that is a domain (dc=example,dc=com), or all of it when it has none, as the Python AuthKit has it.
func domainOf(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return dn
	}
	first := slices.IndexFunc(parsed.RDNs, func(rdn *ldap.RelativeDN) bool { return strings.EqualFold(rdn.Attributes[0].Type, "dc") })
	if first < 0 {
		return dn
	}
	return (&ldap.DN{RDNs: parsed.RDNs[first:]}).String()
}

func checkDN(text string) error {
	parsed, err := ldap.ParseDN(text)
	if err != nil || len(parsed.RDNs) == 0 {
		return fmt.Errorf("%.200q is no distinguished name: write one such as ou=people,dc=example,dc=com", text)
	}
	return nil
}

func checkDNPattern(text string) error {
	if err := checkGroupPattern(text); err != nil {
		return err
	}
	return checkDN(strings.ReplaceAll(text, rolePlace, "admins"))
}

// attributeName is a short description of RFC 4512, section 2.5.
var attributeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)

func checkAttribute(text string) error {
	if !attributeName.MatchString(text) {
		return fmt.Errorf("%.80q is no attribute: write a name such as uid", text)
	}
	return nil
}

func parseAttributes(text string) ([]string, error) {
	var names []string
	for word := range strings.SplitSeq(text, ",") {
		names = append(names, strings.TrimSpace(word))
		if err := checkAttribute(names[len(names)-1]); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// namedBy is a part of a filter in which {username} may stand: what was typed is then compared with what the entry has.
var namedBy = regexp.MustCompile(`\([A-Za-z][A-Za-z0-9-]*=[^()*{}]*\{username\}[^()*{}]*\)`)

// checkUserFilter wants the name in plain comparisons alone, so that a refresh can ask whether the entry has any name at all there.
func checkUserFilter(text string) error {
	if !strings.Contains(namedBy.ReplaceAllString(text, ""), namePlace) && namedBy.MatchString(text) {
		if _, err := ldap.CompileFilter(strings.ReplaceAll(text, namePlace, "name")); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%.200q is no filter for people: write one such as (uid={username}), with {username} after an attribute and =", text)
}

func checkGroupFilter(text string) error {
	filled := strings.NewReplacer(dnPlace, "cn=name", namePlace, "name").Replace(text)
	if _, err := ldap.CompileFilter(filled); err != nil || filled == text {
		return fmt.Errorf("%.200q is no filter for groups: write one such as (member={dn}), with {dn} or {username} in it", text)
	}
	return nil
}

// checkLDAP looks at what is right alone and wrong together.
func (c Config) checkLDAP(in *input) []error {
	if !c.Has(BackendLDAP) {
		return nil
	}
	var problems []error
	fail := func(env, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: "+format, append([]any{in.givenOr(env)}, args...)...))
	}
	for _, needed := range []struct{ env, example string }{
		{"DAGSTER_AUTH_LDAP_SERVER", "ldaps://ldap.example.com"}, {"DAGSTER_AUTH_LDAP_BASE_DN", "ou=people,dc=example,dc=com"},
	} {
		if _, given := in.given[needed.env]; !given {
			fail(needed.env, "the ldap backend needs it: write one such as %s", needed.example)
		}
	}
	for _, server := range c.LDAP.Servers {
		u, err := url.Parse(server)
		if err == nil && u.Scheme == "ldap" && !c.LDAP.UseTLS && !c.LDAP.AllowInsecure && !isLoopback(u.Hostname()) {
			fail("DAGSTER_AUTH_LDAP_SERVER", "passwords would cross the network to %s in clear: write ldaps://%s, or add "+
				"DAGSTER_AUTH_LDAP_USE_TLS=true (StartTLS), or DAGSTER_AUTH_LDAP_ALLOW_INSECURE=true", u.Host, u.Hostname())
		}
	}
	switch {
	case c.LDAP.BindDN != "" && !c.LDAP.BindPassword.IsSet() && !in.bad["DAGSTER_AUTH_LDAP_BIND_PASSWORD"]:
		fail("DAGSTER_AUTH_LDAP_BIND_DN", "it has no password: set DAGSTER_AUTH_LDAP_BIND_PASSWORD or DAGSTER_AUTH_LDAP_BIND_PASSWORD_FILE")
	case c.LDAP.BindDN == "" && c.LDAP.BindPassword.IsSet():
		fail("DAGSTER_AUTH_LDAP_BIND_PASSWORD", "nobody has this password: set DAGSTER_AUTH_LDAP_BIND_DN")
	}
	if c.LDAP.NestedGroups && c.LDAP.Preset != presetAD {
		fail("DAGSTER_AUTH_LDAP_NESTED_GROUPS", "only Active Directory follows groups in groups: set DAGSTER_AUTH_LDAP_PRESET=ad")
	}
	if c.LDAP.NestedGroups && c.LDAP.Groups == LDAPMemberOf {
		fail("DAGSTER_AUTH_LDAP_GROUPS", "memberOf knows nothing of groups in groups: leave it out")
	}
	return problems
}

// cautionLDAP warns of what is less safe than it looks.
func (c Config) cautionLDAP(in *input) {
	if !c.Has(BackendLDAP) {
		for _, s := range ldapSettings() {
			if from, given := in.given[s.Env]; given {
				in.warn("%s does nothing without the ldap backend", from)
			}
		}
		return
	}
	if c.LDAP.AllowInsecure {
		in.warn("NOT SAFE: %s lets passwords cross the network in clear: use ldaps:// or DAGSTER_AUTH_LDAP_USE_TLS=true", in.givenOr("DAGSTER_AUTH_LDAP_ALLOW_INSECURE"))
	}
	if c.LDAP.GroupPattern == "" && c.LDAP.RoleAttribute == "" && len(c.RulesFor(identity.SourceLDAP)) == 0 && c.DefaultRole == "" {
		in.warn("nobody of the directory gets a role: write rules under groups in the config file, or set DAGSTER_AUTH_LDAP_GROUP_PATTERN or DAGSTER_AUTH_DEFAULT_ROLE")
	}
}
