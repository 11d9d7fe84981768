package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/identity"
)

// grantWords tell of grants in the help of each of their commands.
const grantWords = "A grant is a role in one code location. It adds to the role that its holder has everywhere, and to other grants: the\n" +
	"most permissive counts, and none takes anything away. A group is written with who tells of it: ldap:NAME, header:NAME, or\n" +
	"the ID of an OpenID Connect provider, sso:NAME. Names of groups and code locations are compared letter by letter."

func (p program) grant() *cobra.Command {
	cmd := &cobra.Command{
		Use: "grant NAME|--group GROUP ROLE --location LOCATION", Short: "Give a user or group a role in a code location",
		Long: "Gives a user or group a role in one code location, from the next request on. Another role that they were given\n" +
			"there is replaced.\n\n" + grantWords,
		Example: "  dagster-authkit grant alice editor --location etl\n" +
			"  dagster-authkit grant --group ldap:data-team launcher --location etl",
		Args: cobra.ArbitraryArgs,
	}
	databaseFlag(cmd)
	group, location := granteeFlag(cmd), locationFlag(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if len(args) == 0 && cmd.Flags().Changed("group") || len(args) == 1 && !cmd.Flags().Changed("group") {
			names = p.roleNames(cmd)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		to, rest, err := grantee(cmd, *group, args, "ROLE")
		if err != nil {
			return err
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			given, old, err := a.Grant(ctx, performer(), to, identity.Grant{Location: *location, Role: identity.Role(rest[0])})
			if err != nil {
				return err
			}
			p.say("%s", grantDone(given, old))
			return nil
		})
	})
	return cmd
}

func grantDone(given identity.HeldGrant, old identity.Role) string {
	is := fmt.Sprintf("%s is %s in %s", holderName(given.Holder), given.Role, given.Location)
	if old == given.Role {
		return is + " already: nothing was changed"
	}
	if old != "" {
		return is + " now, no longer " + string(old)
	}
	return is + " now"
}

func holderName(holder identity.Holder) string {
	if holder.Group != "" {
		return "the group " + holder.Group
	}
	return holder.User.Name
}

func (p program) revokeGrant() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke-grant NAME|--group GROUP --location LOCATION", Short: "Take a role in a code location away",
		Long: "Takes away what grant gave a user or group in a code location, from the next request on. Open WebSockets are closed\n" +
			"within a second. What a user has by a group stays.\n\n" + grantWords,
		Example: "  dagster-authkit revoke-grant alice --location etl\n" +
			"  dagster-authkit revoke-grant --group ldap:data-team --location etl",
		Args: cobra.ArbitraryArgs,
	}
	databaseFlag(cmd)
	group, location := granteeFlag(cmd), locationFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		from, _, err := grantee(cmd, *group, args)
		if err != nil {
			return err
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			taken, err := a.RevokeGrant(ctx, performer(), from, *location)
			if err != nil {
				return err
			}
			p.say("%s is no longer %s in %s", holderName(taken.Holder), taken.Role, taken.Location)
			return nil
		})
	})
	return cmd
}

// grantRow is one grant in list-grants --output json. Programs read it: names and order stay.
type grantRow struct {
	Username string        `json:"username"` // empty for a group's
	Backend  string        `json:"backend"`
	Group    string        `json:"group"` // with a username: the group by which the user has it
	Location string        `json:"location"`
	Role     identity.Role `json:"role"`
	ID       string        `json:"id"`   // the user's; empty for a group's
	Rule     bool          `json:"rule"` // nobody gave it: a rule of the config file gives it to the user
}

func (p program) listGrants() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-grants [NAME|--group GROUP]", Short: "List the roles in code locations",
		Long: "Lists the grants of all users and groups; all that one user has, by groups and by rules of the config file too; or those\n" +
			"of one group. What rules give is as it was when the user's backend last told of groups.\n\n" + grantWords,
		Example: "  dagster-authkit list-grants\n  dagster-authkit list-grants alice --output json\n" +
			"  dagster-authkit list-grants --group ldap:data-team",
		Args: cobra.MaximumNArgs(1),
	}
	databaseFlag(cmd)
	group, format := granteeFlag(cmd), outputFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		var of accounts.Grantee
		if len(args) > 0 || cmd.Flags().Changed("group") {
			var err error
			if of, _, err = grantee(cmd, *group, args); err != nil {
				return err
			}
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			grants, err := a.ListGrants(ctx, of)
			if err != nil {
				return err
			}
			return p.showGrants(*format, grants)
		})
	})
	return cmd
}

func (p program) showGrants(format string, grants []identity.HeldGrant) error {
	values := []grantRow{}
	var rows [][]string
	for _, g := range grants {
		id := ""
		if g.User.RowID != 0 {
			id = g.User.ID()
		}
		values = append(values, grantRow{
			Username: g.User.Name, Backend: g.User.Backend, Group: g.Group, Location: g.Location, Role: g.Role, ID: id, Rule: g.Rule,
		})
		by := orDash(g.Group)
		if g.Rule {
			by = "(by a rule)"
		}
		rows = append(rows, []string{orDash(g.User.Name), by, g.Location, string(g.Role), orDash(g.User.Backend), orDash(id)})
	}
	return p.show(format, values, []string{"USER", "GROUP", "LOCATION", "ROLE", "BACKEND", "ID"}, rows)
}

func granteeFlag(cmd *cobra.Command) *string {
	group := cmd.Flags().String("group", "", "a group instead of a user, as ldap:NAME, header:NAME or PROVIDER:NAME")
	complete(cmd, "group")
	return group
}

func locationFlag(cmd *cobra.Command) *string {
	location := &once{}
	cmd.Flags().Var(location, "location", "the code location, by its name in Dagster")
	complete(cmd, "location")
	// The one error is a flag that was not added, two lines above.
	_ = cmd.MarkFlagRequired("location")
	return &location.text
}

// grantee takes the user's name from the arguments, unless there is a group instead, and checks the others by their names.
func grantee(cmd *cobra.Command, group string, args []string, others ...string) (accounts.Grantee, []string, error) {
	if cmd.Flags().Changed("group") {
		if len(args) > len(others) {
			return accounts.Grantee{}, nil, usageError{errors.New("give either NAME or --group")}
		}
		if err := exactly(others...)(cmd, args); err != nil {
			return accounts.Grantee{}, nil, usageError{err}
		}
		if group == "" {
			return accounts.Grantee{}, nil, errors.New("the group is empty: give its name")
		}
		return accounts.Grantee{Group: group}, args, nil
	}
	if err := exactly(append([]string{"NAME"}, others...)...)(cmd, args); err != nil {
		return accounts.Grantee{}, nil, usageError{err}
	}
	if args[0] == "" {
		return accounts.Grantee{}, nil, errors.New("the name is empty: see list-users")
	}
	return accounts.Grantee{User: args[0]}, args[1:], nil
}

// once is the value of a flag that may not be given twice: the last would count, and the others seem to have been done.
type once struct {
	text  string
	given bool
}

func (o *once) String() string { return o.text }
func (o *once) Type() string   { return "string" }

// Set takes the first value.
func (o *once) Set(text string) error {
	if o.given {
		return errors.New("it was given twice: run the command once for each")
	}
	o.text, o.given = text, true
	return nil
}
