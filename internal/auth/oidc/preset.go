package oidc

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The well-known providers.
const (
	PresetGoogle   = "google"
	PresetEntra    = "entra"
	PresetOkta     = "okta"
	PresetKeycloak = "keycloak"
	PresetGitLab   = "gitlab"
	PresetGitHub   = "github"
)

// openID is what every OpenID Connect provider is asked for.
func openID(more ...string) []string { return append([]string{"openid", "profile", "email"}, more...) }

// preset is what a provider has unless the settings say otherwise.
func preset(name string) (ProviderOptions, error) {
	switch name {
	case "":
		return ProviderOptions{Name: "single sign-on", Scopes: openID()}, nil
	case PresetGoogle: // no groups in its tokens
		return ProviderOptions{Name: "Google", Issuer: "https://accounts.google.com", Scopes: openID()}, nil
	case PresetEntra:
		return ProviderOptions{Name: "Microsoft", Scopes: openID("offline_access"), GroupsClaim: "groups"}, nil
	case PresetOkta:
		return ProviderOptions{Name: "Okta", Scopes: openID("groups", "offline_access"), GroupsClaim: "groups"}, nil
	case PresetKeycloak: // its refresh tokens come without offline_access, and end with the session there
		return ProviderOptions{Name: "Keycloak", Scopes: openID(), GroupsClaim: "groups"}, nil
	case PresetGitLab:
		return ProviderOptions{Name: "GitLab", Issuer: "https://gitlab.com", Scopes: openID(), GroupsClaim: "groups"}, nil
	case PresetGitHub:
		return ProviderOptions{Name: "GitHub", Issuer: "https://github.com", Scopes: []string{"read:user", "user:email", "read:org"}}, nil
	}
	return ProviderOptions{}, fmt.Errorf("%.80q is no preset: write google, entra, okta, keycloak, gitlab or github, or leave it out", name)
}

// WithPreset fills in what the settings leave to the preset, and checks the whole.
func (o ProviderOptions) WithPreset() (ProviderOptions, error) {
	base, err := preset(o.Preset)
	if err != nil {
		return o, err
	}
	if o.Name == "" {
		o.Name = base.Name
	}
	if o.Issuer == "" {
		o.Issuer = base.Issuer
	}
	if len(o.Scopes) == 0 {
		o.Scopes = base.Scopes
	}
	if o.GroupsClaim == "" {
		o.GroupsClaim = base.GroupsClaim
	}
	return o, errors.Join(o.problems()...)
}

var providerID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (o ProviderOptions) problems() []error {
	var problems []error
	if !providerID.MatchString(o.ID) {
		problems = append(problems, fmt.Errorf("the id %.80q stands in addresses: write up to 32 lower-case letters, digits and -", o.ID))
	}
	if o.ClientID == "" {
		problems = append(problems, errors.New("there is no client ID: register AuthKit at the provider, and write the ID that it gives"))
	}
	if o.Preset == PresetGitHub && o.ClientSecret == "" {
		problems = append(problems, errors.New("GitHub wants a client secret: make one for the OAuth app"))
	}
	if err := checkIssuer(o.Issuer); err != nil {
		problems = append(problems, err)
	}
	if o.Preset == PresetEntra && sharedTenant(o.Issuer) {
		problems = append(problems, errors.New("the issuer is one for everybody's tenants, in which anybody can make any email address: "+
			"write https://login.microsoftonline.com/TENANT-ID/v2.0"))
	}
	if o.Preset != PresetGitHub && len(o.Scopes) > 0 && !slices.Contains(o.Scopes, "openid") {
		problems = append(problems, errors.New("the scopes lack openid: without it there is no ID token"))
	}
	if o.GroupsClaim != "" {
		if _, err := parseClaimPath(o.GroupsClaim); err != nil {
			problems = append(problems, err)
		}
	}
	for _, domain := range o.AllowedDomains {
		if domain == "" || strings.ContainsAny(domain, "@* \t") {
			problems = append(problems, fmt.Errorf("%.80q is no email domain: write example.com, without @ and *", domain))
		}
	}
	return problems
}

// checkIssuer wants https, as all that is believed comes from there; plain http is for a provider on this machine.
func checkIssuer(text string) error {
	if text == "" {
		return errors.New("there is no issuer: write the provider's address, such as https://id.example.com")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("the issuer is no plain address: write something like https://id.example.com")
	case !trustworthy(u):
		return fmt.Errorf("the issuer %q is not https: what comes from there could be forged on the way", text)
	}
	return nil
}

// trustworthy addresses are https, or on this machine.
func trustworthy(u *url.URL) bool {
	if u.Scheme == "https" {
		return u.Host != ""
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func sharedTenant(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return slices.Contains([]string{"common", "organizations", "consumers", "{tenantid}"}, strings.ToLower(tenant))
}
