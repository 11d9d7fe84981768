package header

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
)

const (
	// keysFresh is how long keys are used before they are asked for again, and keysStale how long when nobody answers.
	keysFresh = time.Hour
	keysStale = 24 * time.Hour
	// keysPause is between two questions, however many unknown keys strangers name.
	keysPause = 10 * time.Second
)

// keySet verifies tokens by the keys that stand at an address.
type keySet struct {
	url    string
	client *http.Client
	flight singleflight.Group // one question at a time

	mu      sync.Mutex // guards what follows
	keys    map[string]jose.JSONWebKey
	fetched time.Time
	asked   time.Time // when the last question ended
}

func newKeySet(t Token) *keySet { return &keySet{url: t.KeysURL, client: t.Client} }

func (s *keySet) verify(ctx context.Context, text string) (claims, error) {
	token, err := jwt.ParseSigned(text, remote.Algorithms)
	if err != nil {
		return claims{}, fmt.Errorf("read it: %w", err)
	}
	if err := remote.CheckHeader(text, kindOfToken); err != nil {
		return claims{}, err
	}
	if len(token.Headers) != 1 || token.Headers[0].KeyID == "" {
		return claims{}, errors.New("it does not name its key")
	}
	key, err := s.key(ctx, token.Headers[0].KeyID)
	if err != nil {
		return claims{}, err
	}
	if !fits(key, token.Headers[0].Algorithm) {
		return claims{}, errors.New("its key is not for its algorithm")
	}
	var found claims
	if err := token.Claims(key.Key, &found.Claims, &found.all); err != nil {
		return claims{}, fmt.Errorf("verify it: %w", err)
	}
	return found, nil
}

// errPause says that keys were asked for just now.
var errPause = errors.New("they were asked for just now, and will not be again for some seconds")

// key finds a key by its ID. Keys that are old, or do not have it, are fetched anew, but seldom. Who has a key that is known
// waits for nobody.
func (s *keySet) key(ctx context.Context, id string) (jose.JSONWebKey, error) {
	key, known, age := s.known(id)
	if known && age < keysFresh {
		return key, nil
	}
	// The keys are for everybody: that one client leaves does not keep the others from them. The HTTP client has a timeout.
	answer := s.flight.DoChan("", func() (any, error) { return nil, s.renew(context.WithoutCancel(ctx)) })
	if known && age < keysStale {
		return key, nil
	}
	var err error
	select {
	case result := <-answer:
		err = result.Err
	case <-ctx.Done():
		err = ctx.Err()
	}
	key, known, age = s.known(id)
	switch {
	case known && age < keysStale:
		return key, nil
	case age >= keysStale || err != nil && !errors.Is(err, errPause):
		return jose.JSONWebKey{}, fmt.Errorf("%w: the keys at %s can't be had: %w", auth.ErrUnavailable, s.url, err)
	}
	return jose.JSONWebKey{}, fmt.Errorf("no key is called %.64q", id)
}

func (s *keySet) known(id string) (key jose.JSONWebKey, known bool, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, known = s.keys[id]
	return key, known, time.Since(s.fetched)
}

// renew fetches the keys unless that was tried just now.
func (s *keySet) renew(ctx context.Context) error {
	s.mu.Lock()
	early := !s.asked.IsZero() && time.Since(s.asked) < keysPause
	s.mu.Unlock()
	if early {
		return errPause
	}
	keys, err := s.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Now()
	if err == nil {
		s.keys, s.fetched = keys, s.asked
	}
	return err
}

// fetch gives the keys by their IDs, but for an ID that several have.
func (s *keySet) fetch(ctx context.Context) (map[string]jose.JSONWebKey, error) {
	found, err := remote.Keys(ctx, s.client, s.url)
	if err != nil {
		return nil, err
	}
	keys, times := map[string]jose.JSONWebKey{}, map[string]int{}
	for _, key := range found {
		keys[key.KeyID] = key
		times[key.KeyID]++
	}
	maps.DeleteFunc(keys, func(id string, _ jose.JSONWebKey) bool { return id == "" || times[id] > 1 })
	if len(keys) == 0 {
		return nil, errors.New("the key set has no key with an ID of its own")
	}
	return keys, nil
}

// fits says whether an algorithm is that of the key: of its kind, of its curve, and the one that it is for.
func fits(key jose.JSONWebKey, algorithm string) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return algorithm[:2] == "RS" || algorithm[:2] == "PS"
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}
