package auth

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// The sorts of hashes that the Python AuthKit 1.2.0 made (dagster_authkit/auth/security.py). bcrypt is an extra there:
// without it, the program falls back to PBKDF2. A bcrypt sort is the start of the hash, cost included: "$2b$12$".
const (
	sortPBKDF2 = "pbkdf2:"
	sortLength = len("$2b$12$")
	// pbkdf2Rounds is that program's; its hashes do not say it.
	pbkdf2Rounds = 100_000
	// maxBcryptCost bounds what a stored hash may ask for: 16 takes some seconds, 31 would take a day.
	maxBcryptCost = 16
)

// bcryptTail makes a well-formed hash of a bcrypt sort, which no password has: bcrypt gives 23 bytes, and this is not
// their encoding by chance.
const bcryptTail = "......................" + "..............................."

// legacySort is the sort of a hash of the Python AuthKit; false for all else, and for costs that are out of bounds.
func legacySort(hash string) (string, bool) {
	if strings.HasPrefix(hash, sortPBKDF2) {
		return sortPBKDF2, true
	}
	if len(hash) < sortLength {
		return "", false
	}
	sort := hash[:sortLength]
	switch sort[:4] {
	case "$2a$", "$2b$", "$2y$":
	default:
		return "", false
	}
	cost, err := strconv.ParseUint(sort[4:6], 10, 8) // takes no sign
	if err != nil || sort[6] != '$' || cost < uint64(bcrypt.MinCost) || cost > maxBcryptCost {
		return "", false
	}
	return sort, true
}

// prehash is what that program gives to bcrypt instead of the password: bcrypt looks at 72 bytes at most.
func prehash(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return []byte(hex.EncodeToString(sum[:]))
}

// derivePBKDF2 is the work itself.
func derivePBKDF2(password string, salt []byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, password, salt, pbkdf2Rounds, sha256.Size)
}

// parsePBKDF2 reads "pbkdf2:sha256:<salt>:<key>", both in hex.
func parsePBKDF2(hash string) (salt, key []byte, err error) {
	parts := strings.Split(hash, ":")
	if len(hash) > 256 || len(parts) != 4 || parts[1] != "sha256" {
		return nil, nil, errors.New("pbkdf2 hash: not in four parts")
	}
	if salt, err = hex.DecodeString(parts[2]); err != nil {
		return nil, nil, fmt.Errorf("pbkdf2 hash: read its salt: %w", err)
	}
	if key, err = hex.DecodeString(parts[3]); err != nil {
		return nil, nil, fmt.Errorf("pbkdf2 hash: read its key: %w", err)
	}
	if len(salt) == 0 || len(key) != sha256.Size {
		return nil, nil, errors.New("pbkdf2 hash: a part has the wrong length")
	}
	return salt, key, nil
}
