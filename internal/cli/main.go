// Package cli is AuthKit's command line: arguments in, text and an exit code out. The server is the command without a name,
// all others look after the database. Results go to stdout and everything said about them to stderr, so that scripts can
// read the one without the other; the server's stdout holds audit events only.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/app"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/store"
)

// Exit codes of design.md, section 7. The server may also end with its child's.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3 // explain found that the user may not
)

// programName is how AuthKit speaks of itself, by whatever name it was called.
const programName = "dagster-authkit"

// webserverName is the other name that AuthKit answers to: as a link that comes before the real one on PATH.
const webserverName = "dagster-webserver"

// program is what the operating system gives to a run of AuthKit, as values so that tests can give others.
type program struct {
	args       []string // the first is the name that it was called by
	environ    []string
	executable string
	version    string
	terminal   terminal
	in         io.Reader
	out, err   io.Writer
	serve      func(ctx context.Context, o app.Options, atOnce <-chan struct{}) error
}

// Main runs the command that args name and returns the exit code. Version is what the build was given, or empty.
func Main(args []string, version string) int {
	executable, err := os.Executable()
	if err != nil {
		// It is only needed to tell ourselves from dagster-webserver, and the name does nearly as well.
		executable = args[0]
	}
	return program{
		args: args, environ: os.Environ(), executable: executable, version: version,
		terminal: osTerminal{in: os.Stdin, out: os.Stderr}, in: os.Stdin, out: os.Stdout, err: os.Stderr,
		serve: app.Serve,
	}.run()
}

// run picks the command. A command's name is one only as the first argument: in "--use-ssl -m version" it is Dagster's.
func (p program) run() int {
	rest := p.args[1:]
	if filepath.Base(p.args[0]) == webserverName {
		return p.runServer(rest, true)
	}
	root := p.root()
	switch {
	case len(rest) > 0 && isCommand(root, rest[0]):
		return p.runCommand(root, rest)
	case len(rest) > 0 && rest[0] != "" && !strings.HasPrefix(rest[0], "-"):
		return p.usage(unknownCommand(root, rest[0]), programName)
	}
	return p.runServer(rest, false)
}

// runCommand runs one of the commands that look after the database.
func (p program) runCommand(root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var failed workError
	var settings settingsError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errRefused):
		return exitRefused
	case errors.As(err, &settings):
		return p.badSettings(settings.error)
	case errors.As(err, &failed):
		p.complain(failed.error)
		if errors.Is(err, store.ErrNewerSchema) || errors.Is(err, store.ErrPooler) {
			return exitUsage
		}
		return exitFailure
	}
	return p.usage(err, cmd.CommandPath())
}

// workError marks an error of a command that was understood. Every other error of cobra's is one of usage.
type workError struct{ error }

// Unwrap gives the error that was marked.
func (e workError) Unwrap() error { return e.error }

// usageError is bad usage that only the command itself can see.
type usageError struct{ error }

// settingsError joins what is wrong with the settings.
type settingsError struct{ error }

// work turns what a command does into cobra's form, and marks its errors.
func work(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd, args)
		var usage usageError
		var settings settingsError
		if err == nil || errors.As(err, &usage) || errors.As(err, &settings) {
			return err
		}
		return workError{err}
	}
}

// usage says what is wrong with the command line and where its right form stands.
func (p program) usage(err error, command string) int {
	p.complain(fmt.Errorf("%w; see %s --help", err, command))
	return exitUsage
}

// badSettings writes each problem as a line of its own.
func (p program) badSettings(err error) int {
	for problem := range strings.SplitSeq(err.Error(), "\n") {
		p.say("%s: %s", programName, problem)
	}
	return exitUsage
}

// complain writes an error as one line.
func (p program) complain(err error) {
	p.say("%s: %s", programName, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// say writes a line for people to stderr. When even that fails there is nobody left to tell.
func (p program) say(format string, args ...any) {
	_, _ = fmt.Fprintln(p.err, printable(fmt.Sprintf(format, args...)))
}

// source is where the settings of a command come from.
func (p program) source(flags config.Values) config.Source {
	return config.Source{Flags: flags, Environ: p.environ, Executable: p.executable}
}
