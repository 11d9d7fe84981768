// Package jwt signs claims for tests, as an identity provider or a proxy that signs what it says does.
package jwt

import (
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Sign makes a token in compact form of the type JWT, with the key's ID in its header unless that is empty.
func Sign(t testing.TB, key any, algorithm jose.SignatureAlgorithm, id string, claims any) string {
	t.Helper()
	header := map[string]any{"typ": "JWT"}
	if id != "" {
		header["kid"] = id
	}
	return SignWith(t, key, algorithm, header, claims)
}

// SignWith makes a token with these in its header, beside the algorithm and the ID of a key that is a jose.JSONWebKey.
func SignWith(t testing.TB, key any, algorithm jose.SignatureAlgorithm, header map[string]any, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	for name, value := range header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
