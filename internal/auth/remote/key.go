package remote

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"

	"github.com/go-jose/go-jose/v4"
)

// leastRSA is in bits (NIST SP 800-131A: shorter keys are disallowed).
const leastRSA = 2048

// UsableKey says whether signatures may be verified by a key of a provider's set: it is public, meant for signatures, and long
// enough.
func UsableKey(key jose.JSONWebKey) bool {
	if !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= leastRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}
