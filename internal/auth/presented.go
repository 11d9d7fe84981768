package auth

import (
	"context"

	"dagster-authkit/internal/identity"
)

// Presented is whom the credentials stand for that a request brings along itself, in place of a cookie.
type Presented struct {
	identity.Identity
	// Look reads the same anew, for as long as a WebSocket is open: the user has the role and grants that count for these
	// credentials. identity.ErrNotFound says that they count no more; any other error leaves that open.
	Look func(ctx context.Context) (identity.User, error)
	// InHeader says that Authorization, or another header that a program fills, holds a secret of ours, which no one else may
	// see.
	InHeader bool
}

// RefusedError says why the credentials that a request presented are no good. It is an ErrInvalid. Reason is for the trail,
// Message for whoever presented them, and Identity is whose they were, as far as that is known.
type RefusedError struct {
	Reason   string
	Message  string
	Identity identity.Identity
}

func (e *RefusedError) Error() string { return "refused credentials: " + e.Reason }

// Unwrap makes it an ErrInvalid.
func (e *RefusedError) Unwrap() error { return ErrInvalid }
