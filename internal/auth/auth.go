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
	"fmt"

	"dagster-authkit/internal/identity"
)

var (
	// ErrInvalid says that nobody signs in with this name and this password.
	ErrInvalid = errors.New("wrong name or password")
	// ErrBusy says that too many passwords are waiting to be hashed. Nothing was looked at; trying again later may do.
	ErrBusy = errors.New("too many sign-ins at once")
	// ErrUnavailable says that the server which keeps the users does not answer, so that nothing is known of the person.
	ErrUnavailable = errors.New("the server that knows the users does not answer")
	// ErrGone says that the backend no longer vouches for somebody who is signed in: the session is to end.
	ErrGone = errors.New("the backend does not vouch for the user any more")
)

// NoRoleError says that the person proved who they are, but that none of their groups gives them a role here.
type NoRoleError struct {
	// ID is the lasting name, as of identity.User.
	ID       string
	Username string
	// Groups are all that the backend told of them, for a page that only they see.
	Groups []string
}

func (e *NoRoleError) Error() string {
	return fmt.Sprintf("none of the %d groups of %q gives a role", len(e.Groups), e.Username)
}

// ExplainedError is an ErrInvalid that may be explained: the password was right, so that the message tells a guesser nothing.
type ExplainedError struct {
	// Message is for the person, in full sentences.
	Message string
}

func (e *ExplainedError) Error() string { return "refused with the right password: " + e.Message }

// Is makes it an ErrInvalid for whoever does not explain it.
func (e *ExplainedError) Is(target error) bool { return target == ErrInvalid }

// Credentials are what somebody typed.
type Credentials struct {
	Username string
	Password string
}

// Backend knows users by name and password.
type Backend interface {
	// Name is the backend's part of an identity's ID: "local".
	Name() string
	// Authenticate gives the user whom the credentials belong to, or ErrInvalid, perhaps as an ExplainedError, ErrBusy,
	// ErrUnavailable, a NoRoleError, or a fault.
	Authenticate(ctx context.Context, c Credentials) (identity.User, error)
}

// Refresher is a backend that keeps its users elsewhere, and can tell whether it still vouches for one who is signed in.
type Refresher interface {
	// Refresh gives the user as the backend knows them now, role and groups included, and the secret to ask with the next
	// time. ErrGone ends the session; after any other error it goes on for a while, and is asked about again.
	//
	// For the owner of a token by is the zero Voucher. A backend that can't tell without a session's secret is not asked then.
	Refresh(ctx context.Context, user identity.User, by identity.Voucher) (now identity.User, secret []byte, err error)
}
