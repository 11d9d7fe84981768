package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/store"
)

func (p program) backup() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Copy the database while it is in use", Args: exactly("FILE"),
		Long: "Writes a consistent copy of the SQLite database into a new file that only you can read; AuthKit may run meanwhile. To go\n" +
			"back to it, stop AuthKit and put it in the place of the database. The file with the secret key beside the database is not\n" +
			"in it: without that, everybody signs in anew. For PostgreSQL the pg_dump command line is printed, without a password;\n" +
			"pg_restore reads what that writes.",
		Example: "  dagster-authkit backup /backup/authkit-$(date +%F).db\n" +
			"  sh -c \"$(dagster-authkit backup authkit.dump --db postgres://authkit@db/dagster)\"",
	}
	databaseFlag(cmd)
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		settings, err := p.shared(cmd)
		if err != nil {
			return err
		}
		if args[0] == "" {
			return usageError{errors.New("FILE is empty")}
		}
		if settings.Postgres() {
			line, err := store.DumpCommand(settings.options(p.log()), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(p.out, line)
			return err
		}
		if err := store.Backup(cmd.Context(), settings.Database, args[0]); err != nil {
			return err
		}
		p.say("copied %s to %s", settings.Database, args[0])
		return nil
	})
	return cmd
}
