package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"dagster-authkit/internal/auth"
)

// Step is one thing that was looked at, for people. It holds no secret.
type Step struct {
	Provider string `json:"provider"`
	Name     string `json:"step"`
	OK       bool   `json:"ok"`
	// Text is what was found, or what to do about it.
	Text string `json:"text"`
}

// Check asks each provider what signing in would ask it, and says step by step what works. No one is signed in: the client
// secret is tried with a code that does not exist.
func (p *Providers) Check(ctx context.Context, report func(Step)) (ok bool) {
	ok = true
	for _, one := range p.list {
		c := check{provider: one, report: func(s Step) {
			s.Provider = one.ID
			ok = ok && s.OK
			report(s)
		}}
		c.run(ctx, p)
	}
	return ok
}

type check struct {
	*provider
	report func(Step)
}

func (c check) say(name, format string, args ...any) {
	c.report(Step{Name: name, OK: true, Text: fmt.Sprintf(format, args...)})
}

func (c check) fail(name string, err error, advice string) {
	c.report(Step{Name: name, Text: err.Error() + ": " + advice})
}

func (c check) run(ctx context.Context, p *Providers) {
	c.say("register", "redirect URI: %s", c.redirect)
	if speaker, is := c.dialect.(*issuer); is {
		if !c.describe(ctx, speaker, p.baseURL) {
			return
		}
	}
	c.secret(ctx)
	c.mapping()
}

// describe looks at the description, the endpoints and the keys.
func (c check) describe(ctx context.Context, speaker *issuer, baseURL string) bool {
	m, err := speaker.discover(ctx)
	if err != nil {
		c.fail("discovery", err, "is the issuer right, can this machine reach it, and does it need DAGSTER_AUTH_OIDC_CA_CERT?")
		return false
	}
	c.say("discovery", "%s/.well-known/openid-configuration was read", strings.TrimSuffix(c.Issuer, "/"))
	c.say("endpoints", "sign in at %s, tokens from %s, more claims from %s", m.oauth.AuthURL, m.oauth.TokenURL, orNone(m.userinfo))
	if err := m.keys.ready(ctx); err != nil {
		c.fail("keys", err, "does its jwks_uri answer?")
		return false
	}
	keys := m.keys.known()
	c.say("keys", "%d usable (%s), algorithms %s", len(keys), sorts(keys), strings.Join(names(m.algorithms), ", "))
	if m.endSession == "" {
		c.say("sign-out", "the provider has no page for signing out: people stay signed in there")
	} else {
		c.say("sign-out", "at %s; register for after signing out: %s", m.endSession, SignedOutURI(baseURL))
	}
	if m.backchannel {
		c.say("back-channel logout", "register: %s", BackchannelURI(baseURL, c.ID))
	} else {
		c.say("back-channel logout", "the provider does not announce it")
	}
	return true
}

func sorts(keys []jose.JSONWebKey) string {
	var found []string
	for _, key := range keys {
		sort := "Ed25519"
		switch public := key.Key.(type) {
		case *rsa.PublicKey:
			sort = fmt.Sprintf("RSA %d", public.N.BitLen())
		case *ecdsa.PublicKey:
			sort = public.Curve.Params().Name
		}
		if !slices.Contains(found, sort) {
			found = append(found, sort)
		}
	}
	return strings.Join(found, ", ")
}

// secret tries the client ID and secret: a provider that knows them says that the code is wrong, not that we are.
func (c check) secret(ctx context.Context) {
	endpoint, err := c.dialect.endpoint(ctx)
	if err == nil {
		_, err = c.oauth(endpoint).Exchange(c.ask(ctx), "authkit-check-of-the-client-secret", oauth2.VerifierOption(oauth2.GenerateVerifier()))
		err = exchangeFailed(err)
	}
	refusal, isRefused := errors.AsType[*auth.DeclinedError](err)
	switch {
	case errors.Is(err, auth.ErrStale):
		c.say("client", "the provider knows client ID and secret (it refused the code, which was made up)")
	case isRefused && refusal.Reason == reasonRegistered:
		c.fail("client", err, "are the client ID, the secret and the redirect URI those that are registered?")
	case err != nil:
		c.fail("client", err, "the token endpoint did not answer as expected")
	}
}

func (c check) mapping() {
	c.say("scopes", "%s", strings.Join(c.Scopes, " "))
	groups := c.GroupsClaim
	if c.Preset == PresetGitHub {
		groups = "organisations (acme) and teams (acme/data)"
	}
	c.say("claims", "name from preferred_username or email; groups from %s", orNone(groups))
	if len(c.AllowedDomains) > 0 {
		c.say("allowed", "people with a verified email address of %s", strings.Join(c.AllowedDomains, ", "))
	}
	if len(c.AllowedGroups) > 0 {
		c.say("allowed", "members of %s", strings.Join(c.AllowedGroups, ", "))
	}
}

func orNone(text string) string {
	if text == "" {
		return "nowhere"
	}
	return text
}
