package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dagster-authkit/internal/identity"
)

// The settings of the one token for programs that the environment may hold, and of all others, which are in the database.

// longestServiceUser is in characters, as for the names of accounts.
const longestServiceUser = 64

// headerName is the token of RFC 9110, section 5.6.2.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")

func tokenSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_SERVICE_TOKEN", Secret: true,
				Meaning: "One token for programs, of at least 32 characters, beside those of create-token (openssl rand -base64 32).",
			},
			func(c *Config, text string) error { c.ServiceToken = NewSecret(text); return checkServiceToken(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_SERVICE_TOKEN_HEADER", Default: "Dagster-Cloud-Api-Token",
				Meaning: "The header in which programs send that token.",
			},
			func(c *Config, text string) error { c.ServiceTokenHeader = text; return checkTokenHeader(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_SERVICE_TOKEN_ROLE", Default: "viewer",
				Meaning: "The role of whoever sends that token.",
			},
			func(c *Config, text string) error {
				c.ServiceTokenRole = identity.Role(strings.ToLower(text))
				return nil
			},
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_SERVICE_TOKEN_USER", Default: "service-token",
				Meaning: "The name of whoever sends that token, in the audit trail and on runs.",
			},
			func(c *Config, text string) error { c.ServiceTokenUser = text; return checkServiceUser(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_TOKEN_OWNER_AGE", Default: "30d",
				Meaning: "How long the token of somebody whom a provider or a proxy in front signs in is good without a word of its owner from there; 0 for as long as the token.",
			},
			func(c *Config, text string) error { return into(&c.TokenOwnerAge)(parseOwnerAge(text)) },
		},
	}
}

// parseOwnerAge wants more than a day: that somebody comes through a proxy in front is written down once a day.
func parseOwnerAge(text string) (time.Duration, error) {
	return parseDays(text, 2, "write two days or more (30d), or 0 for as long as the token")
}

func checkServiceToken(text string) error {
	switch {
	case utf8.RuneCountInString(text) < leastSecret:
		return fmt.Errorf("%d characters are too few, it needs %d: make one with `openssl rand -base64 32`", utf8.RuneCountInString(text), leastSecret)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(text) != text:
		return errors.New("it has characters that a header can't hold: make one with `openssl rand -base64 32`")
	case strings.Contains(text, "dak_"):
		return errors.New("tokens of create-token are in the database, and need no setting: make another with `openssl rand -base64 32`")
	}
	return nil
}

// checkTokenHeader refuses headers that every browser fills.
func checkTokenHeader(text string) error {
	taken := []string{"cookie", "host", "origin", "connection", "upgrade", "content-type", "content-length", "accept", "user-agent"}
	if !headerName.MatchString(text) || slices.Contains(taken, strings.ToLower(text)) {
		return fmt.Errorf("%q can't be a token's header: write one such as Dagster-Cloud-Api-Token", text)
	}
	return nil
}

func checkServiceUser(text string) error {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > longestServiceUser || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("it is too long or no text: write at most %d visible characters", longestServiceUser)
	}
	return nil
}

// checkServiceRole looks for a role that there is not.
func (c Config) checkServiceRole(in *input) []error {
	if c.ServiceTokenRole != "" && !c.knownRole(c.ServiceTokenRole) {
		return []error{fmt.Errorf("%s: %q is no role: write viewer, launcher, editor, admin or one of the config file's",
			in.givenOr("DAGSTER_AUTH_SERVICE_TOKEN_ROLE"), c.ServiceTokenRole)}
	}
	return nil
}
