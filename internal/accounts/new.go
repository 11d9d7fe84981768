package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/identity"
)

const (
	// maxFullName is in characters: the longest that still is a name in a menu.
	maxFullName = 128
	// startedBy is who made the admin of DAGSTER_AUTH_ADMIN_USER.
	startedBy = "bootstrap"
)

// NewUser is an account to be made. Email and FullName may be empty.
type NewUser struct {
	Name     string
	Email    string
	FullName string
	Role     identity.Role
	Password string
}

// Add makes a user.
func (s *Service) Add(ctx context.Context, by string, n NewUser) (identity.User, error) {
	var err error
	if n.Role, err = s.roles.Parse(string(n.Role)); err != nil {
		return identity.User{}, err
	}
	if err := n.check(); err != nil {
		return identity.User{}, err
	}
	// Looked up first, so that a name that is taken is not told of only after the work of a hash.
	if _, err := s.users.UserByName(ctx, backend, n.Name); !errors.Is(err, identity.ErrNotFound) {
		if err == nil {
			err = identity.ErrExists
		}
		return identity.User{}, explain(err, n.Name)
	}
	hash, err := s.passwords.Hash(ctx, n.Password)
	if err != nil {
		return identity.User{}, err
	}
	ev := event(audit.EventUserCreated, n.user(), by)
	user, err := s.users.CreateUser(ctx, n.user(), hash, ev)
	if err != nil {
		return identity.User{}, explain(err, n.Name)
	}
	s.published(ev)
	return user, nil
}

// Bootstrap makes the first admin in a database that never had a user, and in no other. The password may break the rules,
// as that of the Python AuthKit's example does: warning then says so, and what to do.
func (s *Service) Bootstrap(ctx context.Context, name, password string) (made bool, warning string, err error) {
	had, err := s.users.HadUsers(ctx)
	if err != nil || had {
		return false, "", err
	}
	if err := identity.CheckName(name); err != nil {
		return false, "", fmt.Errorf("DAGSTER_AUTH_ADMIN_USER: %w", err)
	}
	if password == "" {
		return false, "", errors.New("DAGSTER_AUTH_ADMIN_PASSWORD is empty: set it, or make the first admin with add-user --admin")
	}
	if weak := auth.CheckPassword(name, password); weak != nil {
		warning = fmt.Sprintf("NOT SAFE: the password of the first admin %q breaks the rules (%v): change it now with change-password", name, weak)
	}
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return false, "", err
	}
	user := NewUser{Name: name, Role: identity.Admin}.user()
	ev := event(audit.EventUserCreated, user, startedBy)
	if made, err = s.users.Bootstrap(ctx, user, hash, ev); err != nil || !made {
		return false, "", err
	}
	s.published(ev)
	return true, warning, nil
}

func (n NewUser) user() identity.User {
	return identity.User{
		Backend: backend, Subject: identity.NameKey(n.Name), Name: strings.TrimSpace(n.Name),
		Email: n.Email, FullName: n.FullName, Role: n.Role,
	}
}

func (n NewUser) check() error {
	if err := identity.CheckName(n.Name); err != nil {
		return err
	}
	if token.Mask(n.Name) != n.Name {
		return errors.New("the name looks like a token, and would be taken for one where people sign in: give another")
	}
	if err := checkEmail(n.Email); err != nil {
		return err
	}
	if !utf8.ValidString(n.FullName) || utf8.RuneCountInString(n.FullName) > maxFullName || strings.ContainsFunc(n.FullName, unicode.IsControl) {
		return errors.New("the full name is too long or has control characters: give at most 128 visible ones")
	}
	return auth.CheckPassword(n.Name, n.Password)
}

func checkEmail(email string) error {
	if email == "" {
		return nil
	}
	address, err := mail.ParseAddress(email)
	if err != nil || address.Address != email || identity.CheckEmail(email) != nil {
		return fmt.Errorf("%.80q is not an email address: give one like alice@example.org", email)
	}
	return nil
}
