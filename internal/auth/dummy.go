package auth

import (
	"context"

	"dagster-authkit/internal/identity"
)

// Dummy signs in four users whose passwords are their names, one for each role, as the Python AuthKit does. It is for
// trying things out: whoever can reach it is whoever they want to be.
type Dummy struct{}

var _ Backend = Dummy{}

// NewDummy makes the backend for trying things out.
func NewDummy() Dummy { return Dummy{} }

// Name is "dummy".
func (Dummy) Name() string { return "dummy" }

// Authenticate hides nothing about its accounts: they are in the documentation.
func (Dummy) Authenticate(_ context.Context, c Credentials) (identity.User, error) {
	name := identity.NameKey(c.Username)
	role, err := identity.ParseRole(name)
	if err != nil || c.Password != name {
		return identity.User{}, ErrInvalid
	}
	fullName := role.Title() + " User"
	if role == identity.Admin {
		fullName = "Administrator"
	}
	return identity.User{
		Backend: "dummy", Subject: name, Name: name, Email: name + "@localhost", FullName: fullName, Role: role,
	}, nil
}
