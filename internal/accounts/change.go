package accounts

import (
	"context"
	"crypto/rand"
	"strings"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// ChangePassword gives the user a new password, and ends all sessions of the user.
func (s *Service) ChangePassword(ctx context.Context, by, name, password string) error {
	user, err := s.local(ctx, name, "password")
	if err != nil {
		return err
	}
	if err := auth.CheckPassword(user.Name, password); err != nil {
		return err
	}
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	return s.change(event(audit.EventPasswordChanged, user, by), func(ev audit.Event) error {
		return s.users.SetPassword(ctx, user.RowID, hash, ev)
	})
}

// ChangeRole gives the user another role, from the next request on. The event has both. The last admin's is changed with
// force only.
func (s *Service) ChangeRole(ctx context.Context, by, name string, role identity.Role, force bool) error {
	role, err := s.roles.Parse(string(role))
	if err != nil {
		return err
	}
	user, err := s.ours(ctx, name, "role")
	if err != nil {
		return err
	}
	if user.Role == role {
		return nil // nothing happened, and the trail should not say that something did
	}
	ev := event(audit.EventRoleChanged, user, by)
	ev.Roles = []string{string(role)}
	ev.Targets = map[string][]string{"old_roles": {string(user.Role)}}
	return s.change(ev, func(ev audit.Event) error {
		return s.users.SetRole(ctx, user.RowID, role, keepAdmin(user, force), ev)
	})
}

// Disable keeps the user from signing in, and ends all sessions of the user; the last admin's with force only.
func (s *Service) Disable(ctx context.Context, by, name string, force bool) error {
	return s.setDisabled(ctx, by, name, true, force)
}

// Enable lets a disabled user sign in again.
func (s *Service) Enable(ctx context.Context, by, name string) error {
	return s.setDisabled(ctx, by, name, false, true)
}

func (s *Service) setDisabled(ctx context.Context, by, name string, disabled, force bool) error {
	user, err := s.Get(ctx, name)
	if err != nil || user.Disabled == disabled {
		return err
	}
	kind := audit.EventUserEnabled
	if disabled {
		kind = audit.EventUserDisabled
	}
	return s.change(event(kind, user, by), func(ev audit.Event) error {
		return s.users.SetDisabled(ctx, user.RowID, disabled, keepAdmin(user, force), ev)
	})
}

// Delete deletes the user with sessions, tokens and grants; the last admin with force only. The audit trail keeps the name.
func (s *Service) Delete(ctx context.Context, by, name string, force bool) error {
	user, err := s.Get(ctx, name)
	if err != nil {
		return err
	}
	return s.change(event(audit.EventUserDeleted, user, by), func(ev audit.Event) error {
		return s.users.DeleteUser(ctx, user.RowID, keepAdmin(user, force), ev)
	})
}

// change runs a change that stores the event, and publishes it after.
func (s *Service) change(ev audit.Event, f func(audit.Event) error) error {
	if err := f(ev); err != nil {
		return explain(err, ev.Username)
	}
	s.published(ev)
	return nil
}

// Unlock forgets the failed sign-ins of that name, from wherever, and says how many there were. There need be no such
// user: other backends' users are known only once they have signed in. Of an ID it is the user's name that counts.
func (s *Service) Unlock(ctx context.Context, name string) (int, error) {
	if _, _, isID := cutID(name); isID {
		user, err := s.Get(ctx, name)
		if err != nil {
			return 0, err
		}
		name = user.Name
	}
	return s.attempts.ForgetAttempts(ctx, name)
}

// passwordLetters are 32, so that each is worth 5 bits, and have no two that look alike.
const passwordLetters = "abcdefghijkmnpqrstuvwxyz23456789"

// GeneratePassword makes a password of 140 random bits that can be read out: seven groups of four letters and digits.
func GeneratePassword() string {
	const groups, size = 7, 4
	random := make([]byte, groups*size)
	_, _ = rand.Read(random) // never fails: without randomness the program ends
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%size == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(passwordLetters[int(r)%len(passwordLetters)])
	}
	return b.String()
}
