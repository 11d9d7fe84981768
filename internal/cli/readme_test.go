package cli

import (
	"os"
	"strings"
	"testing"

	"dagster-authkit/internal/config"
)

// TestReadmeHasEverySetting: the table in the README is the one that --help is made from.
func TestReadmeHasEverySetting(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), strings.TrimSpace(config.Markdown())) {
		t.Errorf("the README's table of settings is not the program's; it should be:\n%s", config.Markdown())
	}
}
