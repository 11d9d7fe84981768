package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	// mostKeys bounds those that are looked at. Entra ID has some ten.
	mostKeys = 100
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
		keys, err := k.fetch(context.WithoutCancel(ctx))
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

func (k *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := getJSON(ctx, k.client, k.url, "", &document); err != nil {
		return nil, err
	}
	if len(document.Keys) > mostKeys {
		return nil, fmt.Errorf("there are %d keys, more than any provider has", len(document.Keys))
	}
	var keys []jose.JSONWebKey
	for _, raw := range document.Keys {
		var key jose.JSONWebKey
		// What can't be read is a sort of key that we can't use.
		if json.Unmarshal(raw, &key) == nil && remote.UsableKey(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no usable key: AuthKit takes RSA keys of 2048 bits or more, and those of elliptic curves")
	}
	return keys, nil
}

// statusError is an answer that is not 200. Its body is nobody's to see.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("the answer is %d", int(e)) }

// getJSON asks for a document, with a bearer token unless that is empty.
func getJSON(ctx context.Context, client *http.Client, address, bearer string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return statusError(response.StatusCode)
	}
	body, err := io.ReadAll(response.Body) // the client bounds it
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("the answer is no JSON of the expected form")
	}
	return nil
}
