package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/config"
	"dagster-authkit/internal/policy"
)

// errCheckFailed says nothing more: what failed was shown.
var errCheckFailed = errors.New("a check failed: see above")

// likeServer gives a command the server's own command line, so that it is read as the server would.
func likeServer(cmd *cobra.Command, run func(cmd *cobra.Command, format string, given arguments) error) {
	format := outputFlag(cmd)
	cmd.Flags().Bool("help", false, "show this help")
	cmd.DisableFlagParsing = true // split reads them, as for the server
	cmd.RunE = work(func(cmd *cobra.Command, args []string) error {
		given, err := split(args, append(config.Settings(), config.Setting{Flag: "output", Short: "o"}), false)
		if err != nil {
			return usageError{err}
		}
		if given.help {
			return cmd.Help()
		}
		if output, ok := given.flags["output"]; ok {
			*format = output
		}
		return run(cmd, *format, given)
	})
}

// checked reads all settings, as the server would, for a command that tries one of the backends.
func (p program) checked(source config.Source, backend string) (shared, error) {
	cfg, warnings, err := config.Load(source)
	if err != nil {
		return shared{}, settingsError{err}
	}
	for _, warning := range warnings {
		p.say("%s: warning: %s", programName, warning)
	}
	if !cfg.Has(backend) {
		return shared{}, settingsError{fmt.Errorf("%s is not among the backends: set DAGSTER_AUTH_BACKEND=%s", backend, backend)}
	}
	roles, err := policy.NewRoles(cfg.Roles)
	if err != nil {
		return shared{}, settingsError{err}
	}
	return shared{cfg, roles}, nil
}
