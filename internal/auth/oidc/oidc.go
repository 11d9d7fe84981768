// Package oidc signs people in on the pages of OpenID Connect providers, and on GitHub's, which speaks OAuth alone. The server
// calls Depart for the address to send a browser to and Arrive for what it comes back with; the session manager calls Refresh
// now and then, and Heed reads what a provider says of those who signed out there.
//
// What decides who gets in is checked here once more, whatever the libraries check: an ID token must come from the provider
// that was asked, for us alone, now, for this very sign-in, signed with an asymmetric key that is long enough. Nothing is kept
// in memory that a restart would lose, or that another instance would have to know.
package oidc

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/seal"
)

// Backend is the backend's part of an identity's ID.
const Backend = "oidc"

// minKey is in bytes: the secret key's own least.
const minKey = 32

// ProviderOptions describe one provider. WithPreset fills in what a well-known one has.
type ProviderOptions struct {
	// ID is part of the addresses: {prefix}/auth/oidc/{id}/callback. Name stands on the button.
	ID, Name string
	Preset   string
	// Issuer is the address whose /.well-known/openid-configuration describes the provider.
	Issuer                 string
	ClientID, ClientSecret string
	Scopes                 []string
	// GroupsClaim is the path of the claim with the groups or roles, with dots between: realm_access.roles. Empty: none is read.
	GroupsClaim string
	// AllowedDomains are those of which people have a verified email address, AllowedGroups those of which they have to be in
	// one; empty: everybody.
	AllowedDomains, AllowedGroups []string
	// CAFile is the path of a PEM file with the authorities to trust in place of the machine's; empty: the machine's.
	CAFile string
	// Rules turn this provider's groups into roles: anybody can make a group of any name at some. They are compared as they are
	// written.
	Rules *auth.RoleRules
}

// Options of Providers.
type Options struct {
	Providers []ProviderOptions
	// BaseURL is what browsers see, the path prefix included, without a trailing slash.
	BaseURL string
	// Key is DAGSTER_AUTH_SECRET_KEY, at least 32 bytes; tickets are sealed with a key derived from it.
	Key []byte
	// Unchecked is how long somebody stays signed in whom the provider can't be asked about, as it gave no refresh token.
	Unchecked time.Duration
	// Timeout bounds one question to a provider; 0 is 10 s.
	Timeout time.Duration
	// Used is needed by Arrive and Heed; Check does without.
	Used Used
}

// Used remembers what is good once, for all instances that share it. A fault in it is an error of whoever asks.
type Used interface {
	// UseUp reports whether it is the first time that the thing is used. Nobody would take it after until.
	UseUp(ctx context.Context, thing string, now, until time.Time) (first bool, err error)
	// UsedUp reports whether the thing was used.
	UsedUp(ctx context.Context, thing string, now time.Time) (bool, error)
}

// Providers are all that are configured. It is safe for any number of goroutines.
type Providers struct {
	list      []*provider
	baseURL   string
	unchecked time.Duration
	tickets   cipher.AEAD
	used      Used
}

var _ auth.Refresher = (*Providers)(nil)

// provider is one of them.
type provider struct {
	ProviderOptions
	groups   claimPath
	redirect string
	client   *http.Client
	dialect  dialect
}

// dialect is how one sort of provider is spoken to.
type dialect interface {
	// endpoint is where browsers are sent and codes exchanged.
	endpoint(ctx context.Context) (oauth2.Endpoint, error)
	// checkCallback looks at what a browser came back with before the code is used.
	checkCallback(ctx context.Context, query url.Values) error
	// person says who the token is about. nonce is that of the sign-in; a refresh has the subject of the one before.
	person(ctx context.Context, token *oauth2.Token, expect expectation) (person, error)
}

// expectation is what an answer has to fit.
type expectation struct {
	nonce string
	// subject is empty at a sign-in.
	subject string
}

// New checks the options and asks nobody: a provider that is down must not keep others out.
func New(o Options) (*Providers, error) {
	switch {
	case len(o.Key) < minKey:
		return nil, fmt.Errorf("oidc: the secret key has %d bytes: give at least %d", len(o.Key), minKey)
	case o.BaseURL == "" || o.Unchecked <= 0:
		return nil, errors.New("oidc: a base URL and a bound for unchecked sessions are needed")
	case len(o.Providers) == 0:
		return nil, errors.New("oidc: there is no provider")
	}
	tickets, err := seal.New(o.Key, "dagster-authkit sign-in ticket")
	if err != nil {
		return nil, err
	}
	p := &Providers{baseURL: o.BaseURL, unchecked: o.Unchecked, tickets: tickets, used: o.Used}
	for _, options := range o.Providers {
		one, err := newProvider(options, o)
		if err != nil {
			return nil, fmt.Errorf("the provider %s: %w", options.ID, err)
		}
		if p.find(one.ID) != nil {
			return nil, fmt.Errorf("there are two providers %s: give one of them another id", one.ID)
		}
		p.list = append(p.list, one)
	}
	return p, nil
}

func newProvider(options ProviderOptions, o Options) (*provider, error) {
	if options.Rules == nil {
		return nil, errors.New("oidc: rules are needed")
	}
	options, err := options.WithPreset()
	if err != nil {
		return nil, err
	}
	client, err := remote.NewClient(remote.Options{CAFile: options.CAFile, Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	p := &provider{ProviderOptions: options, redirect: RedirectURI(o.BaseURL, options.ID), client: client}
	if options.GroupsClaim != "" {
		if p.groups, err = parseClaimPath(options.GroupsClaim); err != nil {
			return nil, err
		}
	}
	if options.Preset == PresetGitHub {
		p.dialect = &gitHub{provider: p}
	} else {
		p.dialect = &issuer{provider: p}
	}
	return p, nil
}

// RedirectURI is the address to register at the provider.
func RedirectURI(baseURL, id string) string { return baseURL + "/auth/oidc/" + id + "/callback" }

// List are the buttons, in the order of the settings.
func (p *Providers) List() []auth.Provider {
	list := make([]auth.Provider, len(p.list))
	for i, one := range p.list {
		list[i] = auth.Provider{ID: one.ID, Name: one.Name}
	}
	return list
}

func (p *Providers) find(id string) *provider {
	i := slices.IndexFunc(p.list, func(one *provider) bool { return one.ID == id })
	if i < 0 {
		return nil
	}
	return p.list[i]
}

// ask puts the provider's client where the libraries look for it.
func (p *provider) ask(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, p.client)
}

func (p *provider) oauth(endpoint oauth2.Endpoint) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: endpoint, RedirectURL: p.redirect, Scopes: p.Scopes,
	}
}

// subject is the lasting name of somebody at this provider.
func (p *provider) subject(sub string) string { return p.Issuer + "|" + sub }

// admit turns a person into a user with a role, or says why they may not enter.
func (p *Providers) admit(one *provider, who person) (identity.User, error) {
	if err := one.allows(who); err != nil {
		return identity.User{}, err
	}
	user := identity.User{
		Backend: Backend, Subject: one.subject(who.subject), Name: who.username(), Email: who.shownEmail(one.Preset),
		FullName: who.fullName, Groups: who.groups,
	}
	if err := one.Rules.Apply(&user); err != nil {
		return identity.User{}, err
	}
	return user, nil
}
