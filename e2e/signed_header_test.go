package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dagster-authkit/e2e/jwt"
)

// TestSignedHeader: a signed word is taken from anywhere, a plain one beside it from nobody, by the effect in Dagster's storage.
func TestSignedHeader(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256"}}}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(keys.Close)
	k := start(t, options{noUsers: true, env: []string{
		"DAGSTER_AUTH_BACKEND=header", "DAGSTER_AUTH_PROXY_PRESET=pomerium", "DAGSTER_AUTH_PROXY_GROUP_PATTERN={role}",
		"DAGSTER_AUTH_PROXY_JWT_ISSUER=dagster.example.com", "DAGSTER_AUTH_PROXY_JWT_AUDIENCE=dagster.example.com", "DAGSTER_AUTH_PROXY_JWT_KEYS_URL=" + keys.URL,
	}})
	token := func(by *ecdsa.PrivateKey, change func(claims map[string]any)) string {
		claims := map[string]any{
			"iss": "dagster.example.com", "aud": "dagster.example.com", "sub": "4711", "email": "ed@example.com", "groups": []string{"staff", "editors"},
			"exp": time.Now().Add(5 * time.Minute).Unix(), "iat": time.Now().Unix(),
		}
		if change != nil {
			change(claims)
		}
		return jwt.Sign(t, by, jose.ES256, "1", claims)
	}
	try := func(name, token string, more ...string) {
		document, err := json.Marshal(map[string]string{"query": mutationFor(name)})
		if err != nil {
			t.Fatal(err)
		}
		headers := append([]string{"Content-Type", "application/json", "X-Pomerium-Jwt-Assertion", token}, more...)
		if resp, body := k.anonymous().do("POST", "/graphql", string(document), headers...); k.hasPartition(name) != (resp.StatusCode == http.StatusOK && strings.Contains(body, "Success")) {
			t.Errorf("%s: got %d %s, partition made: %t", name, resp.StatusCode, body, k.hasPartition(name))
		}
	}
	try("another-key", token(stranger, nil))
	try("another-audience", token(key, func(c map[string]any) { c["aud"] = "other.example.com" }))
	try("expired", token(key, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }))
	try("no-token", "", "Remote-User", "ada", "Remote-Groups", "admins")
	try("a-viewers", token(key, func(c map[string]any) { c["groups"] = []string{"viewers"} }), "Remote-Groups", "admins")
	if made := k.partitions(); len(made) > 0 {
		t.Errorf("the partitions %v were made, want none", made)
	}
	try("control", token(key, nil))
	if !k.hasPartition("control") {
		t.Error("the control made no partition")
	}
	if got := k.anonymous().me("X-Pomerium-Jwt-Assertion", token(key, nil)); got != "ed@example.com editor header" {
		t.Errorf("who am I: got %q", got)
	}
	if list := k.cli("", "list-users"); !strings.Contains(list, "ed@example.com") {
		t.Errorf("list-users does not know ed:\n%s", list)
	}
	k.cli("", "disable-user", "ed@example.com")
	if got := k.anonymous().me("X-Pomerium-Jwt-Assertion", token(key, nil)); got != "nobody" {
		t.Errorf("disabled: got %q, want nobody", got)
	}
	if strings.Contains(k.stdout.String()+k.stderr.String(), "eyJ") {
		t.Error("a token is in the log or in the trail")
	}
}
