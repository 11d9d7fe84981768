package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// formats are the values of --output.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// outputFlag adds --output to a command.
func outputFlag(cmd *cobra.Command) *string {
	format := cmd.Flags().StringP("output", "o", formatTable, "how to print: table or json")
	complete(cmd, "output", formatTable, formatJSON)
	return format
}

// complete offers words for a flag's value.
func complete(cmd *cobra.Command, flag string, words ...string) {
	// The one error is a flag that does not exist, which the tests of completion would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// show prints rows as a table under a header, or value as JSON.
func (p program) show(format string, value any, header []string, rows [][]string) error {
	switch format {
	case formatJSON:
		encoder := json.NewEncoder(p.out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case formatTable:
		return table(p.out, append([][]string{header}, rows...))
	}
	return usageError{fmt.Errorf("--output %q is neither table nor json", format)}
}

func table(out io.Writer, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printable keeps what others wrote (a browser's name, an email address) from moving the cursor or the columns.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// moment is how tables print a time; the zero time is never.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
