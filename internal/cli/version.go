package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildFacts say which AuthKit this is.
type buildFacts struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// build prefers the version that the linker was given. The commit is what the Go tool found in the checkout, and empty
// when it was built from an archive.
func (p program) build() buildFacts {
	facts := buildFacts{Version: p.version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return facts
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			facts.Commit = setting.Value
		}
	}
	if facts.Version == "" {
		facts.Version = info.Main.Version
	}
	if facts.Version == "" {
		facts.Version = "(devel)"
	}
	return facts
}

func (p program) showVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Show the version", Args: exactly(),
		Example: "  dagster-authkit version\n  dagster-authkit version --output json",
	}
	format := outputFlag(cmd)
	databaseFlag(cmd) // taken as everywhere
	cmd.RunE = work(func(*cobra.Command, []string) error {
		facts := p.build()
		if *format == formatJSON {
			return p.show(formatJSON, facts, nil, nil)
		}
		line := fmt.Sprintf("%s %s", programName, facts.Version)
		if facts.Commit != "" {
			line += " (" + facts.Commit + ")"
		}
		return p.show(*format, nil, []string{line + ", " + facts.Go}, nil)
	})
	return cmd
}
