package policy

import "testing"

func TestInLocation(t *testing.T) {
	t.Parallel()
	// Dagster's own list is LOCATION_SCOPED_PERMISSIONS in dagster/_core/workspace/permissions.py.
	for _, row := range Table() {
		deployment := map[string]bool{"reload_workspace": true, "toggle_auto_materialize": true, "edit_concurrency_limit": true}[string(row.Permission)]
		if row.Permission != "" && InLocation(row.Permission) == deployment {
			t.Errorf("%s: got %v, want %v", row.Permission, deployment, !deployment)
		}
	}
	if InLocation("unknown") {
		t.Error("an unknown permission can be granted")
	}
}
