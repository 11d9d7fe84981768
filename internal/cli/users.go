package cli

import "github.com/spf13/cobra"

func (p program) databaseCommands() []*cobra.Command { return nil }
