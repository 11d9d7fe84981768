package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"dagster-authkit/internal/identity"
)

// unchanged gives the account as it is when the database says of it already what UpsertUser would write, groups and what
// rules give included. It takes no lock: a proxy in front says who somebody is with every request, and nearly always the same.
func (s *Store) unchanged(ctx context.Context, user identity.User) (known identity.User, same bool, err error) {
	err = s.read(ctx, "refresh user", readTimeout, func(ctx context.Context) (err error) {
		known, same, err = s.compare(ctx, user)
		return err
	})
	return known, same, err
}

func (s *Store) compare(ctx context.Context, user identity.User) (known identity.User, same bool, err error) {
	// All that is compared is of one moment.
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return identity.User{}, false, fmt.Errorf("begin: %w", err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	known, err = userBySubject(ctx, tx, user.Backend, user.Subject)
	if errors.Is(err, identity.ErrNotFound) {
		return identity.User{}, false, nil
	}
	if err != nil {
		return identity.User{}, false, err
	}
	if known.Name != user.Name || known.Email != user.Email || known.FullName != user.FullName || known.Role != user.Role {
		return known, false, nil
	}
	groups, err := names(ctx, tx, `SELECT group_name FROM user_groups WHERE user_id = $1`, known.RowID)
	if err != nil {
		return identity.User{}, false, fmt.Errorf("read groups: %w", err)
	}
	given, err := ruleGrants(ctx, tx, known.RowID)
	if err != nil {
		return identity.User{}, false, fmt.Errorf("read the grants of rules: %w", err)
	}
	return known, sameMembers(groups, keepable(user.GroupNames())) && sameMembers(given, user.RuleGrants), nil
}

// LoseRole notes that the account's backend gives it no role any more, as UpsertUser notes which it gives: nothing is left of what
// came of it. An account that is not known is no error.
func (s *Store) LoseRole(ctx context.Context, backend, subject string) error {
	return s.write(ctx, "take a role away", func(tx *sql.Tx) error {
		user, err := userBySubject(ctx, tx, backend, subject)
		if errors.Is(err, identity.ErrNotFound) || err == nil && user.Role == "" {
			return nil
		}
		if err != nil {
			return err
		}
		for _, statement := range []string{
			`UPDATE users SET role = '' WHERE id = $1`, `DELETE FROM rule_grants WHERE user_id = $1`, `DELETE FROM user_groups WHERE user_id = $1`,
		} {
			if _, err := change(ctx, tx, statement, user.RowID); err != nil {
				return err
			}
		}
		return nil
	})
}

// keepable are the groups that are stored: those whose name a grant can have.
func keepable(groups []string) []string {
	return slices.DeleteFunc(groups, func(group string) bool { return !isText(group) })
}

// sameMembers compares two lists as sets.
func sameMembers[T comparable](a, b []T) bool {
	within := func(one, other []T) bool {
		return !slices.ContainsFunc(one, func(member T) bool { return !slices.Contains(other, member) })
	}
	return within(a, b) && within(b, a)
}
