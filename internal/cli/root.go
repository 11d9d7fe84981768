package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dagster-authkit/internal/config"
)

// root has the commands. It never runs the server itself: cobra can't tell our flags from dagster-webserver's.
func (p program) root() *cobra.Command {
	root := &cobra.Command{
		Use: programName, Short: "Sign-in, roles and an audit trail for dagster-webserver",
		SilenceErrors: true, SilenceUsage: true, Args: cobra.ArbitraryArgs,
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	// These are only for the shell's completion; split reads them.
	root.Flags().Bool("help", false, "show this help")
	for _, s := range config.Settings() {
		switch {
		case s.Flag == "":
		case s.Switch:
			root.Flags().BoolP(s.Flag, s.Short, false, s.Meaning)
		default:
			root.Flags().StringP(s.Flag, s.Short, s.Default, s.Meaning)
		}
	}
	root.AddCommand(p.databaseCommands()...)
	root.AddCommand(p.listPermissions(), p.explain(), p.checkConfig(), p.checkLDAP(), p.checkOIDC(), p.showVersion())
	for _, cmd := range root.Commands() {
		if cmd.ValidArgsFunction == nil {
			// No argument of ours is a file, which the shell would offer otherwise.
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	root.SetHelpCommand(p.help(root))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("completion")
	defaultHelp := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root {
			p.serverHelp(root)
			return
		}
		defaultHelp(cmd, args)
	})
	return root
}

// help replaces cobra's own, which answers an unknown topic with exit code 0.
func (p program) help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Show what a command does", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, cmd := range root.Commands() {
				names = append(names, cmd.Name())
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: work(func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return root.Help()
			}
			cmd, _, err := root.Find(args)
			if err != nil || cmd == root {
				return usageError{unknownCommand(root, args[0])}
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		}),
	}
}

// isCommand reports whether name is a command, the hidden ones for completion included.
func isCommand(root *cobra.Command, name string) bool {
	if name == cobra.ShellCompRequestCmd || name == cobra.ShellCompNoDescRequestCmd {
		return true
	}
	for _, cmd := range root.Commands() {
		if cmd.Name() == name {
			return true
		}
	}
	return false
}

func unknownCommand(root *cobra.Command, name string) error {
	message := fmt.Sprintf("unknown command %q", name)
	root.SuggestionsMinimumDistance = 2
	if similar := root.SuggestionsFor(name); len(similar) > 0 {
		message += ": did you mean " + strings.Join(similar, " or ") + "?"
	}
	return errors.New(message)
}

// exactly checks the arguments of a command with words that name them.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

const usageText = `Usage:
  dagster-authkit [FLAGS] [FLAGS OF DAGSTER-WEBSERVER]
  dagster-authkit COMMAND

Starts dagster-webserver where nobody else can reach it, and is the only door to it: people sign in,
do what their role allows, and the audit trail says who did what.

Examples:
  dagster-authkit add-user alice --admin
  dagster-authkit -f pipeline.py -h 0.0.0.0 -p 3000
  dagster-authkit -w workspace.yaml -l /dagster
  dagster-authkit --upstream https://dagster.internal:3000
  dagster-authkit --config authkit.yaml -f pipeline.py

Every flag that is not listed here is dagster-webserver's and goes to it as it is (see dagster-webserver --help);
all that stands after -- does too.
`

// serverHelp prints what dagster-authkit itself does: cobra's template knows nothing of the environment.
func (p program) serverHelp(root *cobra.Command) {
	var b strings.Builder
	b.WriteString(usageText + "\nFlags:\n")
	for _, s := range config.Settings() {
		if s.Flag != "" {
			paragraph(&b, flagTitle(s), s.Meaning+withDefault(s)+" Environment: "+strings.Join(variables(s), ", else ")+".")
		}
	}
	paragraph(&b, "    --help", "Show this.")
	paragraph(&b, "    --version", "Show the version.")
	b.WriteString("\nCommands (dagster-authkit COMMAND --help):\n")
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() {
			fmt.Fprintf(&b, "  %-18s %s\n", cmd.Name(), cmd.Short)
		}
	}
	b.WriteString("\nA command's NAME is a user's name or, where several backends have it, the ID that list-users shows (ldap:5b0c...).\n")
	b.WriteString("\nEnvironment (a flag is before a variable, and that before the config file; * also as a file that NAME_FILE names):\n")
	for _, s := range config.Settings() {
		if s.Flag == "" {
			paragraph(&b, strings.Join(variables(s), ", "), s.Meaning+withDefault(s))
		}
	}
	_, _ = fmt.Fprint(p.out, b.String())
}

func flagTitle(s config.Setting) string {
	title := "    --" + s.Flag
	if s.Short != "" {
		title = "-" + s.Short + ", --" + s.Flag
	}
	if !s.Switch {
		title += " VALUE"
	}
	return title
}

func variables(s config.Setting) []string {
	names := append([]string{s.Env}, s.Others...)
	if s.Secret {
		names[0] += "*"
	}
	return names
}

func withDefault(s config.Setting) string {
	if s.Default == "" || s.Switch {
		return ""
	}
	return " Default: " + s.Default + "."
}

// paragraph writes a title and, indented below it, text broken at 96 columns.
func paragraph(b *strings.Builder, title, text string) {
	const indent, width = "          ", 96
	b.WriteString("  " + title + "\n")
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) >= width && strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
