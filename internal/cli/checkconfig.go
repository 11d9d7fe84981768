package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/config"
	"dagster-authkit/internal/policy"
)

// checkConfig shows what the server would read from the same command line.
func (p program) checkConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check-config [FLAGS OF THE SERVER]", Short: "Show the settings and where each comes from",
		Long: "Reads the settings as the server would with the same flags, and starts nothing. Mistakes are all named at once, with\n" +
			"exit code 2. Secrets are hidden. From is default, the config file and line, a variable or a flag. Other flags are those\n" +
			"of dagster-authkit --help.",
		Example: "  dagster-authkit check-config --config authkit.yaml\n" +
			"  dagster-authkit check-config --config authkit.yaml -f pipeline.py -p 80 --output json",
	}
	databaseFlag(cmd)
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		words := []string{"--output"}
		for _, s := range config.Settings() {
			if s.Flag != "" {
				words = append(words, "--"+s.Flag)
			}
		}
		return words, cobra.ShellCompDirectiveDefault
	}
	likeServer(cmd, p.showConfig)
	return cmd
}

func (p program) showConfig(_ *cobra.Command, format string, given arguments) error {
	source := p.source(given.flags)
	source.ChildArgs = given.child
	cfg, values, warnings, err := config.Inspect(source)
	if err != nil {
		return settingsError{err}
	}
	if _, err := policy.NewRoles(cfg.Roles); err != nil {
		return settingsError{err}
	}
	for _, warning := range append(warnings, unknownPermissions(cfg)...) {
		p.say("%s: warning: %s", programName, warning)
	}
	rows := make([][]string, len(values))
	for i, value := range values {
		rows[i] = []string{value.Name, orDash(value.Text), value.From}
	}
	return p.show(format, values, []string{"SETTING", "VALUE", "FROM"}, rows)
}

// unknownPermissions warns of those that no tested Dagster has. Only the running one knows, and is asked at the start.
func unknownPermissions(cfg config.Config) []config.Warning {
	var warnings []config.Warning
	table := policy.Table()
	roles, err := policy.NewRoles(cfg.Roles)
	if err != nil {
		return nil
	}
	for _, role := range roles.Names() {
		for _, permission := range cfg.Roles[role] {
			if !slices.ContainsFunc(table, func(row policy.Row) bool { return row.Permission == permission }) {
				warnings = append(warnings, config.Warning("role "+string(role)+": "+string(permission)+
					" is no permission of the Dagsters that were tested: see dagster-authkit list-permissions"))
			}
		}
	}
	return warnings
}
