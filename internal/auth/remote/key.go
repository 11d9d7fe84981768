package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	// leastRSA is in bits (NIST SP 800-131A: shorter keys are disallowed).
	leastRSA = 2048
	// MostKeys bounds those that are looked at. Entra ID has some ten.
	MostKeys = 100
)

// Algorithms are those of public keys alone: with a shared secret, whoever can verify can sign.
var Algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Keys reads the key set at an address (RFC 7517, section 5) and gives the keys that can be used, of which there is at least one.
func Keys(ctx context.Context, client *http.Client, address string) ([]jose.JSONWebKey, error) {
	body, err := Get(ctx, client, address, "")
	if err != nil {
		return nil, err
	}
	// One by one: a key of a kind that we don't know is no reason to know none.
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return nil, errors.New("the answer is no key set")
	}
	if len(set.Keys) > MostKeys {
		return nil, fmt.Errorf("there are %d keys, more than %d", len(set.Keys), MostKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && usable(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no usable key: AuthKit takes RSA keys of 2048 bits or more, and those of elliptic curves")
	}
	return keys, nil
}

// usable says whether signatures may be verified by a key of a provider's set: it is public, meant for signatures, and long
// enough.
func usable(key jose.JSONWebKey) bool {
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
