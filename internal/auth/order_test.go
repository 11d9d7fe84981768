package auth_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// answers is a backend that knows one name, or has one answer for everybody.
type answers struct {
	name string
	err  error
}

func (a answers) Name() string { return a.name }

func (a answers) Authenticate(_ context.Context, c auth.Credentials) (identity.User, error) {
	if a.err != nil {
		return identity.User{}, a.err
	}
	if c.Username != a.name {
		return identity.User{}, auth.ErrInvalid
	}
	return identity.User{Backend: a.name, Name: c.Username}, nil
}

func TestOrder(t *testing.T) {
	t.Parallel()
	refused := &auth.ExplainedError{Message: "Change your password."}
	down, roleless := fmt.Errorf("dial: %w", auth.ErrUnavailable), &auth.NoRoleError{Username: "ada"}
	for _, tc := range []struct {
		name    string
		order   auth.Order
		who     string
		backend string
		err     error
		guessed bool // a backend looked at the password, though another could not be asked
	}{
		{name: "the first knows", order: auth.Order{answers{name: "ldap"}, answers{name: "local"}}, who: "ldap", backend: "ldap"},
		{name: "the second knows", order: auth.Order{answers{name: "ldap"}, answers{name: "local"}}, who: "local", backend: "local"},
		{name: "nobody knows", order: auth.Order{answers{name: "ldap"}, answers{name: "local"}}, who: "ada", err: auth.ErrInvalid},
		{name: "the first is down and the second knows", order: auth.Order{answers{err: down}, answers{name: "local"}}, who: "local", backend: "local"},
		{name: "the first is down and the second does not know", order: auth.Order{answers{err: down}, answers{name: "local"}}, who: "ada", err: auth.ErrUnavailable, guessed: true},
		{name: "the only one is down", order: auth.Order{answers{err: down}}, who: "ada", err: auth.ErrUnavailable},
		{name: "no role in the first, known to the second", order: auth.Order{answers{err: roleless}, answers{name: "local"}}, who: "local", backend: "local"},
		{name: "no role in the first, down the second", order: auth.Order{answers{err: roleless}, answers{err: down}}, who: "ada", err: auth.ErrUnavailable},
		{name: "no role in the first, unknown to the second", order: auth.Order{answers{err: roleless}, answers{name: "local"}}, who: "ada", err: roleless},
		{name: "refused by the first, known to the second", order: auth.Order{answers{err: refused}, answers{name: "local"}}, who: "local", backend: "local"},
		{name: "refused by the first, unknown to the second", order: auth.Order{answers{err: refused}, answers{name: "local"}}, who: "ada", err: refused},
		{name: "refused by the first, down the second", order: auth.Order{answers{err: refused}, answers{err: down}}, who: "ada", err: auth.ErrUnavailable},
		{name: "no backend", who: "ada", err: auth.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			user, err := tc.order.Authenticate(t.Context(), auth.Credentials{Username: tc.who, Password: "x"})
			if !errors.Is(err, tc.err) || user.Backend != tc.backend {
				t.Errorf("got %q, %v, want %q, %v", user.Backend, err, tc.backend, tc.err)
			}
			if _, guessed := errors.AsType[*auth.GuessedError](err); guessed != tc.guessed {
				t.Errorf("counts as a guess: got %t, want %t", guessed, tc.guessed)
			}
		})
	}
}
