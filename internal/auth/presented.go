package auth

import (
	"context"
	"errors"
	"fmt"

	"dagster-authkit/internal/identity"
)

// Presented is somebody whom a request names itself, by a header or a token, and not by a session that began before.
type Presented struct {
	// Identity has the role and grants that count for what was presented, as they are now. Its user is not disabled.
	identity.Identity
	// Look gives the user with the same later, for connections that stay open. identity.ErrNotFound says that what was
	// presented counts no more; of any other error nothing follows. It is called by one goroutine at a time, several times a second, so it costs
	// little.
	Look func(ctx context.Context) (identity.User, error)
	// Token says that a header holds a secret of ours, which no one else may see: a program sent it.
	Token bool
	// SignIn is the account whose first such request of a day and address is a sign-in, which the trail keeps; nil: none is.
	SignIn *identity.User
}

// RefusedError says that what a request presents of who sent it is no good. It unwraps to ErrInvalid: it is never a fault.
type RefusedError struct {
	// Reason is one word for the audit trail: SENT_TWICE.
	Reason string
	// Message is a full sentence for whoever sent the request.
	Message string
	// Token says that it was a token, so that a program is answered.
	Token bool
	// Identity is whose it was, as far as that is known.
	Identity identity.Identity
	// Cause is for the log, and may be nil. It holds nothing secret.
	Cause error
}

func (e *RefusedError) Error() string {
	if e.Cause == nil {
		return "refused credentials: " + e.Reason
	}
	return fmt.Sprintf("refused credentials: %s: %v", e.Reason, e.Cause)
}

// Unwrap makes it an ErrInvalid, and its cause what it is.
func (e *RefusedError) Unwrap() []error { return []error{ErrInvalid, e.Cause} }

// Refuse makes a RefusedError whose cause is a text.
func Refuse(reason, message, cause string) error {
	return &RefusedError{Reason: reason, Message: message, Cause: errors.New(cause)}
}
