package cli

import (
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"dagster-authkit/internal/app"
	"dagster-authkit/internal/auth/ldap"
	"dagster-authkit/internal/config"
)

// checkLDAP tries the directory's settings without a server.
func (p program) checkLDAP() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check-ldap [--user NAME]", Short: "Try the directory, step by step", Args: exactly(),
		Long: "Reads the settings as the server would, and says of each step of a sign-in by LDAP whether it works: finding each server,\n" +
			"connecting, TLS, the searching account, people. With --user also the person's entry, groups, and the role that follows.\n" +
			"The password is tried only when it is asked for. No secret is shown. Exit code 0: all of it works; 1: it does not.",
		Example: "  dagster-authkit check-ldap --config authkit.yaml\n" +
			"  dagster-authkit check-ldap --user ada --ask-password",
	}
	var question ldap.Question
	var ask, stdin bool
	databaseFlag(cmd)
	cmd.Flags().StringVar(&question.Username, "user", "", "what the person types as their name")
	complete(cmd, "user")
	cmd.Flags().BoolVar(&ask, "ask-password", false, "ask for the person's password on the terminal, and try it")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the person's password from standard input, and try it")
	cmd.RunE = work(func(cmd *cobra.Command, _ []string) error {
		if (ask || stdin) && question.Username == "" {
			return usageError{errors.New("a password belongs to somebody: add --user")}
		}
		directory, err := p.directory(cmd)
		if err != nil {
			return err
		}
		switch {
		case stdin:
			question.Password, err = p.passwordFromStdin()
		case ask && !p.terminal.interactive():
			err = errors.New("there is no terminal to ask for the password: use --password-stdin")
		case ask:
			question.Password, err = p.terminal.askHidden(cmd.Context(), "Password of "+printable(question.Username)+": ")
		}
		if err != nil {
			return err
		}
		if !directory.Check(cmd.Context(), question, p.sayStep) {
			return errCheckFailed
		}
		return nil
	})
	return cmd
}

// directory is the server's backend, made from the same settings.
func (p program) directory(cmd *cobra.Command) (*ldap.Backend, error) {
	flags := config.Values{}
	if flag := cmd.Flags().Lookup("config"); flag.Changed {
		flags["config"] = flag.Value.String()
	}
	cfg, err := p.checked(p.source(flags), config.BackendLDAP)
	if err != nil {
		return nil, err
	}
	log := zerolog.New(zerolog.ConsoleWriter{Out: p.err, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}}).Level(zerolog.InfoLevel)
	return ldap.New(app.LDAPOptions(cfg.Config, cfg.roles, log))
}

// sayStep is one line of the report.
func (p program) sayStep(s ldap.Step) {
	state := "ok    "
	if !s.OK {
		state = "FAILED"
	}
	// When stdout fails there is nobody left to tell.
	_, _ = fmt.Fprintln(p.out, printable(state+"  "+s.What+": "+s.Detail))
}
