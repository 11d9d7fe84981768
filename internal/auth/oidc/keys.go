package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
)

const (
	// keysLast is how long a key that the provider withdrew may still be taken.
	keysLast = 15 * time.Minute
	// keysPause is the least time between two readings: whoever sends tokens of unknown keys must not make us ask and ask.
	keysPause = time.Second
)

// keySet are a provider's public keys.
type keySet struct {
	url        string
	client     *http.Client
	algorithms []jose.SignatureAlgorithm

	flights singleflight.Group
	mu      sync.RWMutex
	keys    []jose.JSONWebKey
	readAt  time.Time
}

func newKeySet(url string, client *http.Client, algorithms []jose.SignatureAlgorithm) *keySet {
	return &keySet{url: url, client: client, algorithms: algorithms}
}

func (k *keySet) known() ([]jose.JSONWebKey, time.Time) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys, k.readAt
}

// ready reads the keys unless they were read lately. The error is auth.ErrUnavailable.
func (k *keySet) ready(ctx context.Context) error {
	if _, at := k.known(); time.Since(at) < keysLast {
		return nil
	}
	return k.read(ctx)
}

// VerifySignature gives the payload of a token that one of the keys signed. An unknown key has the keys read again.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, k.algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("it is not signed once, by one of the provider's algorithms")
	}
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	keys, at := k.known()
	payload, tried := verifyBy(signed, keys)
	if payload == nil && !tried && time.Since(at) >= keysPause {
		if err := k.read(ctx); err != nil {
			return nil, err
		}
		keys, _ = k.known()
		payload, tried = verifyBy(signed, keys)
	}
	switch {
	case payload != nil:
		return payload, nil
	case !tried:
		return nil, errors.New("the provider has no usable key of its key ID")
	}
	return nil, errors.New("none of the provider's keys made its signature")
}

// verifyBy tries the keys of the token's key ID, or all when it has none. tried says that there was one.
func verifyBy(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) (payload []byte, tried bool) {
	id := signed.Signatures[0].Header.KeyID
	for _, key := range keys {
		if id != "" && key.KeyID != "" && key.KeyID != id {
			continue
		}
		tried = true
		if payload, err := signed.Verify(key.Key); err == nil && payload != nil {
			return payload, true
		}
	}
	return nil, tried
}

func (k *keySet) read(ctx context.Context) error {
	answer := k.flights.DoChan("", func() (any, error) {
		keys, err := remote.Keys(context.WithoutCancel(ctx), k.client, k.url)
		if err != nil {
			return nil, err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.keys, k.readAt = keys, time.Now()
		return nil, nil
	})
	select {
	case result := <-answer:
		if result.Err != nil {
			return fmt.Errorf("%w: read the provider's keys: %w", auth.ErrUnavailable, result.Err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// getJSON asks for a document, with a bearer token unless that is empty.
func getJSON(ctx context.Context, client *http.Client, address, bearer string, into any) error {
	body, err := remote.Get(ctx, client, address, bearer)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("the answer is no JSON of the expected form")
	}
	return nil
}
