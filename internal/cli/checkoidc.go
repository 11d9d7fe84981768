package cli

import (
	"crypto/rand"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/app"
	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/config"
)

// checkOIDC reads the server's own settings and asks the providers what the server would ask them.
func (p program) checkOIDC() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check-oidc [FLAGS OF THE SERVER]", Short: "Say step by step whether signing in by OpenID Connect will work",
		Long: "Reads the settings as the server would, asks each provider for its description and keys, tries the client secret with a\n" +
			"code that does not exist, and says which addresses to register there. Nobody is signed in and no secret is shown.\n" +
			"The exit code is 0 when all of it works, 1 when something does not, and 2 for mistakes in the settings.",
		Example: "  dagster-authkit check-oidc --config authkit.yaml\n  dagster-authkit check-oidc --oidc-preset google",
	}
	likeServer(cmd, p.askProviders)
	return cmd
}

func (p program) askProviders(cmd *cobra.Command, format string, given arguments) error {
	source := p.source(given.flags)
	source.ChildArgs = given.child
	cfg, err := p.checked(source, config.BackendOIDC)
	if err != nil {
		return err
	}
	providers, err := app.NewProviders(cfg.Config, cfg.roles, []byte(rand.Text()+rand.Text()), nil) // nothing is sealed here
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
