package header

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
)

// balancer verifies the tokens of AWS's Application Load Balancer. They are nearly JWTs: each part is padded, which no JWT
// library takes (RFC 7515, section 2), the signer stands in the header, and each key is a PEM file of its own.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html
type balancer struct {
	base   string // ends with a slash
	signer string // the load balancer's ARN
	client *http.Client

	flight singleflight.Group // one question for each key at a time

	mu     sync.Mutex // guards what follows
	keys   map[string]balancerKey
	failed time.Time // when a question last led to nothing
}

type balancerKey struct {
	public  *ecdsa.PublicKey
	fetched time.Time
}

// balancerKeyID is that of a UUID: it becomes part of an address.
var balancerKeyID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func newBalancer(t Token) *balancer {
	return &balancer{
		base: strings.TrimSuffix(t.KeysURL, "/") + "/", signer: t.Audience, client: t.Client, keys: map[string]balancerKey{},
	}
}

// balancerHeader is the first part of a token.
type balancerHeader struct {
	Algorithm string           `json:"alg"`
	KeyID     string           `json:"kid"`
	Signer    string           `json:"signer"`
	Issuer    string           `json:"iss"`
	Expiry    *jwt.NumericDate `json:"exp"`
}

func (b *balancer) verify(ctx context.Context, text string) (claims, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("it does not have three parts")
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(part, "=")); err != nil {
			return claims{}, fmt.Errorf("read its part %d: %w", i+1, err)
		}
	}
	var header balancerHeader
	if err := json.Unmarshal(raw[0], &header); err != nil {
		return claims{}, fmt.Errorf("read its header: %w", err)
	}
	switch {
	case header.Algorithm != "ES256":
		return claims{}, fmt.Errorf("its algorithm is %.20q, not ES256", header.Algorithm)
	case header.Signer != b.signer:
		return claims{}, fmt.Errorf("it is signed by %.256q, which is not the load balancer", header.Signer)
	case !balancerKeyID.MatchString(header.KeyID):
		return claims{}, errors.New("it does not name its key")
	}
	if err := remote.CheckHeader(text, kindOfToken); err != nil {
		return claims{}, err
	}
	key, err := b.key(ctx, header.KeyID)
	if err != nil {
		return claims{}, err
	}
	if !signed(key, parts[0]+"."+parts[1], raw[2]) {
		return claims{}, errors.New("its signature is wrong")
	}
	return header.claims(raw[1])
}

// signed checks a signature of ES256: two numbers of 32 bytes each (RFC 7518, section 3.4).
func signed(key *ecdsa.PublicKey, text string, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	sum := sha256.Sum256([]byte(text))
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}

// claims joins what stands in the header, and is signed as well, with the second part: the earlier end counts, and two
// issuers are none.
func (h balancerHeader) claims(payload []byte) (claims, error) {
	var found claims
	for _, into := range []any{&found.Claims, &found.all} {
		if err := json.Unmarshal(payload, into); err != nil {
			return claims{}, fmt.Errorf("read its claims: %w", err)
		}
	}
	if h.Expiry != nil && (found.Expiry == nil || *h.Expiry < *found.Expiry) {
		found.Expiry = h.Expiry
	}
	switch {
	case found.Issuer == "":
		found.Issuer = h.Issuer
	case h.Issuer != "" && h.Issuer != found.Issuer:
		return claims{}, errors.New("it has two issuers")
	}
	if found.Issuer == "" {
		return claims{}, errors.New("it has no issuer")
	}
	return found, nil
}

// balancerPause is between two questions that lead to nothing, whatever keys strangers name. It is short, as the one for a
// new key must have its turn among them.
const balancerPause = 100 * time.Millisecond

// key finds a key by its ID. There is no list of keys, so one that is unknown is asked for.
func (b *balancer) key(ctx context.Context, id string) (*ecdsa.PublicKey, error) {
	key, age := b.known(id)
	if key != nil && age < keysFresh {
		return key, nil
	}
	answer := b.flight.DoChan(id, func() (any, error) { return nil, b.renew(context.WithoutCancel(ctx), id) })
	if key != nil && age < keysStale {
		return key, nil
	}
	var err error
	select {
	case result := <-answer:
		err = result.Err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if key, age = b.known(id); key != nil && age < keysStale {
		return key, nil
	}
	return nil, fmt.Errorf("%w: the key at %s can't be had: %w", auth.ErrUnavailable, b.base+id, err)
}

func (b *balancer) known(id string) (*ecdsa.PublicKey, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := b.keys[id]
	return key.public, time.Since(key.fetched)
}

// renew fetches the key unless another question led to nothing just now.
func (b *balancer) renew(ctx context.Context, id string) error {
	b.mu.Lock()
	early := time.Since(b.failed) < balancerPause
	b.mu.Unlock()
	if early {
		return errPause
	}
	public, err := b.fetch(ctx, id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failed = time.Now()
		return err
	}
	if len(b.keys) >= remote.MostKeys {
		clear(b.keys)
	}
	b.keys[id] = balancerKey{public, time.Now()}
	return nil
}

func (b *balancer) fetch(ctx context.Context, id string) (*ecdsa.PublicKey, error) {
	body, err := remote.Get(ctx, b.client, b.base+id, "")
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(body)
	if block == nil {
		return nil, errors.New("the answer is no PEM file")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("the key is not one of ES256")
	}
	return public, nil
}
