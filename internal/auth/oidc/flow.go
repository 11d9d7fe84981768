package oidc

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

const (
	// signInLasts is how long somebody may take on the provider's page.
	signInLasts = 10 * time.Minute
	// longestNext leaves a ticket room in a cookie, which has 4 KiB.
	longestNext = 2048
	// longestTicket bounds what is opened.
	longestTicket = 4096
)

// ErrUnknown says that there is no provider of that ID.
var ErrUnknown = errors.New("there is no such provider")

// ticket is what a browser keeps of a sign-in while it is at the provider. It is sealed: nobody reads, changes or makes one.
type ticket struct {
	Provider string    `json:"p"`
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Next     string    `json:"x"`
	Ends     time.Time `json:"e"`
}

func sealTicket(aead cipher.AEAD, t ticket) (string, error) {
	plain, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("write the ticket: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, plain, nil)), nil //nolint:gosec // this cipher makes its own nonce
}

func openTicket(aead cipher.AEAD, text string) (ticket, bool) {
	var t ticket
	if len(text) > longestTicket {
		return t, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return t, false
	}
	plain, err := aead.Open(nil, nil, sealed, nil)
	return t, err == nil && json.Unmarshal(plain, &t) == nil
}

// Depart begins a sign-in at the provider. next is where to go after it. The error is ErrUnknown, or auth.ErrUnavailable.
func (p *Providers) Depart(ctx context.Context, id, next string) (auth.Departure, error) {
	one := p.find(id)
	if one == nil {
		return auth.Departure{}, ErrUnknown
	}
	endpoint, err := one.dialect.endpoint(ctx)
	if err != nil {
		return auth.Departure{}, err
	}
	if len(next) > longestNext {
		next = ""
	}
	t := ticket{
		Provider: id, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next,
		Ends: time.Now().Add(signInLasts),
	}
	sealed, err := sealTicket(p.tickets, t)
	if err != nil {
		return auth.Departure{}, err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(t.Verifier)}
	if one.Preset != PresetGitHub {
		options = append(options, oauth2.SetAuthURLParam("nonce", t.Nonce))
	}
	return auth.Departure{
		Location: one.oauth(endpoint).AuthCodeURL(t.State, options...), State: t.State, Ticket: sealed, Lasts: signInLasts,
	}, nil
}

// Arrive finishes a sign-in: query is what the provider sent the browser back with, and sealed the ticket of that state, which
// is good once. The error is ErrUnknown, auth.ErrStale, auth.ErrUnavailable, an auth.NoRoleError, an auth.DeclinedError, or a
// fault.
func (p *Providers) Arrive(ctx context.Context, id string, query url.Values, sealed string) (auth.Arrival, error) {
	one := p.find(id)
	if one == nil {
		return auth.Arrival{}, ErrUnknown
	}
	t, err := p.redeem(ctx, id, query, sealed)
	if err != nil {
		return auth.Arrival{}, err
	}
	if err := one.dialect.checkCallback(ctx, query); err != nil {
		return auth.Arrival{}, err
	}
	if query.Has("error") {
		return auth.Arrival{}, providerRefused(query.Get("error"))
	}
	if query.Get("code") == "" {
		return auth.Arrival{}, refused(reasonAnswer, errors.New("the provider sent neither a code nor an error"))
	}
	began := time.Now()
	who, memory, err := one.exchange(ctx, query.Get("code"), t)
	if err != nil {
		return auth.Arrival{}, err
	}
	if err := p.Lasts(ctx, identity.Voucher{Provider: id, ProviderSession: who.session}); err != nil {
		return auth.Arrival{}, err
	}
	user, err := p.admit(one, who)
	if err != nil {
		return auth.Arrival{}, err
	}
	memory.Began = began
	by := identity.Voucher{Provider: id, ProviderSession: who.session, RefreshedAt: began, Secret: memory.bytes()}
	return auth.Arrival{User: user, By: by, Next: t.Next}, nil
}

// Lasts is auth.ErrStale for a session of which the provider has said lately that it is over.
func (p *Providers) Lasts(ctx context.Context, by identity.Voucher) error {
	if by.ProviderSession == "" {
		return nil
	}
	over, err := p.used.UsedUp(ctx, endedThere(by.Provider, by.ProviderSession), time.Now())
	switch {
	case err != nil:
		return fmt.Errorf("look up whether the provider's session is over: %w", err)
	case over:
		return fmt.Errorf("%w: the provider has ended the session meanwhile", auth.ErrStale)
	}
	return nil
}

// redeem opens the ticket and uses it up: state and browser belong together, and this is the first time.
func (p *Providers) redeem(ctx context.Context, id string, query url.Values, sealed string) (ticket, error) {
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(query[name]) > 1 {
			return ticket{}, auth.ErrStale
		}
	}
	t, ok := openTicket(p.tickets, sealed)
	now := time.Now()
	switch {
	case !ok || t.Provider != id || !now.Before(t.Ends):
		return ticket{}, auth.ErrStale
	case t.State == "" || subtle.ConstantTimeCompare([]byte(t.State), []byte(query.Get("state"))) != 1:
		return ticket{}, auth.ErrStale
	}
	// Before the code is used: a provider that sees it twice ends what came of the first time.
	first, err := p.used.UseUp(ctx, "state "+t.State, now, t.Ends)
	switch {
	case err != nil:
		return ticket{}, fmt.Errorf("use a sign-in up: %w", err)
	case !first:
		return ticket{}, auth.ErrStale
	}
	return t, nil
}

func (p *provider) exchange(ctx context.Context, code string, t ticket) (person, memory, error) {
	endpoint, err := p.dialect.endpoint(ctx)
	if err != nil {
		return person{}, memory{}, err
	}
	token, err := p.oauth(endpoint).Exchange(p.ask(ctx), code, oauth2.VerifierOption(t.Verifier))
	if err != nil {
		return person{}, memory{}, exchangeFailed(err)
	}
	who, err := p.dialect.person(ctx, token, expectation{nonce: t.Nonce})
	if err != nil {
		return person{}, memory{}, err
	}
	return who, p.remember(token, t.Nonce, who), nil
}

// The words that the trail has for a refused sign-in.
const (
	reasonAnswer      = "PROVIDER_ANSWER"     // it can't be believed
	reasonProvider    = "PROVIDER_REFUSED"    // the provider said no
	reasonDenied      = "ACCESS_DENIED"       // the person or the provider said no
	reasonDomain      = "EMAIL_DOMAIN"        // not one of the allowed domains
	reasonUnverified  = "EMAIL_NOT_VERIFIED"  // nobody knows whose address it is
	reasonGroup       = "GROUP_NOT_ALLOWED"   // in none of the allowed groups
	reasonOverage     = "TOO_MANY_GROUPS"     // the provider left the groups out
	reasonRegistered  = "PROVIDER_REFUSED_US" // our client ID or secret is not right
	messageAnswer     = "What the provider said about you could not be verified, so you are not signed in. Try again; if it happens again, tell an administrator of this Dagster."
	messageRegistered = "The provider did not accept this Dagster's registration. Tell an administrator of this Dagster."
)

func refused(reason string, err error) error {
	message := messageAnswer
	if reason == reasonRegistered {
		message = messageRegistered
	}
	return &auth.DeclinedError{Reason: reason, Message: message, Err: err}
}

// providerRefused puts an error code of RFC 6749 or OpenID Connect into our words; the provider's own text is nobody's to show,
// since anybody can write it into an address.
func providerRefused(code string) error {
	err := fmt.Errorf("the provider's error is %.60q", code)
	switch code {
	case "access_denied":
		return &auth.DeclinedError{Reason: reasonDenied, Err: err, Message: "The sign-in was cancelled, or the provider does not let you in here."}
	case "temporarily_unavailable", "server_error":
		return fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return &auth.DeclinedError{Reason: reasonProvider, Err: err, Message: "The provider wants you to sign in there first. Try again."}
	case "unauthorized_client", "invalid_scope", "invalid_request", "unsupported_response_type", "invalid_client":
		return refused(reasonRegistered, err)
	}
	return &auth.DeclinedError{Reason: reasonProvider, Err: err, Message: "The provider did not sign you in. Try again; if it happens again, tell an administrator of this Dagster."}
}

// exchangeFailed sorts what a token endpoint can answer. Its body is left out of the error: it may hold anything.
func exchangeFailed(err error) error {
	answer, answered := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !answered && isTransport(err):
		return fmt.Errorf("%w: ask for the token: %w", auth.ErrUnavailable, err)
	case !answered:
		return refused(reasonAnswer, fmt.Errorf("read the token's answer: %w", err))
	}
	plain := fmt.Errorf("the token endpoint answered %d, error %.60q", answer.Response.StatusCode, answer.ErrorCode)
	switch {
	case answer.ErrorCode == "invalid_grant" || answer.ErrorCode == "bad_verification_code":
		return fmt.Errorf("%w: %w", auth.ErrStale, plain)
	case answer.ErrorCode == "invalid_client" || answer.ErrorCode == "unauthorized_client" || answer.ErrorCode == "incorrect_client_credentials" ||
		answer.ErrorCode == "redirect_uri_mismatch":
		return refused(reasonRegistered, plain)
	case answer.Response.StatusCode >= http.StatusInternalServerError || answer.Response.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", auth.ErrUnavailable, plain)
	}
	return refused(reasonAnswer, plain)
}

func isTransport(err error) bool {
	_, is := errors.AsType[*url.Error](err)
	return is
}
