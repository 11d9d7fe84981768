package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// argonParams are argon2id's costs: memory in KiB, passes, lanes.
type argonParams struct {
	memory, passes uint32
	lanes          uint8
}

// currentParams are the least that the OWASP Password Storage Cheat Sheet allows for argon2id: 19 MiB, 2 passes, 1 lane.
var currentParams = argonParams{memory: 19456, passes: 2, lanes: 1}

const (
	saltBytes = 16 // RFC 9106, 3.1
	keyBytes  = 32
)

// The most that a stored hash may ask for. A hash that somebody put into the database must not cost a sign-in more than
// 64 MiB and some tenths of a second; RFC 9106's second choice (64 MiB, 3 passes, 4 lanes) is within.
const (
	maxMemory = 64 * 1024 // KiB
	maxPasses = 10
	maxLanes  = 4
	maxField  = 64 // bytes of salt or key
)

// argonHash is a hash in parts.
type argonHash struct {
	params argonParams
	salt   []byte
	key    []byte
}

// deriveArgon2id is the work itself.
func deriveArgon2id(password, salt []byte, p argonParams, length int) []byte {
	return argon2.IDKey(password, salt, p.passes, p.memory, p.lanes, uint32(length)) //nolint:gosec // length is at most maxField
}

// newSalt cannot fail: since Go 1.24 crypto/rand ends the program when the system has no randomness.
func newSalt() []byte {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt)
	return salt
}

// String writes the hash in the PHC string format.
func (h argonHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.params.memory, h.params.passes, h.params.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

// parseArgon2id reads what String writes, and nothing else: what is not written back the same is refused.
func parseArgon2id(text string) (argonHash, error) {
	var h argonHash
	var version int
	// A field of a longer hash than any that is allowed need not be read to its end.
	if len(text) > 256 {
		return h, errors.New("argon2id hash: too long")
	}
	fields := strings.Split(text, "$")
	if len(fields) != 6 {
		return h, errors.New("argon2id hash: not in six parts")
	}
	if _, err := fmt.Sscanf(fields[2]+" "+fields[3], "v=%d m=%d,t=%d,p=%d", &version, &h.params.memory, &h.params.passes, &h.params.lanes); err != nil {
		return h, fmt.Errorf("argon2id hash: read its parameters: %w", err)
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(fields[4]); err != nil {
		return h, fmt.Errorf("argon2id hash: read its salt: %w", err)
	}
	if h.key, err = base64.RawStdEncoding.Strict().DecodeString(fields[5]); err != nil {
		return h, fmt.Errorf("argon2id hash: read its key: %w", err)
	}
	if !h.params.allowed() || len(h.salt) < 8 || len(h.salt) > maxField || len(h.key) < 16 || len(h.key) > maxField {
		return h, errors.New("argon2id hash: its parameters are out of bounds")
	}
	if h.String() != text {
		return h, errors.New("argon2id hash: not written as it should be")
	}
	return h, nil
}

func (p argonParams) allowed() bool {
	return p.passes >= 1 && p.passes <= maxPasses && p.lanes >= 1 && p.lanes <= maxLanes &&
		p.memory >= 8*uint32(p.lanes) && p.memory <= maxMemory
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
