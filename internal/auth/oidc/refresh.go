package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// longestHint is how much of an ID token is kept to say at the provider who signs out: it becomes part of an address.
const longestHint = 4 << 10

// memory is what a session's secret holds, in the database sealed.
type memory struct {
	Refresh string `json:"r,omitempty"`
	// Access is kept of GitHub alone, whose access tokens don't end.
	Access  string    `json:"a,omitempty"`
	IDToken string    `json:"i,omitempty"`
	Nonce   string    `json:"n,omitempty"`
	Groups  []string  `json:"g,omitempty"`
	Began   time.Time `json:"t"`
}

func (m memory) bytes() []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Errorf("write a session's secret: %w", err)) // texts and a time can be written
	}
	return data
}

func (p *provider) remember(token *oauth2.Token, nonce string, who person) memory {
	m := memory{Refresh: token.RefreshToken, Nonce: nonce, Groups: who.groups}
	if p.Preset == PresetGitHub && token.RefreshToken == "" {
		m.Access = token.AccessToken
	}
	if len(who.idToken) <= longestHint {
		m.IDToken = who.idToken
	}
	return m
}

// Refresh asks the provider that began the session whether it still vouches for the user. Of one that gave no refresh token
// nothing is asked, and its sessions end after Options.Unchecked.
func (p *Providers) Refresh(ctx context.Context, user identity.User, by identity.Voucher) (identity.User, []byte, error) {
	one := p.find(by.Provider)
	if one == nil {
		return identity.User{}, nil, fmt.Errorf("%w: the provider %.40q is not in the settings any more", auth.ErrGone, by.Provider)
	}
	sub, ours := strings.CutPrefix(user.Subject, one.subject(""))
	var m memory
	if err := json.Unmarshal(by.Secret, &m); err != nil || !ours {
		return identity.User{}, nil, fmt.Errorf("%w: the session is of another provider's", auth.ErrGone)
	}
	if m.Refresh == "" && m.Access == "" {
		if time.Since(m.Began) >= p.unchecked {
			return identity.User{}, nil, fmt.Errorf("%w: the provider gave no refresh token, and the sign-in is too long ago", auth.ErrGone)
		}
		return one.unchanged(user, m)
	}
	token, err := one.renew(ctx, m)
	if err != nil {
		return identity.User{}, nil, err
	}
	if token.RefreshToken != "" {
		m.Refresh = token.RefreshToken
	}
	who, err := one.dialect.person(ctx, token, expectation{nonce: m.Nonce, subject: sub})
	if err != nil {
		return identity.User{}, m.bytes(), gone(err)
	}
	if who.silent {
		return one.unchanged(user, m)
	}
	next := one.remember(token, m.Nonce, who)
	next.Refresh, next.Began = m.Refresh, m.Began
	if next.IDToken == "" {
		next.IDToken = m.IDToken
	}
	now, err := p.admit(one, who)
	return now, next.bytes(), gone(err)
}

// unchanged is the user as the provider told of them last, with the rules of today.
func (p *provider) unchanged(user identity.User, m memory) (identity.User, []byte, error) {
	user.Groups = m.Groups
	err := p.Rules.Apply(&user)
	return user, m.bytes(), err
}

// renew gets a new access token, unless the one that there is does not end.
func (p *provider) renew(ctx context.Context, m memory) (*oauth2.Token, error) {
	if m.Refresh == "" {
		return &oauth2.Token{AccessToken: m.Access}, nil
	}
	endpoint, err := p.dialect.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	token, err := p.oauth(endpoint).TokenSource(p.ask(ctx), &oauth2.Token{RefreshToken: m.Refresh}).Token()
	if err == nil {
		return token, nil
	}
	err = exchangeFailed(err)
	if errors.Is(err, auth.ErrStale) {
		return nil, fmt.Errorf("%w: the provider takes the refresh token no more", auth.ErrGone)
	}
	// What else may be wrong says nothing of the user: our secret may have been changed.
	return nil, err
}

// gone makes of a refusal the end of the session.
func gone(err error) error {
	if _, is := errors.AsType[*auth.DeclinedError](err); is {
		return fmt.Errorf("%w: %w", auth.ErrGone, err)
	}
	return err
}
