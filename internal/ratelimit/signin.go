// Package ratelimit says how often something may be tried. SignIn holds the figures for attempts to sign in, which are
// counted in the database so that every process sharing it counts together. Requests is a limit on requests in general,
// counted in memory. Neither knows HTTP; the server asks both and answers 429.
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How many times DAGSTER_AUTH_RATE_LIMIT_ATTEMPTS a wider count allows (issue 3, point 8): an office behind one address
// must not lock itself out, and a stranger must not lock an account's owner out with a handful of tries.
const (
	addressFactor = 10
	accountFactor = 20
)

// Attempt is one try to sign in, and how many are allowed.
type Attempt struct {
	// Account is the name that was tried, as it was typed and whether there is such an account or not. Who stores it folds
	// the spellings of one name into one, and bounds its length.
	Account string
	// Address is an AddressKey.
	Address string
	Now     time.Time
	// Window is how far back attempts count.
	Window time.Duration
	// PerPair, PerAddress and PerAccount are how many failures in the window are allowed for this account from this
	// address, from this address, and for this account. PerAccount does not hold for an address from which the account
	// signed in lately.
	PerPair, PerAddress, PerAccount int
}

// Attempts are those in the database.
type Attempts interface {
	// TakeAttempt counts, and records the attempt unless it is over a limit, in one transaction: attempts made at the same
	// time can't outrun the count. It returns how long to wait when over, and 0 when the attempt may be made.
	TakeAttempt(ctx context.Context, attempt Attempt) (retryAfter time.Duration, err error)
	// DropAttempt forgets the newest attempt of the account at the address.
	DropAttempt(ctx context.Context, account, address string) error
	// ClearAttempts forgets the attempts of the account at the address, and remembers that it signed in from there.
	ClearAttempts(ctx context.Context, account, address string, now time.Time) error
}

// Options are what a SignIn needs.
type Options struct {
	Attempts Attempts
	// Limit is DAGSTER_AUTH_RATE_LIMIT_ATTEMPTS.
	Limit int
	// Window is DAGSTER_AUTH_RATE_LIMIT_WINDOW.
	Window time.Duration
	// Enabled is DAGSTER_AUTH_RATE_LIMIT. False allows every attempt and records none.
	Enabled bool
}

// SignIn limits attempts to sign in.
type SignIn struct {
	attempts Attempts
	limit    int
	window   time.Duration
	enabled  bool
}

// NewSignIn makes a SignIn.
func NewSignIn(o Options) (*SignIn, error) {
	switch {
	case !o.Enabled:
		return &SignIn{}, nil
	case o.Attempts == nil:
		return nil, errors.New("ratelimit: attempts are needed")
	case o.Limit < 1:
		return nil, fmt.Errorf("ratelimit: %d attempts: give at least 1, or turn the limit off", o.Limit)
	case o.Window < time.Second:
		return nil, fmt.Errorf("ratelimit: a window of %v: give at least a second, or turn the limit off", o.Window)
	}
	return &SignIn{attempts: o.Attempts, limit: o.Limit, window: o.Window, enabled: true}, nil
}

// Take is called before the password is looked at. It returns 0 when the attempt may be made, else how long to wait; then
// the right password is refused as well. On an error nothing is known, and nobody may be let in.
func (s *SignIn) Take(ctx context.Context, account, address string) (retryAfter time.Duration, err error) {
	if !s.enabled {
		return 0, nil
	}
	retryAfter, err = s.attempts.TakeAttempt(ctx, Attempt{
		Account: account, Address: address, Now: time.Now().UTC(), Window: s.window,
		PerPair: s.limit, PerAddress: addressFactor * s.limit, PerAccount: accountFactor * s.limit,
	})
	if err != nil {
		return 0, fmt.Errorf("count the attempt to sign in: %w", err)
	}
	return retryAfter, nil
}

// GiveBack is called when nobody looked at the attempt's password: it counts for nothing.
func (s *SignIn) GiveBack(ctx context.Context, account, address string) error {
	if !s.enabled {
		return nil
	}
	if err := s.attempts.DropAttempt(ctx, account, address); err != nil {
		return fmt.Errorf("take back the attempt to sign in: %w", err)
	}
	return nil
}

// Succeeded is called after a sign-in, and forgets the failures before it.
func (s *SignIn) Succeeded(ctx context.Context, account, address string) error {
	if !s.enabled {
		return nil
	}
	if err := s.attempts.ClearAttempts(ctx, account, address, time.Now().UTC()); err != nil {
		return fmt.Errorf("forget the failed attempts to sign in: %w", err)
	}
	return nil
}
