package app

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretSize is in bytes: as many as the HMAC-SHA-256 that it feeds can use.
const secretSize = 32

// secretBeside returns the secret that is kept beside the database, and makes it at the first start. Parallel starts end
// up with one and the same: only one of them can link its file to the name.
func secretBeside(database string) (string, error) {
	path := secretPath(database)
	secret, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	fresh := make([]byte, secretSize)
	if _, err := rand.Read(fresh); err != nil {
		return "", fmt.Errorf("making a secret: %w", err)
	}
	if err := writeOnce(path, base64.StdEncoding.EncodeToString(fresh)+"\n"); err != nil {
		return "", fmt.Errorf("keeping a secret in %s: %w: make its folder writable, or set DAGSTER_AUTH_SECRET_KEY", path, err)
	}
	return readSecret(path)
}

func secretPath(database string) string { return database + ".secret" }

func readSecret(path string) (string, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the path comes from the operator's own configuration
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	secret := strings.TrimSpace(string(raw))
	if len(secret) < secretSize {
		return "", fmt.Errorf("the secret in %s is shorter than %d characters: delete the file and everyone signs in anew", path, secretSize)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return "", fmt.Errorf("making %s readable by its owner alone: %w", path, err)
	}
	return secret, nil
}

// writeOnce makes the file whole or not at all, and leaves one that is there already as it is.
func writeOnce(path, content string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // CreateTemp's mode is 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.WriteString(content)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err != nil {
		return err
	}
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
