package auth

import (
	"context"
	"errors"
	"fmt"

	"dagster-authkit/internal/identity"
)

// Presented is somebody whom a request names itself, by a header or a token, and not by a session that began before.
type Presented struct {
	// User is the account as the database has it now, role and grants included; it is not disabled.
	User identity.User
	// Look gives the account as it is later, for connections that stay open. identity.ErrNotFound says that nothing stands for
	// it any more; of any other error nothing follows. It is called by one goroutine at a time, several times a second, so it costs little.
	Look func(ctx context.Context) (identity.User, error)
	// SignIn says that the first such request of a day and address is a sign-in, which the trail keeps.
	SignIn bool
}

// RefusedError says that what a request says of who sent it can't be taken. It unwraps to ErrInvalid: it is never a fault.
type RefusedError struct {
	// Reason is one word for the audit trail: SENT_TWICE.
	Reason string
	// Message is a full sentence for whoever sent the request.
	Message string
	// Cause is for the log, and may be nil. It holds nothing secret.
	Cause error
}

func (e *RefusedError) Error() string {
	if e.Cause == nil {
		return e.Reason
	}
	return fmt.Sprintf("%s: %v", e.Reason, e.Cause)
}

// Unwrap makes it an ErrInvalid, and its cause what it is.
func (e *RefusedError) Unwrap() []error { return []error{ErrInvalid, e.Cause} }

// Refuse makes a RefusedError whose cause is a text.
func Refuse(reason, message, cause string) error {
	return &RefusedError{Reason: reason, Message: message, Cause: errors.New(cause)}
}
