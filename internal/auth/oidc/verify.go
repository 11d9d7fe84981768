package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
)

const (
	// leeway is how far clocks may be apart.
	leeway = time.Minute
	// longestToken is in bytes. Entra ID's with 200 groups have some 10 KB.
	longestToken = 128 << 10
	// longestSubject is OpenID Connect Core 1.0, section 2.
	longestSubject = 255
)

// verify checks an ID token: what go-oidc does (signature, iss, aud, exp, nbf) and what it leaves to its caller.
func (i *issuer) verify(ctx context.Context, m *metadata, raw string, expect expectation) (*oidc.IDToken, claims, error) {
	if len(raw) > longestToken {
		return nil, nil, refused(reasonAnswer, errors.New("the ID token is larger than any that is in use"))
	}
	if err := remote.CheckHeader(raw, "jwt"); err != nil {
		return nil, nil, refused(reasonAnswer, fmt.Errorf("the ID token: %w", err))
	}
	verifier, err := i.verifier(ctx, m, raw)
	switch {
	case errors.Is(err, errNoKey) && expect.subject != "":
		// The provider's servers may sign by a new key before all of them publish it. In a sign-in that is a reason to begin again; in
		// a refresh it says nothing against somebody who is signed in.
		return nil, nil, fmt.Errorf("%w: the ID token's signature: %w", auth.ErrUnavailable, err)
	case err != nil:
		return nil, nil, refusedToken(reasonAnswer, err)
	}
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, nil, refused(reasonAnswer, fmt.Errorf("the ID token: %w", withoutBody(err)))
	}
	all, err := readClaims(token.Claims, i.groups)
	if err == nil {
		err = i.check(token, all, expect, time.Now())
	}
	if err != nil {
		return nil, nil, refused(reasonAnswer, fmt.Errorf("the ID token: %w", err))
	}
	return token, all, nil
}

// verified is what a token says whose signature was found to be good.
type verified []byte

func (v verified) VerifySignature(context.Context, string) ([]byte, error) { return v, nil }

// verifier checks the signature and gives go-oidc's checks of the rest. go-oidc would make one text of a bad signature and of
// keys that can't be read, and of the latter follows nothing about the token.
func (i *issuer) verifier(ctx context.Context, m *metadata, raw string) (*oidc.IDTokenVerifier, error) {
	payload, err := m.keys.VerifySignature(ctx, raw)
	if err != nil {
		return nil, err
	}
	return oidc.NewVerifier(i.Issuer, verified(payload), &oidc.Config{ClientID: i.ClientID, SupportedSigningAlgs: names(m.algorithms)}), nil
}

// refusedToken leaves an error as it is that says nothing about the token.
func refusedToken(reason string, err error) error {
	if errors.Is(err, auth.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return refused(reason, fmt.Errorf("the signature: %w", err))
}

func (i *issuer) check(token *oidc.IDToken, all claims, expect expectation, now time.Time) error {
	azp, given := all["azp"]
	party, _ := azp.(string)
	switch {
	case !isSubject(token.Subject):
		return errors.New("its sub is empty or no name")
	case expect.subject != "" && token.Subject != expect.subject:
		return errors.New("it is about somebody else than before")
	case given && party != i.ClientID:
		return errors.New("it was made for another client: azp")
	case len(token.Audience) > 1 && !given:
		return errors.New("it has several audiences, and no azp that says whose it is")
	case token.IssuedAt.IsZero() || token.IssuedAt.Unix() <= 0:
		return errors.New("it does not say when it was made: iat")
	case token.IssuedAt.After(now.Add(leeway)):
		return errors.New("it was made in the future: iat")
	case token.Expiry.Before(token.IssuedAt):
		return errors.New("it ended before it was made: exp")
	}
	// A refreshed token need not have the nonce (OpenID Connect Core 1.0, section 12.2).
	_, hasNonce := all["nonce"]
	refreshed := expect.subject != ""
	if (!refreshed || hasNonce) && (expect.nonce == "" || subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(expect.nonce)) != 1) {
		return errors.New("it belongs to another sign-in: nonce")
	}
	return nil
}

func isSubject(sub string) bool {
	return sub != "" && len(sub) <= longestSubject && strings.TrimSpace(sub) != "" && cleanText(sub) == sub
}
