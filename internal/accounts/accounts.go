// Package accounts holds the rules for users, their grants, sessions and tokens. It is the one door to them for the command line, the
// pages and the start: whoever asks gets the same checks, the same audit events and the same errors, each of them one
// line that says what to do.
//
// Every method that changes something takes who does it: "cli:" and the name of the operating system's user, or an
// identity's ID. The event is stored in the transaction of the change.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// backend is the one whose users are made here: those with a password in the database.
const backend = "local"

// Directory finds users.
type Directory interface {
	// UserByName gives identity.ErrNotFound when there is no such user.
	UserByName(ctx context.Context, backend, name string) (identity.User, error)
	Users(ctx context.Context) ([]identity.User, error)
}

// Changes are the changes of one user. Each stores its event in the same transaction, and gives identity.ErrNotFound when
// the user is gone. With keepAdmin, identity.ErrLastAdmin says that no enabled admin would be left.
type Changes interface {
	SetPassword(ctx context.Context, rowID int64, hash string, event audit.Event) error
	SetRole(ctx context.Context, rowID int64, role identity.Role, keepAdmin bool, event audit.Event) error
	SetDisabled(ctx context.Context, rowID int64, disabled, keepAdmin bool, event audit.Event) error
	DeleteUser(ctx context.Context, rowID int64, keepAdmin bool, event audit.Event) error
}

// Creation makes users.
type Creation interface {
	// CreateUser gives identity.ErrExists when the name is taken.
	CreateUser(ctx context.Context, user identity.User, passwordHash string, event audit.Event) (identity.User, error)
	// Bootstrap does nothing in a database that ever had a user, which HadUsers tells beforehand.
	Bootstrap(ctx context.Context, user identity.User, passwordHash string, event audit.Event) (made bool, err error)
	HadUsers(ctx context.Context) (bool, error)
}

// Users is all that is needed of the users' tables.
type Users interface {
	Directory
	Changes
	Creation
	Grants
}

// Sessions are the sign-ins that are stored. A userRowID of 0 means those of everybody.
type Sessions interface {
	Sessions(ctx context.Context, userRowID int64) ([]identity.Session, []identity.User, error)
	// RevokeSessions ends them, and returns the events that it stored: the one given, filled in for each session.
	RevokeSessions(ctx context.Context, userRowID int64, event audit.Event) ([]audit.Event, error)
	// RevokeProviderSessions does so for those that a provider of the backend began: the one that it calls by that name, or,
	// without a name, all of the subject's.
	RevokeProviderSessions(ctx context.Context, backend, provider, providerSession, subject string, event audit.Event) ([]audit.Event, error)
}

// Attempts are the failed sign-ins that are counted.
type Attempts interface {
	// ForgetAttempts says how many there were.
	ForgetAttempts(ctx context.Context, account string) (int, error)
}

// Passwords makes the hashes.
type Passwords interface {
	Hash(ctx context.Context, password string) (string, error)
}

// Options are what a Service needs.
type Options struct {
	Users     Users
	Sessions  Sessions
	Tokens    Tokens
	Attempts  Attempts
	Passwords Passwords
	// Roles are those that may be given; nil stands for the built-in ones.
	Roles *policy.Roles
	// Published is called with each event after it was stored, so that the server can print its line. It is nil for the
	// command line, whose stdout is for its answers: its events are only rows.
	Published func(audit.Event)
}

// Service is the door. It keeps nothing itself.
type Service struct {
	users     Users
	sessions  Sessions
	tokens    Tokens
	attempts  Attempts
	passwords Passwords
	roles     *policy.Roles
	published func(audit.Event)
}

// New makes a Service.
func New(o Options) (*Service, error) {
	if o.Users == nil || o.Sessions == nil || o.Tokens == nil || o.Attempts == nil || o.Passwords == nil {
		return nil, errors.New("accounts: users, sessions, tokens, attempts and passwords are needed")
	}
	if o.Roles == nil {
		var err error
		if o.Roles, err = policy.NewRoles(nil); err != nil {
			return nil, err
		}
	}
	if o.Published == nil {
		o.Published = func(audit.Event) {}
	}
	return &Service{
		users: o.Users, sessions: o.Sessions, tokens: o.Tokens, attempts: o.Attempts, passwords: o.Passwords, roles: o.Roles,
		published: o.Published,
	}, nil
}

// problem is an error in the words of its reader. It unwraps to the sentinel that callers branch on, whose own words it
// leaves out.
type problem struct {
	text  string
	cause error
}

func (p problem) Error() string { return p.text }
func (p problem) Unwrap() error { return p.cause }

// explain turns the sentinels of the store into words about that user, and leaves faults as they are.
func explain(err error, name string) error {
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return problem{fmt.Sprintf("no user %q: see list-users", name), err}
	case errors.Is(err, identity.ErrExists):
		return problem{fmt.Sprintf("there is a user %q already: use change-password or change-role, or choose another name", name), err}
	case errors.Is(err, identity.ErrLastAdmin):
		return problem{fmt.Sprintf("%q is the last admin: make another admin first, or repeat with --force", name), err}
	}
	return err
}

// List gives all users, those of other backends too, by backend and name.
func (s *Service) List(ctx context.Context) ([]identity.User, error) { return s.users.Users(ctx) }

// event is what happened to that user, by whom.
func event(kind string, user identity.User, by string) audit.Event {
	return audit.Event{
		Type: kind, Username: user.Name, Identity: user.ID(), Roles: []string{string(user.Role)},
		PerformedBy: by, Timestamp: time.Now().UTC(),
	}
}
