package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// SetGrant gives the role in the code location to the user or group, in place of another that they hold there. The error is
// identity.ErrNotFound when the user is gone; a group needs no member.
func (s *Store) SetGrant(ctx context.Context, to identity.Holder, grant identity.Grant, event audit.Event) error {
	return s.write(ctx, "set grant", func(tx *sql.Tx) (err error) {
		if to.Group != "" {
			_, err = change(ctx, tx, `INSERT INTO group_grants (group_name, location, role) VALUES ($1, $2, $3)
				ON CONFLICT (group_name, location) DO UPDATE SET role = excluded.role`, to.Group, grant.Location, grant.Role)
		} else {
			err = mustChange(ctx, tx, `INSERT INTO grants (user_id, location, role) SELECT id, $1, $2 FROM users WHERE id = $3
				ON CONFLICT (user_id, location) DO UPDATE SET role = excluded.role`, grant.Location, grant.Role, to.User.RowID)
		}
		if err != nil {
			return err
		}
		return appendAudit(ctx, tx, event)
	})
}

// DeleteGrant takes the user's or group's role in the code location away. The error is identity.ErrNotFound when there is none.
func (s *Store) DeleteGrant(ctx context.Context, from identity.Holder, location string, event audit.Event) error {
	return s.write(ctx, "delete grant", func(tx *sql.Tx) (err error) {
		if from.Group != "" {
			err = mustChange(ctx, tx, `DELETE FROM group_grants WHERE group_name = $1 AND location = $2`, from.Group, location)
		} else {
			err = mustChange(ctx, tx, `DELETE FROM grants WHERE user_id = $1 AND location = $2`, from.User.RowID, location)
		}
		if err != nil {
			return err
		}
		return appendAudit(ctx, tx, event)
	})
}

// Grants lists what was given: the users' own grants by user, then those of the groups by group. Of the users only row,
// backend, subject and name are read.
func (s *Store) Grants(ctx context.Context) ([]identity.HeldGrant, error) {
	return s.heldGrants(ctx, `SELECT u.id, u.backend AS backend, u.subject AS subject, u.name, '' AS group_name, g.location AS location,
			g.role, 0 AS kind FROM grants g JOIN users u ON u.id = g.user_id
		UNION ALL SELECT 0, '', '', '', group_name, location, role, 1 FROM group_grants
		ORDER BY kind, backend, subject, group_name, location`)
}

// GrantsOf lists what the user has: the user's own grants, then those by each group, then, marked as such, those that rules give.
func (s *Store) GrantsOf(ctx context.Context, userRowID int64) ([]identity.HeldGrant, error) {
	return s.heldGrants(ctx, `SELECT u.id, u.backend, u.subject, u.name, '' AS group_name, g.location AS location,
			g.role AS role, 0 AS kind FROM grants g JOIN users u ON u.id = g.user_id WHERE u.id = $1
		UNION ALL SELECT u.id, u.backend, u.subject, u.name, g.group_name, g.location, g.role, 1
			FROM group_grants g JOIN user_groups m ON m.group_name = g.group_name JOIN users u ON u.id = m.user_id WHERE u.id = $1
		UNION ALL SELECT u.id, u.backend, u.subject, u.name, '', g.location, g.role, 2
			FROM rule_grants g JOIN users u ON u.id = g.user_id WHERE u.id = $1
		ORDER BY kind, group_name, location, role`, userRowID)
}

func (s *Store) heldGrants(ctx context.Context, query string, args ...any) (list []identity.HeldGrant, err error) {
	err = s.read(ctx, "list grants", listTimeout, func(ctx context.Context) (err error) {
		list, err = queryGrants(ctx, s.readers, query, args...)
		return err
	})
	return list, err
}

func queryGrants(ctx context.Context, db querier, query string, args ...any) (_ []identity.HeldGrant, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var list []identity.HeldGrant
	for rows.Next() {
		var h identity.HeldGrant
		var kind int // of a user, of a group, of a rule: for the order
		u := &h.User
		if err := rows.Scan(&u.RowID, &u.Backend, &u.Subject, &u.Name, &h.Group, &h.Location, &h.Role, &kind); err != nil {
			return nil, err
		}
		h.Rule = kind == 2
		list = append(list, h)
	}
	return list, rows.Err()
}

// setGroups keeps what the user's backend says of groups now. Nothing is written when nothing changed. A name that no grant
// can have is left out.
func setGroups(ctx context.Context, tx *sql.Tx, user identity.User) error {
	now := keepable(user.GroupNames())
	old, err := names(ctx, tx, `SELECT m.group_name FROM user_groups m JOIN users u ON u.id = m.user_id
		WHERE u.backend = $1 AND u.subject = $2`, user.Backend, user.Subject)
	if err != nil {
		return fmt.Errorf("read groups: %w", err)
	}
	for _, group := range old {
		if slices.Contains(now, group) {
			continue
		}
		if _, err := change(ctx, tx, `DELETE FROM user_groups WHERE group_name = $1 AND user_id =
			(SELECT id FROM users WHERE backend = $2 AND subject = $3)`, group, user.Backend, user.Subject); err != nil {
			return fmt.Errorf("leave group: %w", err)
		}
	}
	for _, group := range now {
		if slices.Contains(old, group) {
			continue
		}
		if _, err := change(ctx, tx, `INSERT INTO user_groups (user_id, group_name)
			SELECT id, $1 FROM users WHERE backend = $2 AND subject = $3 ON CONFLICT DO NOTHING`, group, user.Backend, user.Subject); err != nil {
			return fmt.Errorf("join group: %w", err)
		}
	}
	return nil
}

// setRuleGrants keeps what the config file's rules give now. Nothing is written when nothing changed.
func setRuleGrants(ctx context.Context, tx *sql.Tx, user identity.User) error {
	var rowID int64
	err := tx.QueryRowContext(ctx, `SELECT id FROM users WHERE backend = $1 AND subject = $2`, user.Backend, user.Subject).Scan(&rowID)
	if err != nil {
		return fmt.Errorf("find the user: %w", err)
	}
	old, err := ruleGrants(ctx, tx, rowID)
	if err != nil {
		return fmt.Errorf("read the grants of rules: %w", err)
	}
	for _, grant := range old {
		if slices.Contains(user.RuleGrants, grant) {
			continue
		}
		if _, err := change(ctx, tx, `DELETE FROM rule_grants WHERE user_id = $1 AND location = $2 AND role = $3`,
			rowID, grant.Location, grant.Role); err != nil {
			return fmt.Errorf("take a rule's grant away: %w", err)
		}
	}
	for _, grant := range user.RuleGrants {
		if slices.Contains(old, grant) {
			continue
		}
		if _, err := change(ctx, tx, `INSERT INTO rule_grants (user_id, location, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
			rowID, grant.Location, grant.Role); err != nil {
			return fmt.Errorf("insert a rule's grant: %w", err)
		}
	}
	return nil
}

func ruleGrants(ctx context.Context, db querier, rowID int64) (_ []identity.Grant, err error) {
	rows, err := db.QueryContext(ctx, `SELECT location, role FROM rule_grants WHERE user_id = $1`, rowID)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var grants []identity.Grant
	for rows.Next() {
		var grant identity.Grant
		if err := rows.Scan(&grant.Location, &grant.Role); err != nil {
			return nil, err
		}
		grants = append(grants, grant)
	}
	return grants, rows.Err()
}
