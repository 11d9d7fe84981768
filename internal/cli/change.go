package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/identity"
)

func (p program) changePassword() *cobra.Command {
	cmd := &cobra.Command{
		Use: "change-password NAME", Short: "Give a user a new password", Args: exactly("NAME"),
		Long: "Gives a user a new password, and ends all of the user's sessions. It is asked for on a terminal.",
		Example: "  dagster-authkit change-password alice\n  dagster-authkit change-password alice --generate-password\n" +
			"  printf %s \"$PASSWORD\" | dagster-authkit change-password alice --password-stdin",
	}
	databaseFlag(cmd)
	flags := addPasswordFlags(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		if err := flags.check(); err != nil {
			return err
		}
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			user, err := a.Get(ctx, args[0])
			if err != nil {
				return err
			}
			password, made, err := p.readPassword(ctx, flags)
			if err != nil {
				return err
			}
			if err := a.ChangePassword(ctx, performer(), args[0], password); err != nil {
				return err
			}
			p.say("%s has a new password, and is signed out everywhere", user.Name)
			return p.reveal(password, made)
		})
	})
	return cmd
}

func (p program) changeRole() *cobra.Command {
	cmd := &cobra.Command{
		Use: "change-role NAME ROLE", Short: "Give a user another role", Args: exactly("NAME", "ROLE"),
		Long: "Gives a user another role: viewer, launcher, editor, admin or one of the config file. It holds from the user's next\n" +
			"request on.",
		Example: "  dagster-authkit change-role alice editor\n  dagster-authkit change-role bob operator --config authkit.yaml",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if len(args) == 1 {
				names = p.roleNames(cmd)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	databaseFlag(cmd)
	force := forceFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		settings, err := p.shared(cmd)
		if err != nil {
			return err
		}
		role, err := settings.roles.Parse(args[1])
		if err != nil {
			return usageError{err} // before the database is looked for
		}
		return p.openAccounts(cmd.Context(), settings, false, func(ctx context.Context, a *accounts.Service) error {
			user, err := a.Get(ctx, args[0])
			if err != nil {
				return err
			}
			if err := a.ChangeRole(ctx, performer(), args[0], role, *force); err != nil {
				return err
			}
			p.say("%s is %s now", user.Name, role)
			return nil
		})
	})
	return cmd
}

func (p program) disableUser() *cobra.Command {
	cmd := &cobra.Command{
		Use: "disable-user NAME", Short: "Keep a user from signing in", Args: exactly("NAME"),
		Long:    "Keeps a user from signing in, and ends all of the user's sessions. Tokens are refused until enable-user takes it back.",
		Example: "  dagster-authkit disable-user alice",
	}
	force := forceFlag(cmd)
	p.changing(cmd, func(ctx context.Context, a *accounts.Service, user identity.User, args []string) (string, error) {
		return user.Name + " is disabled, and signed out everywhere", a.Disable(ctx, performer(), args[0], *force)
	})
	return cmd
}

func (p program) enableUser() *cobra.Command {
	cmd := &cobra.Command{
		Use: "enable-user NAME", Short: "Let a disabled user sign in again", Args: exactly("NAME"),
		Example: "  dagster-authkit enable-user alice",
	}
	p.changing(cmd, func(ctx context.Context, a *accounts.Service, user identity.User, args []string) (string, error) {
		return user.Name + " is enabled, and may sign in", a.Enable(ctx, performer(), args[0])
	})
	return cmd
}

func (p program) deleteUser() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete-user NAME", Short: "Delete a user", Args: exactly("NAME"),
		Long:    "Deletes a user with all of the user's sessions and tokens. The audit trail keeps the name.",
		Example: "  dagster-authkit delete-user alice\n  dagster-authkit delete-user alice --yes",
	}
	force := forceFlag(cmd)
	yes := cmd.Flags().BoolP("yes", "y", false, "don't ask")
	p.changing(cmd, func(ctx context.Context, a *accounts.Service, user identity.User, args []string) (string, error) {
		if !*yes {
			if err := p.confirm(ctx, fmt.Sprintf("Delete %s (%s)? [y/N] ", printable(user.Name), user.Role)); err != nil {
				return "", err
			}
		}
		return user.Name + " was deleted", a.Delete(ctx, performer(), args[0], *force)
	})
	return cmd
}

func forceFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("force", false, "even when nobody would be left who can administer AuthKit")
}

// changing gives a command that changes one user its database and its last line: what change says was done.
func (p program) changing(cmd *cobra.Command, change func(context.Context, *accounts.Service, identity.User, []string) (string, error)) {
	databaseFlag(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		return p.withAccounts(cmd, false, func(ctx context.Context, a *accounts.Service) error {
			user, err := a.Get(ctx, args[0])
			if err != nil {
				return err
			}
			done, err := change(ctx, a, user, args)
			if err != nil {
				return err
			}
			p.say("%s", done)
			return nil
		})
	})
}

// confirm asks, where there is somebody to ask.
func (p program) confirm(ctx context.Context, question string) error {
	if !p.terminal.interactive() {
		return errors.New("there is no terminal to ask whether you are sure: add --yes")
	}
	answer, err := p.terminal.ask(ctx, question)
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was deleted")
	}
	return nil
}
