package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

func (p program) listPermissions() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-permissions", Short: "Show the least role for each permission, or what a user may do", Args: exactly(),
		Long: "Shows the least role that has each permission of Dagster, and the mutations that need it.\n" +
			"A role has all that the roles before it have: viewer, launcher, editor, admin.\n" +
			"Mutations that are not listed need admin.\n\n" +
			"With --user it shows where that user has each permission, and by which role: everywhere, or in the code locations of\n" +
			"grants: the user's own, those of groups, and what rules of the config file give. Custom roles are those of the config file.",
		Example: "  dagster-authkit list-permissions\n  dagster-authkit list-permissions --user alice\n" +
			"  dagster-authkit list-permissions --user olga --config authkit.yaml --output json",
	}
	format := outputFlag(cmd)
	databaseFlag(cmd) // without --user taken as everywhere; the table is the same for every database
	user := userFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("user") {
			return p.permissionsOf(cmd, *format, *user)
		}
		table := policy.Table()
		var rows [][]string
		for _, row := range table {
			rows = append(rows, []string{string(row.Role), orDash(string(row.Permission)), orDash(strings.Join(row.Mutations, " "))})
		}
		return p.show(*format, table, []string{"ROLE", "PERMISSION", "MUTATIONS"}, rows)
	})
	return cmd
}

func userFlag(cmd *cobra.Command) *string {
	user := cmd.Flags().String("user", "", "the user's name or ID")
	complete(cmd, "user")
	return user
}

// account is a user with what the user was given, and by whom.
type account struct {
	identity.User
	grants []identity.HeldGrant
}

// account reads the user, and says what would make the answer another than one may think.
func (p program) account(ctx context.Context, a *accounts.Service, settings shared, name string) (account, error) {
	if name == "" {
		return account{}, errors.New("the name is empty: see list-users")
	}
	user, err := a.Get(ctx, name)
	if err != nil {
		return account{}, err
	}
	grants, err := a.ListGrants(ctx, accounts.Grantee{User: name})
	if err != nil {
		return account{}, err
	}
	if user.Disabled {
		p.say("%s is disabled: signing in is refused, whatever follows", user.Name)
	}
	held := []identity.Role{user.Role}
	for _, grant := range grants {
		held = append(held, grant.Role)
	}
	for _, role := range held {
		if !settings.roles.Known(role) {
			p.say("role %s is not known here and allows nothing: name the config file that has it with --config", orDash(string(role)))
		}
	}
	return account{user, grants}, nil
}

// permissionRow is one permission in list-permissions --user --output json. Programs read it: names and order stay.
type permissionRow struct {
	Permission identity.Permission `json:"permission"`
	Everywhere bool                `json:"everywhere"`
	Locations  []string            `json:"locations"` // where grants give it, if it is not held everywhere
	By         []string            `json:"by"`        // the roles that give it
}

func (p program) permissionsOf(cmd *cobra.Command, format, name string) error {
	settings, err := p.shared(cmd)
	if err != nil {
		return err
	}
	return p.openAccounts(cmd.Context(), settings, false, func(ctx context.Context, a *accounts.Service) error {
		user, err := p.account(ctx, a, settings, name)
		if err != nil {
			return err
		}
		values := []permissionRow{}
		var rows [][]string
		for _, permission := range permissions(settings) {
			row := user.permission(settings.roles, permission)
			values = append(values, row)
			where := strings.Join(row.Locations, ", ")
			if row.Everywhere {
				where = "everywhere"
			}
			rows = append(rows, []string{string(permission), orDash(where), orDash(strings.Join(row.By, ", "))})
		}
		return p.show(format, values, []string{"PERMISSION", "WHERE", "BY"}, rows)
	})
}

// permissions are those of the table, then those that only custom roles name.
func permissions(settings shared) []identity.Permission {
	var all []identity.Permission
	for _, row := range policy.Table() {
		if row.Permission != "" {
			all = append(all, row.Permission)
		}
	}
	for _, role := range settings.roles.Names() {
		for _, permission := range settings.Roles[role] {
			if !slices.Contains(all, permission) {
				all = append(all, permission)
			}
		}
	}
	return all
}

func (u account) permission(roles *policy.Roles, permission identity.Permission) permissionRow {
	row := permissionRow{Permission: permission, Locations: []string{}, By: []string{}}
	switch {
	case !roles.Known(u.Role): // whoever may not even read has no use for grants
		return row
	case roles.Has(u.Role, permission):
		row.Everywhere, row.By = true, append(row.By, string(u.Role))
		return row
	case !policy.InLocation(permission):
		return row
	}
	for _, grant := range u.grants {
		if !roles.Has(grant.Role, permission) {
			continue
		}
		if !slices.Contains(row.Locations, grant.Location) {
			row.Locations = append(row.Locations, grant.Location)
		}
		if by := string(grant.Role) + heldBy(grant); !slices.Contains(row.By, by) {
			row.By = append(row.By, by)
		}
	}
	return row
}

// heldBy names the group that a user has a grant by, or says that a rule gives it.
func heldBy(grant identity.HeldGrant) string {
	switch {
	case grant.Rule:
		return " (by a rule)"
	case grant.Group != "":
		return " (group " + grant.Group + ")"
	}
	return ""
}
