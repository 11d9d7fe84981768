package auth

import (
	"context"
	"errors"

	"dagster-authkit/internal/identity"
)

// Order asks several backends one after the other, so that a local admin can sign in while the directory is down. Each keeps
// its own accounts: the same name in two backends is two people.
type Order []Backend

var _ Backend = Order(nil)

// Name is that of the first backend.
func (o Order) Name() string {
	if len(o) == 0 {
		return ""
	}
	return o[0].Name()
}

// GuessedError says that a backend could not be asked, and that another one has looked at the password and does not know it: the
// attempt counts as a guess, whatever comes of the first.
type GuessedError struct{ Err error }

func (e *GuessedError) Error() string { return "not known to the other backends: " + e.Err.Error() }

// Unwrap is why a backend could not be asked.
func (e *GuessedError) Unwrap() error { return e.Err }

// Authenticate gives what the first backend says that knows the name with this password. When none does, the error is the
// most telling one: that a backend could not be asked (a GuessedError, if another could), then that a person has no role, then
// why a right password is of no use, and only then that nobody has this name and password.
func (o Order) Authenticate(ctx context.Context, c Credentials) (identity.User, error) {
	var unanswered, roleless, refused error
	judged := false
	for _, backend := range o {
		user, err := backend.Authenticate(ctx, c)
		switch {
		case err == nil:
			return user, nil
		case errors.Is(err, ErrInvalid):
			if _, explained := errors.AsType[*ExplainedError](err); explained {
				refused = firstError(refused, err)
			} else {
				judged = true
			}
		case isNoRole(err):
			roleless = firstError(roleless, err)
		default:
			unanswered = firstError(unanswered, err)
		}
	}
	if unanswered != nil && judged {
		unanswered = &GuessedError{unanswered}
	}
	return identity.User{}, firstError(unanswered, roleless, refused, ErrInvalid)
}

func isNoRole(err error) bool {
	_, is := errors.AsType[*NoRoleError](err)
	return is
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
