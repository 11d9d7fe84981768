package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/config"
	"dagster-authkit/internal/store"
)

// progressPause is between two lines about how far a move is.
const progressPause = 2 * time.Second

func (p program) moveStore() *cobra.Command {
	cmd := &cobra.Command{
		Use: "move-store", Short: "Copy everything into another database", Args: exactly(),
		Long: "Copies users, roles, grants and the audit trail from one database into another, SQLite or PostgreSQL, all or nothing, and\n" +
			"compares the counts. The source stays as it is. Sessions stay behind: everybody signs in anew. Stop AuthKit first: what\n" +
			"changes in the source meanwhile is not copied. Of --from and --to one may be left out: it is then $DAGSTER_AUTH_DATABASE_URL\n" +
			"(or _FILE), where a password does not show as it does on a command line.",
		Example: "  export DAGSTER_AUTH_DATABASE_URL_FILE=/run/secrets/authkit-database\n" +
			"  dagster-authkit move-store --from ./dagster_auth.db",
	}
	from := cmd.Flags().String("from", "", "the database to read: a path or URL")
	to := cmd.Flags().String("to", "", "the database to write to: a path or URL")
	force := cmd.Flags().Bool("force", false, "delete what is in the database to write to")
	format := outputFlag(cmd)
	cmd.Flags().String("config", "", "a YAML file with settings (default $DAGSTER_AUTH_CONFIG)")
	cmd.RunE = work(func(cmd *cobra.Command, _ []string) error {
		if *from == "" && *to == "" {
			return usageError{errors.New("say --from, --to, or both")}
		}
		if *format != formatTable && *format != formatJSON {
			return usageError{fmt.Errorf("--output %q is neither table nor json", *format)} // before anything is moved
		}
		source, err := p.databaseNamed(cmd, "from", *from)
		if err != nil {
			return err
		}
		target, err := p.databaseNamed(cmd, "to", *to)
		if err != nil {
			return err
		}
		if source.DatabaseSource() == target.DatabaseSource() {
			return usageError{fmt.Errorf("--from and --to are both %s", source.Database)}
		}
		return p.move(cmd.Context(), source, target, *force, *format)
	})
	return cmd
}

// databaseNamed reads where the database is that a flag names, or else the settings.
func (p program) databaseNamed(cmd *cobra.Command, flag, text string) (shared, error) {
	flags := config.Values{}
	if text != "" {
		flags["db"] = text
	}
	if file := cmd.Flags().Lookup("config"); file.Changed {
		flags["config"] = file.Value.String()
	}
	return p.settings(flags, "--"+flag)
}

func (p program) move(ctx context.Context, source, target shared, force bool, format string) (err error) {
	from, err := store.Open(ctx, source.mustExist(p.log()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := store.Open(ctx, target.options(p.log()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	next := time.Now().Add(progressPause)
	moved, err := store.Move(ctx, from, to, force, func(table string, done, all int64) {
		if now := time.Now(); now.After(next) {
			next = now.Add(progressPause)
			p.say("%s: %d of %d", table, done, all)
		}
	})
	if err != nil {
		return err
	}
	rows := make([][]string, len(moved))
	for i, m := range moved {
		rows[i] = []string{m.Table, strconv.FormatInt(m.From, 10), strconv.FormatInt(m.To, 10)}
	}
	if err := p.show(format, moved, []string{"TABLE", "FROM", "TO"}, rows); err != nil {
		return err
	}
	p.say("copied %s to %s; everybody signs in anew there", source.Database, target.Database)
	return nil
}
