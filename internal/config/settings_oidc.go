package config

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The settings for signing in on the pages of OpenID Connect providers.

// OIDCProvider is one provider as the settings have it; what is empty, its preset says.
type OIDCProvider struct {
	// ID is part of the redirect URI, and Name stands on the button.
	ID, Name, Preset string
	Issuer, ClientID string
	ClientSecret     Secret
	Scopes           []string
	GroupsClaim      string
	AllowedDomains   []string
	AllowedGroups    []string
	CACert           string
}

const (
	// onlyProvider is the ID of the variables' provider, unless a preset gives it its own name.
	onlyProvider = "sso"
	// longestName is in characters: a button.
	longestName = 40
	// longestOIDC bounds the other texts, in bytes.
	longestOIDC = 1024
	// mostWords bounds lists.
	mostWords = 200
)

var (
	providerID  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	oidcPresets = []string{"google", "entra", "okta", "keycloak", "gitlab", "github"}
)

// oidcField is a setting of one provider: it has a variable for a provider alone, and a key in the config file's list.
type oidcField struct {
	key, meaning string
	flag         string
	list, secret bool
	read         func(p *OIDCProvider, text string) error
}

func oidcFields() []oidcField {
	return []oidcField{
		{key: "preset", flag: "oidc-preset", meaning: "A well-known OpenID Connect provider: google, entra, okta, keycloak, gitlab or github; fills in what the others leave out.", read: func(p *OIDCProvider, text string) error {
			p.Preset = strings.ToLower(text)
			return checkOIDCPreset(p.Preset)
		}},
		{key: "issuer", meaning: "The provider's address, such as https://id.example.com/realms/company.", read: func(p *OIDCProvider, text string) error {
			p.Issuer = text
			return checkIssuer(text)
		}},
		{key: "client_id", meaning: "What the provider calls AuthKit.", read: func(p *OIDCProvider, text string) error { p.ClientID = text; return checkOIDCText(text) }},
		{key: "client_secret", secret: true, meaning: "The secret that the provider gave with it; none for a public client.", read: func(p *OIDCProvider, text string) error {
			p.ClientSecret = NewSecret(text)
			return nil
		}},
		{key: "scopes", list: true, meaning: "What the provider is asked for; by default openid, profile, email, and what the preset needs.", read: func(p *OIDCProvider, text string) error {
			return into(&p.Scopes)(parseWords(text, ", \t"))
		}},
		{key: "groups_claim", meaning: "The claim with the groups or roles, with dots between steps: realm_access.roles.", read: func(p *OIDCProvider, text string) error {
			p.GroupsClaim = text
			return checkOIDCText(text)
		}},
		{key: "allowed_domains", list: true, meaning: "Domains of which people must have a verified email address; without it any.", read: func(p *OIDCProvider, text string) error {
			return into(&p.AllowedDomains)(parseDomains(text))
		}},
		{key: "allowed_groups", list: true, meaning: "Groups of which people must be in one; without it none.", read: func(p *OIDCProvider, text string) error {
			return into(&p.AllowedGroups)(parseWords(text, ","))
		}},
		{key: "name", meaning: "What stands on the button, after \"Sign in with\".", read: func(p *OIDCProvider, text string) error { p.Name = text; return checkButton(text) }},
		{key: "ca_cert", meaning: "PEM file with the authorities that sign the provider's certificate, in place of those of the machine.", read: func(p *OIDCProvider, text string) error {
			p.CACert = text
			return checkOIDCText(text)
		}},
	}
}

// oidcSettings are the variables of the one provider that needs no list, and what holds for all.
func oidcSettings() []setting {
	fields := oidcFields()
	list := make([]setting, 0, len(fields)+1)
	for _, field := range fields {
		list = append(list, setting{
			Setting{Env: ownPrefix + "OIDC_" + strings.ToUpper(field.key), Flag: field.flag, List: field.list, Secret: field.secret, Meaning: field.meaning},
			func(c *Config, text string) error {
				if len(c.OIDC) == 0 {
					c.OIDC = []OIDCProvider{{}}
				}
				return field.read(&c.OIDC[0], text)
			},
		})
	}
	return append(list, setting{
		Setting{
			Env: "DAGSTER_AUTH_OIDC_UNCHECKED_AGE", Default: "8h",
			Meaning: "How long a sign-in lasts of which the provider can't be asked again, as it gave no refresh token.",
		},
		func(c *Config, text string) error { return into(&c.OIDCUnchecked)(durationFrom(text, time.Minute)) },
	})
}

// name gives the variables' provider its ID.
func (c *Config) nameProvider() {
	if len(c.OIDC) == 0 {
		return
	}
	c.OIDC[0].ID = onlyProvider
	if c.OIDC[0].Preset != "" {
		c.OIDC[0].ID = c.OIDC[0].Preset
	}
}

// checkOIDC looks at providers that lack something, and at what they need of other settings.
func (c Config) checkOIDC(in *input) []error {
	var problems []error
	if !c.Has(BackendOIDC) {
		return nil
	}
	backend := in.givenOr("DAGSTER_AUTH_BACKEND")
	if c.ExternalURL == nil && !in.bad["DAGSTER_AUTH_EXTERNAL_URL"] {
		problems = append(problems, fmt.Errorf("%s: oidc needs DAGSTER_AUTH_EXTERNAL_URL, the address to which the provider sends people back: "+
			"write something like https://dagster.example.com", backend))
	}
	if c.CookieSameSite == http.SameSiteStrictMode {
		problems = append(problems, fmt.Errorf("%s: with oidc people come back by a link of the provider's, which strict cookies are not sent with: write lax",
			in.givenOr("DAGSTER_AUTH_COOKIE_SAMESITE")))
	}
	if len(c.OIDC) == 0 && (in.file == nil || !in.file.hasProviders) {
		problems = append(problems, fmt.Errorf("%s: oidc needs a provider: write DAGSTER_AUTH_OIDC_ISSUER, _CLIENT_ID and _CLIENT_SECRET, or providers in the config file", backend))
	}
	seen := map[string]bool{}
	for i, provider := range c.OIDC {
		where := "DAGSTER_AUTH_OIDC_*"
		if line := c.providerLine(in, i); line > 0 {
			where = fmt.Sprintf("%s:%d", in.file.path, line)
		}
		for _, err := range provider.lacks(in, where) {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
		}
		if seen[provider.ID] {
			problems = append(problems, fmt.Errorf("%s: there is a provider %s already: give this one another id", where, provider.ID))
		}
		seen[provider.ID] = true
	}
	return problems
}

// providerLine is where the provider stands in the config file, and 0 for the variables' one, which is the first.
func (c Config) providerLine(in *input, i int) int {
	if in.file == nil {
		return 0
	}
	inFile := len(in.file.providers)
	at := i - (len(c.OIDC) - inFile)
	if at < 0 {
		return 0
	}
	return in.file.providerLines[at]
}

func (p OIDCProvider) lacks(in *input, where string) []error {
	bad := func(key string) bool { return where == "DAGSTER_AUTH_OIDC_*" && in.bad[ownPrefix+"OIDC_"+key] }
	var problems []error
	if p.Issuer == "" && !slices.Contains([]string{"google", "gitlab", "github"}, p.Preset) && !bad("ISSUER") && !bad("PRESET") {
		problems = append(problems, errors.New("the provider has no issuer: write its address, such as https://id.example.com"))
	}
	if p.ClientID == "" && !bad("CLIENT_ID") {
		problems = append(problems, errors.New("the provider has no client_id: register AuthKit there, and write the ID that it gives"))
	}
	if p.Preset == "github" && !p.ClientSecret.IsSet() && !bad("CLIENT_SECRET") {
		problems = append(problems, errors.New("GitHub wants a client_secret: make one for the OAuth app"))
	}
	return problems
}

func (c Config) cautionOIDC(in *input) {
	if !c.Has(BackendOIDC) {
		if len(c.OIDC) > 0 {
			in.warn("providers and DAGSTER_AUTH_OIDC_* do nothing without oidc in DAGSTER_AUTH_BACKEND")
		}
		return
	}
	if c.ExternalURL != nil && c.ExternalURL.Scheme == "http" && !isLoopback(c.ExternalURL.Hostname()) {
		in.warn("DAGSTER_AUTH_EXTERNAL_URL is http: most providers send nobody back there, and whoever listens can take a sign-in over: use https")
	}
}

func checkOIDCPreset(name string) error {
	if !slices.Contains(oidcPresets, name) {
		return fmt.Errorf("%.80q is no preset: write %s, or leave it out", name, strings.Join(oidcPresets, ", "))
	}
	return nil
}

func checkIssuer(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || len(text) > longestOIDC:
		return errors.New("it is no address of a provider: write something like https://id.example.com")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return fmt.Errorf("%q is not https: what comes from there could be forged on the way", text)
	}
	return nil
}

func checkOIDCText(text string) error {
	if text == "" || len(text) > longestOIDC || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("it is empty, too long or has control characters")
	}
	return nil
}

func checkButton(text string) error {
	if strings.TrimSpace(text) == "" || !utf8.ValidString(text) || utf8.RuneCountInString(text) > longestName || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("it is no name for a button: write 1 to %d visible characters", longestName)
	}
	return nil
}

// parseWords reads words that any of the characters separates.
func parseWords(text, separators string) ([]string, error) {
	var words []string
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		word = strings.TrimSpace(word)
		if err := checkOIDCText(word); err != nil {
			return nil, fmt.Errorf("%.80q: %w", word, err)
		}
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	if len(words) == 0 || len(words) > mostWords {
		return nil, fmt.Errorf("it has no words, or more than %d: write them with commas between", mostWords)
	}
	return words, nil
}

func parseDomains(text string) ([]string, error) {
	domains, err := parseWords(text, ", \t")
	if err != nil {
		return nil, err
	}
	for i, domain := range domains {
		if !hostName.MatchString(domain) || strings.HasSuffix(domain, ".") {
			return nil, fmt.Errorf("%.80q is no email domain: write example.com, without @ and *", domain)
		}
		domains[i] = strings.ToLower(domain)
	}
	return domains, nil
}
