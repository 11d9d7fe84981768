// Package token lets programs in. Of a token that New makes only the SHA-256 is stored, with an owner and what of the owner's
// rights it gives; a Keeper looks up whom a presented one stands for, and Static is the one token that the environment may
// hold. The server asks both before it looks for a session; accounts makes tokens.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"strings"
)

// Prefix begins every token, so that people and scanners know what they found.
const Prefix = "dak_"

// Pattern finds tokens in any text, for secret scanners. Valid tells a token from what only looks like one.
const Pattern = `\bdak_[0-9A-Za-z]{49}\b`

const (
	// bodySize letters of 62 are 256.03 bits.
	bodySize = 43
	// sumSize letters hold a CRC-32.
	sumSize = 6
	size    = len(Prefix) + bodySize + sumSize
)

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Hash is what is stored of a token.
type Hash [sha256.Size]byte

// New makes a token of 256 random bits.
func New() (text string, hash Hash) {
	body := make([]byte, 0, bodySize)
	random := make([]byte, 2*bodySize)
	for len(body) < bodySize {
		_, _ = rand.Read(random) // never fails: without randomness the program ends
		for _, b := range random {
			// 248 is the greatest multiple of 62 that a byte holds: above it some letters would come more often.
			if b < 248 && len(body) < bodySize {
				body = append(body, letters[b%62])
			}
		}
	}
	text = Prefix + string(body)
	text += checksum(text)
	return text, Sum(text)
}

// Valid reports whether the text is a token as New makes them. Typing errors and cut ends are found out without a database.
func Valid(text string) bool {
	if len(text) != size || !strings.HasPrefix(text, Prefix) {
		return false
	}
	for _, c := range []byte(text[len(Prefix):]) {
		if strings.IndexByte(letters, c) < 0 {
			return false
		}
	}
	return checksum(text[:size-sumSize]) == text[size-sumSize:]
}

// Sum is the hash of a token. A fast one is right: nobody can try 2^256 tokens.
func Sum(text string) Hash { return sha256.Sum256([]byte(text)) }

// checksum is the CRC-32 (IEEE) of the text in base 62, most significant letter first.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var digits [sumSize]byte
	for i := range digits {
		digits[sumSize-1-i] = letters[sum%62]
		sum /= 62
	}
	return string(digits[:])
}
