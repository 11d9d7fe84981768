// Package auth holds the ways to prove who you are. A Backend takes a name and a password and gives the user; Local does
// so for the users in the database, whose passwords Passwords hashes. The server asks a Backend at each sign-in, accounts
// makes hashes with Passwords.
//
// A refusal says nothing about why: an unknown name, a wrong password and a disabled account are one error, after the
// same work.
package auth

import (
	"context"
	"errors"

	"dagster-authkit/internal/identity"
)

var (
	// ErrInvalid says that nobody signs in with this name and this password.
	ErrInvalid = errors.New("wrong name or password")
	// ErrBusy says that too many passwords are waiting to be hashed. Nothing was looked at; trying again later may do.
	ErrBusy = errors.New("too many sign-ins at once")
)

// Credentials are what somebody typed.
type Credentials struct {
	Username string
	Password string
}

// Backend knows users by name and password.
type Backend interface {
	// Name is the backend's part of an identity's ID: "local".
	Name() string
	// Authenticate gives the user whom the credentials belong to, or ErrInvalid, ErrBusy, or a fault.
	Authenticate(ctx context.Context, c Credentials) (identity.User, error)
}
