package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

func (p program) addUser() *cobra.Command {
	var user accounts.NewUser
	cmd := &cobra.Command{
		Use: "add-user NAME", Short: "Add a user", Args: exactly("NAME"),
		Long: "Adds a user, as viewer unless another role is given. The password is asked for on a terminal.\n" +
			"A database that is not there yet is made.",
		Example: "  dagster-authkit add-user alice --admin\n" +
			"  dagster-authkit add-user bob --role launcher --email bob@example.com --generate-password\n" +
			"  printf %s \"$PASSWORD\" | dagster-authkit add-user carol --editor --password-stdin\n" +
			"  dagster-authkit add-user olga --role operator --config authkit.yaml",
	}
	databaseFlag(cmd)
	role := p.addRoleFlags(cmd)
	cmd.Flags().StringVar(&user.Email, "email", "", "email address")
	cmd.Flags().StringVar(&user.FullName, "full-name", "", "full name")
	password := addPasswordFlags(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		user.Name = args[0]
		settings, err := p.shared(cmd)
		if err != nil {
			return err
		}
		if user.Role, err = role(settings.roles); err != nil {
			return err
		}
		if err := password.check(); err != nil {
			return err
		}
		if err := identity.CheckName(user.Name); err != nil {
			return err
		}
		return p.openAccounts(cmd.Context(), settings, true, func(ctx context.Context, a *accounts.Service) error {
			return p.add(ctx, a, user, password)
		})
	})
	return cmd
}

// add makes the user, with a password from wherever the flags say.
func (p program) add(ctx context.Context, a *accounts.Service, user accounts.NewUser, flags *passwordFlags) error {
	password, made, err := p.readPassword(ctx, flags)
	if err != nil {
		return err
	}
	user.Password = password
	added, err := a.Add(ctx, performer(), user)
	if err != nil {
		return err
	}
	p.say("%s was added as %s", added.Name, added.Role)
	return p.reveal(password, made)
}

// reveal prints a password that AuthKit made, alone on stdout so that a script can take it. It is not shown again.
func (p program) reveal(password string, made bool) error {
	if !made {
		return nil
	}
	p.say("this is the password; it is not shown again:")
	if _, err := fmt.Fprintln(p.out, password); err != nil {
		return fmt.Errorf("showing the password: %w: make another with change-password", err)
	}
	return nil
}

// addRoleFlags adds --role and a flag for each built-in role, and returns what they say.
func (p program) addRoleFlags(cmd *cobra.Command) func(*policy.Roles) (identity.Role, error) {
	named := cmd.Flags().String("role", "", "viewer, launcher, editor, admin or one of the config file (default viewer)")
	for _, role := range identity.Roles() {
		cmd.Flags().Bool(string(role), false, "the same as --role "+string(role))
	}
	// The one error is a flag that does not exist, which the tests of completion would show.
	_ = cmd.RegisterFlagCompletionFunc("role", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return p.roleNames(cmd), cobra.ShellCompDirectiveNoFileComp
	})
	return func(roles *policy.Roles) (identity.Role, error) {
		chosen := []string{}
		if cmd.Flags().Changed("role") {
			chosen = append(chosen, *named)
		}
		for _, role := range identity.Roles() {
			if on, err := cmd.Flags().GetBool(string(role)); err == nil && on {
				chosen = append(chosen, string(role))
			}
		}
		switch len(chosen) {
		case 0:
			return identity.Viewer, nil
		case 1:
			role, err := roles.Parse(chosen[0])
			if err != nil {
				return "", usageError{err}
			}
			return role, nil
		}
		return "", usageError{errors.New("give only one role")}
	}
}

// roleNames are the roles for the shell's completion: the built-in ones alone when the config file can't be read.
func (p program) roleNames(cmd *cobra.Command) []string {
	known := identity.Roles()
	if settings, err := p.shared(cmd); err == nil {
		known = settings.roles.Names()
	}
	names := make([]string, len(known))
	for i, role := range known {
		names[i] = string(role)
	}
	return names
}

// userRow is one user in list-users --output json. Programs read it: names and order stay.
type userRow struct {
	Username    string           `json:"username"`
	Role        identity.Role    `json:"role"`
	Backend     string           `json:"backend"`
	Disabled    bool             `json:"disabled"`
	Email       string           `json:"email"`
	FullName    string           `json:"full_name"`
	Grants      []identity.Grant `json:"grants"`
	CreatedAt   *time.Time       `json:"created_at"`
	LastLoginAt *time.Time       `json:"last_login_at"`
	ID          string           `json:"id"`
}

func (p program) listUsers() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-users", Short: "List the users", Args: exactly(),
		Example: "  dagster-authkit list-users\n  dagster-authkit list-users --output json",
	}
	databaseFlag(cmd)
	format := outputFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, _ []string) error {
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			users, err := a.List(ctx)
			if err != nil {
				return err
			}
			return p.showUsers(*format, users)
		})
	})
	return cmd
}

func (p program) showUsers(format string, users []identity.User) error {
	values := []userRow{}
	var rows [][]string
	for _, u := range users {
		status := "active"
		if u.Disabled {
			status = "disabled"
		}
		values = append(values, userRow{
			Username: u.Name, Role: u.Role, Backend: u.Backend, Disabled: u.Disabled, Email: u.Email, FullName: u.FullName,
			Grants: append([]identity.Grant{}, u.Grants...), CreatedAt: timeOrNull(u.CreatedAt), LastLoginAt: timeOrNull(u.LastLoginAt),
			ID: u.ID(),
		})
		rows = append(rows, []string{
			u.Name, string(u.Role), status, orDash(u.Email), orDash(u.FullName), u.Backend, moment(u.CreatedAt), moment(u.LastLoginAt), u.ID(),
		})
	}
	return p.show(format, values, []string{"NAME", "ROLE", "STATUS", "EMAIL", "FULL NAME", "BACKEND", "CREATED", "LAST SIGN-IN", "ID"}, rows)
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
