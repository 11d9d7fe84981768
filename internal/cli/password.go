package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/accounts"
)

// longestPassword bounds what is read from stdin, in bytes. The rule is 1,024 characters; this is only against endless input.
const longestPassword = 1 << 16

var passwordWays = [...]string{"password", "password-stdin", "generate-password"}

// passwordFlags are the ways to give a new password. None of them: it is asked for on a terminal.
type passwordFlags struct {
	given    string
	stdin    bool
	generate bool
	cmd      *cobra.Command
}

func addPasswordFlags(cmd *cobra.Command) *passwordFlags {
	f := &passwordFlags{cmd: cmd}
	cmd.Flags().BoolVar(&f.stdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&f.generate, "generate-password", false, "make a password and print it once on standard output")
	cmd.Flags().StringVar(&f.given, "password", "", "the password itself; not safe, other users of this machine can see it")
	return f
}

// way names the flag that was given, if any.
func (f *passwordFlags) way() string {
	for _, name := range passwordWays {
		if f.cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

// check refuses more than one way at once.
func (f *passwordFlags) check() error {
	ways := 0
	for _, name := range passwordWays {
		if f.cmd.Flags().Changed(name) {
			ways++
		}
	}
	if ways > 1 {
		return usageError{errors.New("give only one of --password, --password-stdin and --generate-password")}
	}
	return nil
}

// readPassword gets the password in the way that was chosen. Made is true for one that nobody knows yet.
func (p program) readPassword(ctx context.Context, f *passwordFlags) (password string, made bool, err error) {
	switch {
	case f.cmd.Flags().Changed("password"):
		p.say("%s: warning: --password shows the password to every user of this machine and to the shell's history: use --password-stdin", programName)
		return f.given, false, nil
	case f.stdin:
		password, err = p.passwordFromStdin()
		return password, false, err
	case f.generate:
		return accounts.GeneratePassword(), true, nil
	case !p.terminal.interactive():
		return "", false, errors.New("there is no terminal to ask for the password: add --password-stdin or --generate-password")
	}
	password, err = p.askTwice(ctx)
	return password, false, err
}

func (p program) passwordFromStdin() (string, error) {
	text, err := io.ReadAll(io.LimitReader(p.in, longestPassword+1))
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case len(text) > longestPassword:
		return "", errors.New("standard input is too long for a password")
	case password == "":
		return "", errors.New("standard input is empty: write the password to it, as in: printf %s \"$PASSWORD\" | " + programName)
	case strings.ContainsAny(password, "\r\n"):
		return "", errors.New("standard input has more than one line: write the password alone")
	}
	return password, nil
}

func (p program) askTwice(ctx context.Context) (string, error) {
	first, err := p.terminal.askHidden(ctx, "New password: ")
	if err != nil {
		return "", fmt.Errorf("asking for the password: %w", err)
	}
	second, err := p.terminal.askHidden(ctx, "The same again: ")
	if err != nil {
		return "", fmt.Errorf("asking for the password: %w", err)
	}
	if first != second {
		return "", errors.New("the two passwords are not the same: nothing was changed")
	}
	return first, nil
}
