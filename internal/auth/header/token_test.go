package header

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dagster-authkit/e2e/jwt"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
)

// keyServer is a real endpoint of a key set, with real keys.
type keyServer struct {
	*httptest.Server
	keys  []jose.JSONWebKey
	asked atomic.Int32
	down  atomic.Bool
}

// The keys of the tests by ID; making RSA keys takes long.
var (
	rsaKey   = newRSA(2048)
	smallKey = newRSA(1024)
	ecKey    = newEC(elliptic.P256())
	otherKey = newEC(elliptic.P256())
	bigKey   = newEC(elliptic.P384())
	_, edKey = must2(ed25519.GenerateKey(rand.Reader))
)

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func serveKeys(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{keys: []jose.JSONWebKey{
		{Key: rsaKey.Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
		{Key: smallKey.Public(), KeyID: "small", Algorithm: "RS256"},
		{Key: ecKey.Public(), KeyID: "ec", Algorithm: "ES256"},
		{Key: bigKey.Public(), KeyID: "big"},
		{Key: edKey.Public(), KeyID: "ed"},
		{Key: ecKey.Public(), KeyID: "secrets", Use: "enc"},
		{Key: ecKey.Public(), KeyID: "twice"},
		{Key: otherKey.Public(), KeyID: "twice"},
		{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "shared", Algorithm: "HS256"},
	}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		if s.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		if err := json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: s.keys}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

const (
	issuer   = "https://team.example.com"
	audience = "the-application"
)

func tokenBackend(t *testing.T, url string, change func(o *Options)) *Backend {
	t.Helper()
	client, err := remote.NewClient(remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	o := Options{
		Rules: rules(t), Users: users(t), Lasting: time.Minute,
		Token: Token{
			Header: "Cf-Access-Jwt-Assertion", KeysURL: url, Issuer: issuer, Audience: audience, UserClaim: "email", GroupsClaim: "custom.groups", Client: client,
		},
	}
	if change != nil {
		change(&o)
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// good are the claims of the control.
func good(change map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": issuer, "aud": []string{audience}, "sub": "4711", "email": "vic@example.com", "name": "Vic",
		"exp": now.Add(time.Minute).Unix(), "iat": now.Add(-time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(),
		"custom": map[string]any{"groups": []string{"viewers"}},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// unsigned is a token of alg none, with whatever stands in the place of a signature.
func unsigned(t *testing.T, algorithm, signature string) string {
	t.Helper()
	body, err := json.Marshal(good(nil))
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+algorithm+`","kid":"ec"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "." + signature
}

func publicPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	keys := serveKeys(t)
	b := tokenBackend(t, keys.URL, nil)
	now := time.Now()
	es := func(change map[string]any) string { return jwt.Sign(t, ecKey, jose.ES256, "ec", good(change)) }
	headed := func(header map[string]any) string {
		header["kid"] = "ec"
		return jwt.SignWith(t, ecKey, jose.ES256, header, good(nil))
	}
	control := es(nil)
	for name, tc := range map[string]struct {
		token string
		who   string
		cause string // what the log says of a refused one
	}{
		"the control":                     {control, "header:" + issuer + "|4711 viewer", ""},
		"by RSA":                          {jwt.Sign(t, rsaKey, jose.RS256, "rsa", good(nil)), "header:" + issuer + "|4711 viewer", ""},
		"by P-384":                        {jwt.Sign(t, bigKey, jose.ES384, "big", good(nil)), "header:" + issuer + "|4711 viewer", ""},
		"by Ed25519":                      {jwt.Sign(t, edKey, jose.EdDSA, "ed", good(nil)), "header:" + issuer + "|4711 viewer", ""},
		"expired a moment ago":            {es(map[string]any{"exp": now.Add(-time.Second).Unix()}), "header:" + issuer + "|4711 viewer", ""},
		"one audience, no list":           {es(map[string]any{"aud": audience}), "header:" + issuer + "|4711 viewer", ""},
		"a verified address":              {es(map[string]any{"email_verified": true}), "header:" + issuer + "|4711 viewer", ""},
		"no groups":                       {es(map[string]any{"custom": nil}), "", "no role"},
		"no time of issue":                {es(map[string]any{"iat": nil, "nbf": nil}), "header:" + issuer + "|4711 viewer", ""},
		"alg none":                        {unsigned(t, "none", ""), "", "unexpected signature algorithm"},
		"alg None with a signature":       {unsigned(t, "None", strings.Split(control, ".")[2]), "", "unexpected signature algorithm"},
		"HS256 with the public key":       {jwt.Sign(t, publicPEM(t, ecKey.Public()), jose.HS256, "ec", good(nil)), "", "unexpected signature algorithm"},
		"HS256 with a shared key":         {jwt.Sign(t, []byte("0123456789abcdef0123456789abcdef"), jose.HS256, "shared", good(nil)), "", "unexpected signature algorithm"},
		"another algorithm of the key":    {jwt.Sign(t, rsaKey, jose.RS512, "rsa", good(nil)), "", "not for its algorithm"},
		"another key of that ID":          {jwt.Sign(t, otherKey, jose.ES256, "ec", good(nil)), "", "verify it"},
		"RSA under an elliptic ID":        {jwt.Sign(t, rsaKey, jose.RS256, "ec", good(nil)), "", "not for its algorithm"},
		"another audience":                {es(map[string]any{"aud": "another"}), "", "audience"},
		"no audience":                     {es(map[string]any{"aud": nil}), "", "audience"},
		"the audience as a part":          {es(map[string]any{"aud": audience + "x"}), "", "audience"},
		"another issuer":                  {es(map[string]any{"iss": "https://evil.example.com"}), "", "issuer"},
		"no issuer":                       {es(map[string]any{"iss": nil}), "", "issuer"},
		"the issuer with a slash":         {es(map[string]any{"iss": issuer + "/"}), "", "issuer"},
		"expired":                         {es(map[string]any{"exp": now.Add(-time.Minute).Unix()}), "", "expired"},
		"no expiry":                       {es(map[string]any{"exp": nil}), "", "when it expires"},
		"not yet valid":                   {es(map[string]any{"nbf": now.Add(10 * time.Minute).Unix()}), "", "not valid yet"},
		"issued in the future":            {es(map[string]any{"iat": now.Add(10 * time.Minute).Unix()}), "", "future"},
		"an expiry that is no number":     {es(map[string]any{"exp": "soon"}), "", "verify it"},
		"no subject":                      {es(map[string]any{"sub": nil}), "", "subject"},
		"an address that is not verified": {es(map[string]any{"email_verified": false}), "", "not verified"},
		"no address":                      {es(map[string]any{"email": nil}), "", "NAME_NOT_TAKEN"},
		"an address that is no text":      {es(map[string]any{"email": map[string]any{"a": 1}}), "", "NAME_NOT_TAKEN"},
		"an address with what is unseen":  {es(map[string]any{"email": "vi\u200dc@example.com"}), "", "NAME_NOT_TAKEN"},
		"an address with a line":          {es(map[string]any{"email": "vic@x\nadmin"}), "", "NAME_NOT_TAKEN"},
		"groups that are numbers":         {es(map[string]any{"custom": map[string]any{"groups": []int{1}}}), "", "GROUPS_UNCLEAR"},
		"an unknown key":                  {jwt.Sign(t, ecKey, jose.ES256, "unknown", good(nil)), "", "no key is called"},
		"no key named":                    {jwt.Sign(t, ecKey, jose.ES256, "", good(nil)), "", "does not name its key"},
		"a small RSA key":                 {jwt.Sign(t, smallKey, jose.RS256, "small", good(nil)), "", "no key is called"},
		"a key for encryption":            {jwt.Sign(t, ecKey, jose.ES256, "secrets", good(nil)), "", "no key is called"},
		"two keys of one ID":              {jwt.Sign(t, ecKey, jose.ES256, "twice", good(nil)), "", "no key is called"},
		"no type":                         {headed(map[string]any{}), "header:" + issuer + "|4711 viewer", ""},
		"an access token":                 {headed(map[string]any{"typ": "at+jwt"}), "", "of the type"},
		"a logout token":                  {headed(map[string]any{"typ": "logout+jwt"}), "", "of the type"},
		"packed":                          {headed(map[string]any{"typ": "JWT", "zip": "DEF"}), "", "zip"},
		"an extension":                    {headed(map[string]any{"crit": []string{"b64"}, "b64": true}), "", "crit"},
		"a changed body":                  {strings.Replace(control, ".", ".e30", 1), "", "verify it"},
		"huge":                            {es(map[string]any{"padding": strings.Repeat("x", 20_000)}), "", "more than 16384"},
		"no token":                        {"abc", "", "read it"},
		"two tokens, joined":              {control + "," + control, "", "read it"},
		"a bearer":                        {"Bearer " + control, "", "read it"},
		"with padding":                    {control + "==", "", "read it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found, err := b.Present(sent(t, "203.0.113.9:1", "Cf-Access-Jwt-Assertion", tc.token))
			who := ""
			if found {
				who = got.ID + " " + string(got.Role)
			}
			if _, roleless := errors.AsType[*auth.NoRoleError](err); roleless && tc.cause == "no role" {
				return
			}
			if who != tc.who || (err == nil) != (tc.cause == "") || err != nil && (!strings.Contains(err.Error(), tc.cause) || !errors.Is(err, auth.ErrInvalid)) {
				t.Errorf("got %q and error %v, want %q and %q", who, err, tc.who, tc.cause)
			}
		})
	}
}

// TestTokenHeaders: a token in two headers is refused, plain headers say nothing beside it, and peers that are named count.
func TestTokenHeaders(t *testing.T) {
	t.Parallel()
	keys := serveKeys(t)
	token := jwt.Sign(t, ecKey, jose.ES256, "ec", good(nil))
	anywhere := tokenBackend(t, keys.URL, nil)
	here := tokenBackend(t, keys.URL, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	for name, tc := range map[string]struct {
		backend *Backend
		peer    string
		headers []string
		found   bool
		refused string
	}{
		"the control":         {anywhere, "203.0.113.9:1", []string{"Cf-Access-Jwt-Assertion", token}, true, ""},
		"by a named peer":     {here, proxy, []string{"Cf-Access-Jwt-Assertion", token}, true, ""},
		"from elsewhere":      {here, "203.0.113.9:1", []string{"Cf-Access-Jwt-Assertion", token}, false, "UNTRUSTED_PROXY"},
		"twice":               {anywhere, proxy, []string{"Cf-Access-Jwt-Assertion", token, "Cf-Access-Jwt-Assertion", token}, false, "HEADER_SENT_TWICE"},
		"underscores":         {anywhere, proxy, []string{"Cf_Access_Jwt_Assertion", token}, false, "HEADER_SPELLED_OTHERWISE"},
		"plain headers alone": {anywhere, proxy, []string{"Remote-User", "ada", "Remote-Groups", "admins", "Cf-Access-Authenticated-User-Email", "ada@example.com"}, false, ""},
	} {
		got, found, err := tc.backend.Present(sent(t, tc.peer, tc.headers...))
		refused, _ := errors.AsType[*auth.RefusedError](err)
		if found != tc.found || (refused == nil) != (tc.refused == "") || refused != nil && refused.Reason != tc.refused {
			t.Errorf("%s: got %+v, found %t, error %v", name, got.Identity, found, err)
		}
	}
}

// TestKeysAreAskedForSeldom: strangers' key IDs lead to one question in a while, a key set that is down to 503 and not to
// a refusal, and what was verified is not verified again.
func TestKeysAreAskedForSeldom(t *testing.T) {
	t.Parallel()
	keys := serveKeys(t)
	b := tokenBackend(t, keys.URL, nil)
	keys.down.Store(true)
	token := jwt.Sign(t, ecKey, jose.ES256, "ec", good(nil))
	if _, _, err := b.Present(sent(t, proxy, "Cf-Access-Jwt-Assertion", token)); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("without keys: got error %v, want ErrUnavailable", err)
	}
	fresh := tokenBackend(t, keys.URL, nil)
	keys.down.Store(false)
	before, begun := keys.asked.Load(), time.Now()
	if _, found, err := fresh.Present(sent(t, proxy, "Cf-Access-Jwt-Assertion", token)); err != nil || !found {
		t.Fatalf("with keys: found %t, error %v", found, err)
	}
	for i := range 50 {
		stranger := jwt.Sign(t, otherKey, jose.ES256, "stranger-"+string(rune('a'+i)), good(nil))
		if _, found, err := fresh.Present(sent(t, proxy, "Cf-Access-Jwt-Assertion", stranger)); found || !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("an unknown key: found %t, error %v", found, err)
		}
	}
	asked, pauses := keys.asked.Load()-before, time.Since(begun)/keysPause // a slow machine's 50 may take longer than one
	if asked < 1 || int64(asked) > int64(pauses)+1 {
		t.Errorf("50 unknown keys: the key set was asked for %d times, want once in each pause", asked)
	}
	keys.down.Store(true)
	if _, found, err := fresh.Present(sent(t, proxy, "Cf-Access-Jwt-Assertion", jwt.Sign(t, ecKey, jose.ES256, "ec", good(nil)))); err != nil || !found {
		t.Errorf("a known key while the key set is down: found %t, error %v", found, err)
	}
}

const balancerARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/front/50dc6c495c0c9188"

// balancerToken is as AWS's load balancer makes it: padded parts, and a signature over them as they stand.
func balancerToken(t *testing.T, key *ecdsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	var parts [2]string
	for i, part := range []map[string]any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = base64.URLEncoding.EncodeToString(text)
	}
	sum := crypto.SHA256.New()
	sum.Write([]byte(parts[0] + "." + parts[1]))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return parts[0] + "." + parts[1] + "." + base64.URLEncoding.EncodeToString(signature)
}

func TestLoadBalancer(t *testing.T) {
	t.Parallel()
	const id = "12345678-1234-1234-1234-123456789012"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys := map[string]crypto.PublicKey{"/" + id: ecKey.Public(), "/87654321-1234-1234-1234-123456789012": bigKey.Public()}
		key, found := keys[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(publicPEM(t, key))
	}))
	t.Cleanup(server.Close)
	behind := func() *Backend {
		return tokenBackend(t, server.URL, func(o *Options) {
			o.Token.Header, o.Token.Audience, o.Token.Issuer, o.Token.LoadBalancer = "X-Amzn-Oidc-Data", balancerARN, "", true
		})
	}
	b := behind()
	now := time.Now()
	header := func(change map[string]any) map[string]any {
		h := map[string]any{"typ": "JWT", "kid": id, "alg": "ES256", "iss": issuer, "client": "c", "signer": balancerARN, "exp": now.Add(time.Minute).Unix()}
		maps.Copy(h, change)
		maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
		return h
	}
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{"sub": "4711", "email": "vic@example.com", "custom": map[string]any{"groups": []string{"viewers"}}, "exp": now.Add(time.Minute).Unix(), "iss": issuer}
		maps.Copy(c, change)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return c
	}
	control := balancerToken(t, ecKey, header(nil), claims(nil))
	if !strings.Contains(control, "=.") {
		t.Fatalf("the control has no padding: %s", control)
	}
	parts := strings.Split(control, ".")
	for name, tc := range map[string]struct{ token, cause string }{
		"the control":               {control, ""},
		"the times in the header":   {balancerToken(t, ecKey, header(nil), claims(map[string]any{"exp": nil, "iss": nil})), ""},
		"another signer":            {balancerToken(t, ecKey, header(map[string]any{"signer": strings.Replace(balancerARN, "front", "evil", 1)}), claims(nil)), "not the load balancer"},
		"no signer":                 {balancerToken(t, ecKey, header(map[string]any{"signer": nil}), claims(nil)), "not the load balancer"},
		"alg none":                  {balancerToken(t, ecKey, header(map[string]any{"alg": "none"}), claims(nil)), "not ES256"},
		"HS256":                     {balancerToken(t, ecKey, header(map[string]any{"alg": "HS256"}), claims(nil)), "not ES256"},
		"another key":               {balancerToken(t, otherKey, header(nil), claims(nil)), "signature is wrong"},
		"an unknown extension":      {balancerToken(t, ecKey, header(map[string]any{"crit": []string{"x"}}), claims(nil)), "extensions"},
		"packed":                    {balancerToken(t, ecKey, header(map[string]any{"zip": "DEF"}), claims(nil)), "extensions"},
		"an access token":           {balancerToken(t, ecKey, header(map[string]any{"typ": "at+jwt"}), claims(nil)), "of the type"},
		"no type":                   {balancerToken(t, ecKey, header(map[string]any{"typ": nil}), claims(nil)), ""},
		"a key ID that is a path":   {balancerToken(t, ecKey, header(map[string]any{"kid": "../x"}), claims(nil)), "does not name its key"},
		"a key ID that is a query":  {balancerToken(t, ecKey, header(map[string]any{"kid": id + "?x"}), claims(nil)), "does not name its key"},
		"expired":                   {balancerToken(t, ecKey, header(nil), claims(map[string]any{"exp": now.Add(-time.Minute).Unix()})), "expired"},
		"expired in the header":     {balancerToken(t, ecKey, header(map[string]any{"exp": now.Add(-time.Minute).Unix()}), claims(nil)), "expired"},
		"no expiry":                 {balancerToken(t, ecKey, header(map[string]any{"exp": nil}), claims(map[string]any{"exp": nil})), "when it expires"},
		"two issuers":               {balancerToken(t, ecKey, header(nil), claims(map[string]any{"iss": "https://evil"})), "two issuers"},
		"no issuer":                 {balancerToken(t, ecKey, header(map[string]any{"iss": nil}), claims(map[string]any{"iss": nil})), "no issuer"},
		"no subject":                {balancerToken(t, ecKey, header(nil), claims(map[string]any{"sub": nil})), "subject"},
		"no signature":              {parts[0] + "." + parts[1] + ".", "signature is wrong"},
		"another body":              {parts[0] + "." + base64.URLEncoding.EncodeToString([]byte(`{"sub":"1"}`)) + "." + parts[2], "signature is wrong"},
		"without its padding":       {strings.ReplaceAll(control, "=", ""), "signature is wrong"}, // what was signed has it
		"two parts":                 {parts[0] + "." + parts[1], "three parts"},
		"a duplicate key in a part": {strings.Replace(control, parts[0], base64.URLEncoding.EncodeToString([]byte(`{"alg":"none","alg":"ES256","kid":"`+id+`","signer":"`+balancerARN+`"}`)), 1), "read its header"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, found, err := b.Present(sent(t, "203.0.113.9:1", "X-Amzn-Oidc-Data", tc.token))
			if found != (tc.cause == "") || err != nil && (tc.cause == "" || !strings.Contains(err.Error(), tc.cause) || !errors.Is(err, auth.ErrInvalid)) {
				t.Errorf("found %t, error %v, want %q", found, err, tc.cause)
			}
		})
	}
	t.Run("keys that can't be had", func(t *testing.T) {
		t.Parallel()
		for _, other := range []string{"00000000-1234-1234-1234-123456789012", "87654321-1234-1234-1234-123456789012"} {
			token := balancerToken(t, ecKey, header(map[string]any{"kid": other}), claims(nil))
			// Each is asked for at once, by a backend that has asked for nothing.
			if _, found, err := behind().Present(sent(t, proxy, "X-Amzn-Oidc-Data", token)); found || !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, errPause) {
				t.Errorf("the key %s: found %t, error %v, want ErrUnavailable after a question", other, found, err)
			}
		}
	})
}
