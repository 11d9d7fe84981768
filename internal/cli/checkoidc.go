package cli

import (
	"crypto/rand"
	"errors"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/app"
	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/policy"
)

// errCheckFailed says nothing more: what failed was shown.
var errCheckFailed = errors.New("a check failed: see above")

// checkOIDC reads the server's own settings and asks the providers what the server would ask them.
func (p program) checkOIDC() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check-oidc [FLAGS OF THE SERVER]", Short: "Say step by step whether signing in by OpenID Connect will work",
		Long: "Reads the settings as the server would, asks each provider for its description and keys, tries the client secret with a\n" +
			"code that does not exist, and says which addresses to register there. Nobody is signed in and no secret is shown.\n" +
			"The exit code is 0 when all of it works, 1 when something does not, and 2 for mistakes in the settings.",
		Example:            "  dagster-authkit check-oidc --config authkit.yaml\n  dagster-authkit check-oidc --oidc-preset google",
		DisableFlagParsing: true, // split reads them, as for the server
	}
	format := outputFlag(cmd)
	cmd.Flags().Bool("help", false, "show this help")
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
		return p.askProviders(cmd, *format, given)
	})
	return cmd
}

func (p program) askProviders(cmd *cobra.Command, format string, given arguments) error {
	source := p.source(given.flags)
	source.ChildArgs = given.child
	cfg, warnings, err := config.Load(source)
	if err != nil {
		return settingsError{err}
	}
	for _, warning := range warnings {
		p.say("%s: warning: %s", programName, warning)
	}
	if !cfg.Has(config.BackendOIDC) {
		return settingsError{errors.New("oidc is not among the backends: set DAGSTER_AUTH_BACKEND=oidc")}
	}
	roles, err := policy.NewRoles(cfg.Roles)
	if err != nil {
		return settingsError{err}
	}
	providers, err := app.NewProviders(cfg, roles, []byte(rand.Text()+rand.Text())) // nothing is sealed here
	if err != nil {
		return settingsError{err}
	}
	var steps []oidc.Step
	ok := providers.Check(cmd.Context(), func(step oidc.Step) { steps = append(steps, step) })
	rows := make([][]string, len(steps))
	for i, step := range steps {
		word := "ok"
		if !step.OK {
			word = "FAILED"
		}
		rows[i] = []string{step.Provider, step.Name, word, step.Text}
	}
	if err := p.show(format, steps, []string{"PROVIDER", "STEP", "RESULT", "DETAIL"}, rows); err != nil {
		return err
	}
	if !ok {
		return errCheckFailed
	}
	return nil
}
