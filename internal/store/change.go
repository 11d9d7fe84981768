package store

import (
	"context"
	"database/sql"
	"fmt"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// SetPassword stores the hash of a new password, ends all sessions of the user, and forgets from where the user signed
// in: who knew the old password may be among them.
func (s *Store) SetPassword(ctx context.Context, rowID int64, hash string, event audit.Event) error {
	return s.write(ctx, "set password", func(tx *sql.Tx) error {
		if err := mustChange(ctx, tx, `UPDATE users SET password_hash = $1, epoch = epoch + 1 WHERE id = $2`, hash, rowID); err != nil {
			return err
		}
		if _, err := change(ctx, tx, `DELETE FROM sessions WHERE user_id = $1`, rowID); err != nil {
			return fmt.Errorf("end sessions: %w", err)
		}
		if err := forgetAddresses(ctx, tx, rowID); err != nil {
			return err
		}
		return appendAudit(ctx, tx, event)
	})
}

// SetRole gives the user another role, from the next request on. With keepAdmin the error is identity.ErrLastAdmin when
// that would leave no enabled admin in the user's backend.
func (s *Store) SetRole(ctx context.Context, rowID int64, role identity.Role, keepAdmin bool, event audit.Event) error {
	return s.changeAdmin(ctx, "set role", rowID, keepAdmin && role != identity.Admin, event, func(tx *sql.Tx) error {
		return mustChange(ctx, tx, `UPDATE users SET role = $1 WHERE id = $2`, role, rowID)
	})
}

// SetDisabled disables the account and ends its sessions, or enables it again. keepAdmin is as for SetRole.
func (s *Store) SetDisabled(ctx context.Context, rowID int64, disabled, keepAdmin bool, event audit.Event) error {
	return s.changeAdmin(ctx, "set disabled", rowID, keepAdmin && disabled, event, func(tx *sql.Tx) error {
		if err := mustChange(ctx, tx, `UPDATE users SET disabled = $1, epoch = epoch + 1 WHERE id = $2`, disabled, rowID); err != nil {
			return err
		}
		if !disabled {
			return nil
		}
		if _, err := change(ctx, tx, `DELETE FROM sessions WHERE user_id = $1`, rowID); err != nil {
			return fmt.Errorf("end sessions: %w", err)
		}
		return nil
	})
}

// DeleteUser deletes the account with its sessions, grants and what sign-in remembers of it, so that an account made
// later under the same name starts anew. keepAdmin is as for SetRole.
func (s *Store) DeleteUser(ctx context.Context, rowID int64, keepAdmin bool, event audit.Event) error {
	return s.changeAdmin(ctx, "delete user", rowID, keepAdmin, event, func(tx *sql.Tx) error {
		if err := forgetAddresses(ctx, tx, rowID); err != nil {
			return err
		}
		return mustChange(ctx, tx, `DELETE FROM users WHERE id = $1`, rowID) // sessions and grants go with it
	})
}

// changeAdmin runs a change that may take away the last admin, and stores its event.
func (s *Store) changeAdmin(ctx context.Context, step string, rowID int64, keepAdmin bool, event audit.Event, f func(tx *sql.Tx) error) error {
	return s.write(ctx, step, func(tx *sql.Tx) error {
		if keepAdmin {
			last, err := isLastAdmin(ctx, tx, rowID)
			if err != nil {
				return err
			}
			if last {
				return identity.ErrLastAdmin
			}
		}
		if err := f(tx); err != nil {
			return err
		}
		return appendAudit(ctx, tx, event)
	})
}

// isLastAdmin is false for those who are no admin: that there is none already is no reason to forbid changing a viewer.
func isLastAdmin(ctx context.Context, db querier, rowID int64) (last bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT EXISTS (
			SELECT 1 FROM users u WHERE u.id = $1 AND u.role = $2 AND NOT u.disabled AND NOT EXISTS (
				SELECT 1 FROM users o WHERE o.id <> u.id AND o.backend = u.backend AND o.role = $2 AND NOT o.disabled))`,
		rowID, identity.Admin).Scan(&last)
	if err != nil {
		return false, fmt.Errorf("count admins: %w", err)
	}
	return last, nil
}
