package app

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeptFrom(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("files can be given to another user by root only")
	}
	const nobody = 65534 // Debian's "nobody"
	for name, test := range map[string]struct {
		prepare func(dir, database string) error
		refused bool
	}{
		"ours alone":                  {func(dir, _ string) error { return os.Chmod(dir, 0o700) }, false},
		"its folder":                  {func(dir, _ string) error { return os.Chown(dir, nobody, nobody) }, true},
		"a folder that all may write": {func(dir, _ string) error { return os.Chmod(dir, 0o777) }, true},
		"its database":                {func(_, database string) error { return os.Chown(database, nobody, nobody) }, true},
		"its secret": {func(_, database string) error {
			if err := os.WriteFile(secretPath(database), nil, 0o600); err != nil {
				return err
			}
			return os.Chown(secretPath(database), nobody, nobody)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			database := filepath.Join(dir, "auth.db")
			if err := os.WriteFile(database, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := test.prepare(dir, database); err != nil {
				t.Fatal(err)
			}
			if err := keptFrom("nobody", database); (err != nil) != test.refused {
				t.Errorf("got %v, want refused %t", err, test.refused)
			}
		})
	}
}
