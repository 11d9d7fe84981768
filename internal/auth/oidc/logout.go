package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
	"dagster-authkit/internal/identity"
)

const (
	// leaveTimeout bounds how long signing out waits for the provider's description.
	leaveTimeout = 3 * time.Second
	// logoutLasts is how old a logout token may be; the standard recommends that they last two minutes.
	logoutLasts = 10 * time.Minute
	// longestLogout is in bytes: a logout token has some 600.
	longestLogout = 16 << 10
	// logoutEvent is OpenID Connect Back-Channel Logout 1.0's, section 2.4.
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

	reasonLogout = "LOGOUT_TOKEN"
)

// Leave is the address at which somebody whose session has just ended here signs out at the provider too, which sends them
// back to our page (OpenID Connect RP-Initiated Logout 1.0). It is empty when the provider has none, or does not answer.
func (p *Providers) Leave(ctx context.Context, by identity.Voucher) string {
	one := p.find(by.Provider)
	if one == nil {
		return ""
	}
	speaker, is := one.dialect.(*issuer)
	if !is {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	described, err := speaker.discover(ctx)
	if err != nil || described.endSession == "" {
		return ""
	}
	address, err := url.Parse(described.endSession)
	if err != nil {
		return ""
	}
	query := address.Query()
	query.Set("client_id", one.ClientID)
	query.Set("post_logout_redirect_uri", SignedOutURI(p.baseURL))
	var m memory
	if json.Unmarshal(by.Secret, &m) == nil && m.IDToken != "" {
		query.Set("id_token_hint", m.IDToken)
	}
	address.RawQuery = query.Encode()
	return address.String()
}

// SignedOutURI is the address to register for after signing out, and BackchannelURI that for logout tokens.
func SignedOutURI(baseURL string) string { return baseURL + "/auth/logout" }

// BackchannelURI is where a provider tells that somebody signed out there.
func BackchannelURI(baseURL, id string) string {
	return baseURL + "/auth/oidc/" + id + "/backchannel-logout"
}

// Heed reads a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6) and has end do what it says. It is good once,
// but only when that was done: the provider sends it again otherwise. The error is ErrUnknown, auth.ErrUnavailable, end's, or an
// auth.DeclinedError for a token that is not to be believed.
func (p *Providers) Heed(ctx context.Context, id, token string, end func(auth.Notice) error) error {
	one := p.find(id)
	if one == nil {
		return ErrUnknown
	}
	speaker, is := one.dialect.(*issuer)
	if !is {
		return ErrUnknown
	}
	read, err := speaker.readLogout(ctx, token)
	if err != nil {
		return err
	}
	used, now := "logout "+id+" "+read.TokenID, time.Now()
	before, err := p.used.UsedUp(ctx, used, now)
	switch {
	case err != nil:
		return fmt.Errorf("look up whether a logout token was used: %w", err)
	case before:
		return refused(reasonLogout, errors.New("it was used before: jti"))
	}
	notice := auth.Notice{Provider: id, Session: read.SessionID}
	if notice.Session != "" {
		if _, err := p.used.UseUp(ctx, endedThere(id, notice.Session), now, now.Add(signInLasts)); err != nil {
			return fmt.Errorf("note that a provider's session is over: %w", err)
		}
	}
	if read.Subject != "" {
		notice.Subject = one.subject(read.Subject)
	}
	if err := end(notice); err != nil {
		return err
	}
	if _, err := p.used.UseUp(ctx, used, now, read.IssuedAt.Add(logoutLasts+leeway)); err != nil {
		return fmt.Errorf("use a logout token up: %w", err)
	}
	return nil
}

// readLogout gives a logout token that is to be believed.
func (i *issuer) readLogout(ctx context.Context, token string) (*oidc.LogoutToken, error) {
	if len(token) > longestLogout {
		return nil, refused(reasonLogout, errors.New("it is larger than any that is in use"))
	}
	described, err := i.discover(ctx)
	if err != nil {
		return nil, err
	}
	if err := remote.CheckHeader(token, "jwt", "logout+jwt"); err != nil {
		return nil, refused(reasonLogout, err)
	}
	verifier, err := i.verifier(ctx, described, token)
	if err != nil {
		return nil, refusedToken(reasonLogout, err)
	}
	read, err := verifier.VerifyLogout(ctx, token)
	var all claims
	if err == nil {
		all, err = readClaims(read.Claims, nil)
	}
	if err == nil {
		err = checkLogout(all, read.IssuedAt, time.Now())
	}
	switch {
	case err != nil:
		return nil, refused(reasonLogout, withoutBody(err))
	case read.Subject != "" && !isSubject(read.Subject), len(read.SessionID) > longestSession:
		return nil, refused(reasonLogout, errors.New("its sub or sid is none"))
	}
	return read, nil
}

// endedThere names a session that a provider said is over, so that a sign-in that is under way meanwhile does not begin one of it.
func endedThere(id, session string) string { return "ended " + id + " " + session }

// checkLogout looks at what go-oidc leaves to its caller.
func checkLogout(all claims, issued, now time.Time) error {
	events, _ := all["events"].(map[string]any)
	_, isObject := events[logoutEvent].(map[string]any)
	switch {
	case !isObject:
		return errors.New("it is of no logout: events")
	case issued.Unix() <= 0 || issued.After(now.Add(leeway)):
		return errors.New("it does not say when it was made, or was made in the future: iat")
	case now.Sub(issued) > logoutLasts:
		return errors.New("it is too old: iat")
	}
	return nil
}
