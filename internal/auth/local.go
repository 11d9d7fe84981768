package auth

import (
	"context"
	"errors"
	"fmt"

	"dagster-authkit/internal/identity"
)

// Users are the accounts whose passwords are in the database.
type Users interface {
	// Credentials gives the user of that name, in any spelling that is the same name, and the hash; or
	// identity.ErrNotFound.
	Credentials(ctx context.Context, name string) (user identity.User, hash string, err error)
	// ReplaceHash stores another hash of the same password, or gives identity.ErrNotFound when old is no longer stored.
	ReplaceHash(ctx context.Context, rowID int64, old, new string) error
	// LegacyHashes gives the start of each sort of hash that came from the Python AuthKit and is still there: "$2b$12$"
	// for bcrypt with its cost, "pbkdf2:".
	LegacyHashes(ctx context.Context) ([]string, error)
}

// LocalOptions are what NewLocal needs.
type LocalOptions struct {
	Users     Users
	Passwords *Passwords
}

// Local signs in the users of the database by their passwords.
type Local struct {
	users     Users
	passwords *Passwords
}

var _ Backend = (*Local)(nil)

// NewLocal makes the backend of the users in the database.
func NewLocal(o LocalOptions) (*Local, error) {
	if o.Users == nil || o.Passwords == nil {
		return nil, errors.New("auth: users and passwords are needed")
	}
	return &Local{users: o.Users, passwords: o.Passwords}, nil
}

// Name is "local", whichever engine the database has.
func (l *Local) Name() string { return "local" }

// Authenticate takes the same time for an unknown name, a wrong password and a disabled account. A hash of the Python
// AuthKit is replaced when its password was right.
func (l *Local) Authenticate(ctx context.Context, c Credentials) (identity.User, error) {
	if c.Password == "" || len(c.Password) > maxPasswordBytes {
		return identity.User{}, ErrInvalid // nobody's password: this tells nothing about any account
	}
	user, hash, err := l.users.Credentials(ctx, c.Username)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return identity.User{}, fmt.Errorf("read credentials: %w", err)
	}
	sorts, err := l.users.LegacyHashes(ctx)
	if err != nil {
		return identity.User{}, fmt.Errorf("read the sorts of password hashes: %w", err)
	}
	ok, outdated, err := l.passwords.judge(ctx, guess{hash: hash, password: c.Password, barred: user.Disabled, sorts: sorts})
	if err != nil {
		return identity.User{}, err
	}
	if !ok {
		return identity.User{}, ErrInvalid
	}
	if outdated {
		if hash, err = l.renew(ctx, user, hash, c.Password); err != nil {
			return identity.User{}, err
		}
	}
	return l.confirm(ctx, c, hash)
}

// renew replaces an outdated hash and gives the one that is stored now. When there is no core for it, it is for the next
// sign-in to do.
func (l *Local) renew(ctx context.Context, user identity.User, old, password string) (string, error) {
	hash, err := l.passwords.Hash(ctx, password)
	if errors.Is(err, ErrBusy) {
		return old, nil
	}
	if err != nil {
		return "", err
	}
	err = l.users.ReplaceHash(ctx, user.RowID, old, hash)
	if errors.Is(err, identity.ErrNotFound) {
		return old, nil // changed meanwhile, by whom confirm will see
	}
	if err != nil {
		return "", fmt.Errorf("replace a hash of the Python AuthKit: %w", err)
	}
	return hash, nil
}

// confirm reads the account again: it may have waited for a core for seconds, and a password that was changed or an
// account that was disabled in that time must not start a session. Another hash of the same password, which a sign-in at
// the same moment made, is fine.
func (l *Local) confirm(ctx context.Context, c Credentials, hash string) (identity.User, error) {
	user, stored, err := l.users.Credentials(ctx, c.Username)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return identity.User{}, fmt.Errorf("read credentials again: %w", err)
	}
	if err != nil || user.Disabled {
		return identity.User{}, ErrInvalid
	}
	if stored == hash {
		return user, nil
	}
	ok, _, err := l.passwords.Verify(ctx, stored, c.Password)
	if err != nil {
		return identity.User{}, err
	}
	if !ok {
		return identity.User{}, ErrInvalid
	}
	return user, nil
}
