package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/policy"
)

func (p program) listPermissions() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-permissions", Short: "Show the least role for each permission and mutation of Dagster", Args: exactly(),
		Long: "Shows the least role that has each permission of Dagster, and the mutations that need it.\n" +
			"A role has all that the roles before it have: viewer, launcher, editor, admin.\n" +
			"Mutations that are not listed need admin.",
		Example: "  dagster-authkit list-permissions\n  dagster-authkit list-permissions --output json",
	}
	format := outputFlag(cmd)
	databaseFlag(cmd) // taken as everywhere; the table is the same for every database
	cmd.RunE = work(func(*cobra.Command, []string) error {
		table := policy.Table()
		var rows [][]string
		for _, row := range table {
			rows = append(rows, []string{string(row.Role), orDash(string(row.Permission)), orDash(strings.Join(row.Mutations, " "))})
		}
		return p.show(*format, table, []string{"ROLE", "PERMISSION", "MUTATIONS"}, rows)
	})
	return cmd
}
