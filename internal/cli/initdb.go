package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/identity"
)

func (p program) initDB() *cobra.Command {
	cmd := &cobra.Command{
		Use: "init-db", Short: "Make the database, and the first admin", Args: exactly(),
		Long: "Makes the database when it is not there yet; one that is there is brought up to date and otherwise left alone.\n" +
			"With --with-admin it also makes an admin, called $DAGSTER_AUTH_ADMIN_USER or admin. Its password is asked for on a\n" +
			"terminal, or read with --password-stdin, or else made and shown once.",
		Example: "  dagster-authkit init-db\n  dagster-authkit init-db --with-admin\n" +
			"  printf %s \"$PASSWORD\" | dagster-authkit init-db --with-admin --password-stdin",
	}
	databaseFlag(cmd)
	withAdmin := cmd.Flags().Bool("with-admin", false, "make an admin too")
	password := addPasswordFlags(cmd)
	cmd.RunE = work(func(cmd *cobra.Command, _ []string) error {
		if err := password.check(); err != nil {
			return err
		}
		if password.way() != "" && !*withAdmin {
			return usageError{fmt.Errorf("--%s is for the admin: add --with-admin", password.way())}
		}
		return p.initialise(cmd, *withAdmin, password)
	})
	return cmd
}

func (p program) initialise(cmd *cobra.Command, withAdmin bool, password *passwordFlags) error {
	var variables []string
	if withAdmin {
		variables = []string{adminVariable}
	}
	settings, err := p.shared(cmd, variables...)
	if err != nil {
		return err
	}
	return p.openAccounts(cmd.Context(), settings, true, func(ctx context.Context, a *accounts.Service) error {
		users, err := a.List(ctx)
		if err != nil {
			return err
		}
		if !withAdmin {
			p.say("%s is ready, %s", settings.Database, whoIsThere(len(users)))
			return nil
		}
		name := settings.AdminUser
		_, err = a.Get(ctx, "local:"+name)
		switch {
		case err == nil:
			p.say("%s is there already: nothing was changed", name)
			return nil
		case !errors.Is(err, identity.ErrNotFound):
			return err
		}
		if password.way() == "" && !p.terminal.interactive() {
			password.generate = true
		}
		return p.add(ctx, a, accounts.NewUser{Name: name, Role: identity.Admin}, password)
	})
}

// whoIsThere says what to do next in a database without users.
func whoIsThere(users int) string {
	if users == 0 {
		return "and has no user yet: make the first with: " + programName + " add-user NAME --admin"
	}
	return "with " + count(users, "user")
}

// count is "1 user" or "2 users".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
