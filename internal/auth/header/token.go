package header

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

const (
	// maxToken is in bytes. Those of Cloudflare have some 1,500, those of a load balancer with many claims 8,000.
	maxToken = 16 << 10
	// leeway is how far the proxy's clock may be from ours.
	leeway = 30 * time.Second
	// kindOfToken is the type that the proxies' documentation shows (Cloudflare leaves it out).
	kindOfToken = "jwt"
	// maxTrust bounds how long a token that was verified is believed without looking again: its key may be withdrawn.
	maxTrust = 5 * time.Minute
)

// Token says how to read and verify a signed token.
type Token struct {
	// Header is where it stands; empty: there is none.
	Header string
	// KeysURL is a JSON Web Key Set, or for a LoadBalancer where the key of each ID is below.
	KeysURL string
	// Issuer and Audience must be those of the token. A LoadBalancer's token has its ARN in place of an audience, and its issuer
	// is looked at when one is given.
	Issuer, Audience string
	// UserClaim holds the name, "email"; GroupsClaim the groups, a key or a path with dots; empty: none.
	UserClaim, GroupsClaim string
	// LoadBalancer says that tokens have the form of AWS's Application Load Balancer.
	LoadBalancer bool
	// Client asks for keys; needed.
	Client *http.Client
}

// tokens reads signed tokens.
type tokens struct {
	Token
	names  names
	rules  *auth.RoleRules
	verify func(ctx context.Context, text string) (claims, error)
}

func newTokens(t Token, rules *auth.RoleRules) (*tokens, error) {
	if t.KeysURL == "" || t.Audience == "" || t.UserClaim == "" || t.Client == nil || t.Issuer == "" && !t.LoadBalancer {
		return nil, errors.New("header: a token needs keys, an issuer, an audience, a claim for the user and a client")
	}
	s := &tokens{Token: t, names: newNames(t.Header), rules: rules}
	if t.LoadBalancer {
		s.verify = newBalancer(t).verify
	} else {
		s.verify = newKeySet(t).verify
	}
	return s, nil
}

func (s *tokens) find(h http.Header) (said, error) { return s.names.find(h) }

// claims are a token's, after its signature was found to be good.
type claims struct {
	jwt.Claims
	all map[string]any
}

func (s *tokens) read(ctx context.Context, text said) (identity.User, time.Time, error) {
	if len(text[0]) > maxToken {
		return identity.User{}, time.Time{}, refuseToken(fmt.Errorf("it has %d bytes, more than %d", len(text[0]), maxToken))
	}
	found, err := s.verify(ctx, text[0])
	if err != nil {
		if errors.Is(err, auth.ErrUnavailable) {
			return identity.User{}, time.Time{}, err
		}
		return identity.User{}, time.Time{}, refuseToken(err)
	}
	now := time.Now()
	if err := s.check(found, now); err != nil {
		return identity.User{}, time.Time{}, refuseToken(err)
	}
	user, err := s.user(found)
	if err != nil {
		return identity.User{}, time.Time{}, err
	}
	until := found.Expiry.Time().Add(leeway)
	if latest := now.Add(maxTrust); latest.Before(until) {
		until = latest
	}
	err = s.rules.Apply(&user)
	return user, until, err
}

// check is all that a good signature leaves open.
func (s *tokens) check(c claims, now time.Time) error {
	expected := jwt.Expected{Issuer: s.Issuer, Time: now}
	if !s.LoadBalancer {
		expected.AnyAudience = jwt.Audience{s.Audience}
	}
	switch {
	case c.Expiry == nil:
		return errors.New("it does not say when it expires")
	case c.Subject == "":
		return errors.New("its subject is empty")
	case c.all["email_verified"] == false || c.all["email_verified"] == "false":
		return errors.New("its email address is not verified")
	}
	return c.ValidateWithLeeway(expected, leeway)
}

// user takes the person from the claims. The lasting name is issuer and subject: an address may be given to another person.
func (s *tokens) user(c claims) (identity.User, error) {
	name, _ := lookUp(c.all, s.UserClaim).(string)
	email, _ := c.all["email"].(string)
	fullName, _ := c.all["name"].(string)
	user := identity.User{Backend: Name, Subject: c.Issuer + "|" + c.Subject, Name: name, Email: email, FullName: fullName}
	if err := checkUser(user); err != nil {
		return identity.User{}, err
	}
	if err := checkText("subject", c.Subject); err != nil {
		return identity.User{}, refuseToken(err)
	}
	var err error
	if user.Groups, err = groupsOf(lookUp(c.all, s.GroupsClaim)); err != nil {
		return identity.User{}, auth.Refuse("GROUPS_UNCLEAR", unclear, err.Error())
	}
	return user, nil
}

// groupsOf takes a list of names, or one name.
func groupsOf(value any) ([]string, error) {
	switch value := value.(type) {
	case nil:
		return nil, nil
	case string:
		return tidy([]string{value})
	case []any:
		groups := make([]string, len(value))
		for i, element := range value {
			text, ok := element.(string)
			if !ok {
				return nil, errors.New("the claim of the groups has something other than names")
			}
			groups[i] = text
		}
		return tidy(groups)
	}
	return nil, errors.New("the claim of the groups is no list of names")
}

// lookUp finds a claim by its key, which may have dots, or else by a path of keys with dots between.
func lookUp(all map[string]any, path string) any {
	if value, found := all[path]; found || path == "" {
		return value
	}
	first, rest, deeper := strings.Cut(path, ".")
	inner, ok := all[first].(map[string]any)
	if !deeper || !ok {
		return nil
	}
	return lookUp(inner, rest)
}

func refuseToken(cause error) error {
	return &auth.RefusedError{Reason: "TOKEN_REFUSED", Message: unclear, Cause: cause}
}
