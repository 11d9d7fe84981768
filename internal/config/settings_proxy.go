package config

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// The settings for the backend header: what a proxy in front says of people, and by which headers. The names without JWT in
// them are the Python AuthKit's.

// Proxy is how a proxy in front says who somebody is.
type Proxy struct {
	// Preset is the name of a product whose headers these are, or empty.
	Preset string
	// TrustAll takes the headers from everybody.
	TrustAll bool
	// UserHeader and the others are plain headers. They are not read where TokenHeader is given.
	UserHeader, GroupsHeader, EmailHeader, NameHeader string
	// GroupsSeparator is comma, semicolon, pipe, space or json; empty: it is found out.
	GroupsSeparator string
	// GroupPattern makes of {role} the groups of the four roles; empty: there are none but those of the file.
	GroupPattern string
	// LogoutURL is where people sign out: a URL, or a path of this host; empty: nobody knows.
	LogoutURL string
	// TokenHeader holds a signed token; empty: none does. KeysURL, Issuer and Audience are what it is verified by.
	TokenHeader, KeysURL, Issuer, Audience string
	// UserClaim and GroupsClaim are where the token has them.
	UserClaim, GroupsClaim string
	// CAFile is the path of a PEM file with the authorities to trust for KeysURL in place of the machine's; empty: the machine's.
	CAFile string
}

// LoadBalancer reports whether tokens are those of AWS's Application Load Balancer, which differ from all others.
func (p Proxy) LoadBalancer() bool { return p.Preset == "alb" }

// Headers are all that are read.
func (p Proxy) Headers() []string {
	if p.TokenHeader != "" {
		return []string{p.TokenHeader}
	}
	headers := []string{p.UserHeader, p.GroupsHeader, p.NameHeader}
	if p.EmailHeader != p.UserHeader {
		headers = append(headers, p.EmailHeader)
	}
	return headers
}

// proxyVariable is the beginning of these settings' names.
const proxyVariable = ownPrefix + "PROXY_"

func proxySettings() []setting {
	return slices.Concat(plainProxySettings(), signedProxySettings())
}

func plainProxySettings() []setting {
	return []setting{
		proxySetting("PRESET", "", "For the backend header: whose headers these are, one of "+strings.Join(presetNames(), ", ")+". It sets what is not set otherwise.",
			func(p *Proxy, text string) error { p.Preset = strings.ToLower(text); return checkPreset(p.Preset) }),
		proxySetting("USER_HEADER", "Remote-User", "The header that names the user. It counts only from DAGSTER_AUTH_TRUSTED_PROXIES.",
			func(p *Proxy, text string) error { p.UserHeader = text; return checkHeaderName(text) }),
		proxySetting("GROUPS_HEADER", "Remote-Groups", "The header with the user's groups.",
			func(p *Proxy, text string) error { p.GroupsHeader = text; return checkHeaderName(text) }),
		proxySetting("EMAIL_HEADER", "Remote-Email", "The header with the user's email address.",
			func(p *Proxy, text string) error { p.EmailHeader = text; return checkHeaderName(text) }),
		proxySetting("NAME_HEADER", "Remote-Name", "The header with the user's full name.",
			func(p *Proxy, text string) error { p.NameHeader = text; return checkHeaderName(text) }),
		proxySetting("GROUPS_SEPARATOR", "", "What stands between groups: comma, semicolon, pipe, space or json; without it that is found out, and what can be read in two ways is refused.",
			func(p *Proxy, text string) error {
				p.GroupsSeparator = strings.ToLower(text)
				return checkSeparator(p.GroupsSeparator)
			}),
		proxySetting("GROUP_PATTERN", "", "Gives the groups whose names are this with admins, editors, launchers and viewers for {role} those roles: cn={role},ou=groups,dc=example,dc=com, or {role}.",
			func(p *Proxy, text string) error { p.GroupPattern = text; return checkGroupPattern(text) }),
		proxySetting("LOGOUT_URL", "", "Where signing out leads: a URL, or a path of the same host (/oauth2/sign_out).",
			func(p *Proxy, text string) error { p.LogoutURL = text; return checkLogoutURL(text) }),
		proxySetting("TRUST_ALL", "false", "NOT SAFE: take these headers from everybody who reaches AuthKit.",
			func(p *Proxy, text string) error { return into(&p.TrustAll)(parseBool(text)) }),
	}
}

func signedProxySettings() []setting {
	return []setting{
		proxySetting("JWT_HEADER", "", "A header with a signed token; then no other is read, and trusted proxies are not needed.",
			func(p *Proxy, text string) error { p.TokenHeader = text; return checkHeaderName(text) }),
		proxySetting("JWT_KEYS_URL", "", "The key set (JWKS) by which tokens are verified.",
			func(p *Proxy, text string) error { p.KeysURL = text; return checkKeysURL(text) }),
		proxySetting("JWT_ISSUER", "", "The issuer that tokens must have.",
			func(p *Proxy, text string) error { p.Issuer = text; return nil }),
		proxySetting("JWT_AUDIENCE", "", "The audience that tokens must have; for alb the load balancer's ARN.",
			func(p *Proxy, text string) error { p.Audience = text; return nil }),
		proxySetting("JWT_USER_CLAIM", "email", "The claim that names the user.",
			func(p *Proxy, text string) error { p.UserClaim = text; return nil }),
		proxySetting("JWT_GROUPS_CLAIM", "groups", "The claim with the user's groups, or a path to it with dots.",
			func(p *Proxy, text string) error { p.GroupsClaim = text; return nil }),
		proxySetting("JWT_CA_FILE", "", "PEM file with the authorities that sign the key set's certificate, in place of those of the machine.",
			func(p *Proxy, text string) error { p.CAFile = text; return nil }),
	}
}

func proxySetting(name, standard, meaning string, read func(p *Proxy, text string) error) setting {
	return setting{
		Setting{Env: proxyVariable + name, Default: standard, Meaning: meaning},
		func(c *Config, text string) error { return read(&c.Proxy, text) },
	}
}

// otherUses are headers that mean something else, whoever sends them.
var otherUses = []string{
	"Authorization", "Connection", "Content-Length", "Content-Type", "Cookie", "Host", "Origin", "Transfer-Encoding", "Upgrade",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
}

// checkHeaderName takes the names of RFC 9110, section 5.1, that can name one person's header.
func checkHeaderName(text string) error {
	const longest = 100
	valid := text != "" && len(text) <= longest && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
	})
	if !valid {
		return fmt.Errorf("%q is no header's name: write letters, digits and -", text)
	}
	if slices.Contains(otherUses, textproto.CanonicalMIMEHeaderKey(text)) {
		return fmt.Errorf("%s means something else: name the header by which the proxy says who somebody is", text)
	}
	return nil
}

func checkSeparator(text string) error {
	if !slices.Contains([]string{"comma", "semicolon", "pipe", "space", "json"}, text) {
		return fmt.Errorf("%q is none of comma, semicolon, pipe, space and json", text)
	}
	return nil
}
