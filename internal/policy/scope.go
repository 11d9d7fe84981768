package policy

import (
	"slices"

	"dagster-authkit/internal/identity"
)

// InLocation reports whether a grant in a code location can give the permission: whether a code location is looked at for
// any mutation that needs it. Those of the whole deployment are held everywhere or not at all.
func InLocation(permission identity.Permission) bool {
	for field, permissions := range mutations {
		if _, located := finders[field]; located && slices.Contains(permissions, permission) {
			return true
		}
	}
	return false
}
