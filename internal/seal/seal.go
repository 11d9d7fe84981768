// Package seal makes ciphers out of the server's secret key, one for each purpose. session seals what it keeps of providers in
// the database by one, and auth/oidc what it gives browsers to keep.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// New gives AES-256-GCM with random nonces, by a key that is derived for the purpose: what is sealed for one opens for no other.
// Another text for a purpose makes all that was sealed for it unreadable.
func New(secret []byte, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key for %s: %w", purpose, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make the cipher for %s: %w", purpose, err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
