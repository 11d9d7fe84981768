package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dagster-authkit/internal/config"
	"dagster-authkit/internal/policy"
)

// TestProtectedTagsByDefault: the two lists are one, though neither package may import the other.
func TestProtectedTagsByDefault(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(config.Source{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy.DefaultProtectedTags(), cfg.ProtectedTags); diff != "" {
		t.Errorf("the setting's default is not the policy's (-want +got):\n%s", diff)
	}
}
