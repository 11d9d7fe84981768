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
	// keysPause is the least time between two readings, failed ones included: whoever sends tokens of unknown keys must not make us ask and ask.
	keysPause = time.Second
)

// errNoKey says that the provider publishes no key of a token's key ID, or none that we can use. Nobody can say then who made the
// token.
var errNoKey = errors.New("the provider has no usable key of its key ID")

// keySet are a provider's public keys.
type keySet struct {
	url        string
	client     *http.Client
	algorithms []jose.SignatureAlgorithm

	flights singleflight.Group
	mu      sync.RWMutex
	keys    []jose.JSONWebKey
	readAt  time.Time // when these keys were asked for
	triedAt time.Time // when keys were last asked for, with or without an answer
	failure error     // of the last try; an auth.ErrUnavailable
}

func newKeySet(url string, client *http.Client, algorithms []jose.SignatureAlgorithm) *keySet {
	return &keySet{url: url, client: client, algorithms: algorithms}
}

func (k *keySet) known() []jose.JSONWebKey {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys
}

// lately says when the keys were read, and how the last try went.
func (k *keySet) lately() (readAt, triedAt time.Time, failure error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.readAt, k.triedAt, k.failure
}

// ready reads the keys unless they were read lately. The error is auth.ErrUnavailable.
func (k *keySet) ready(ctx context.Context) error { return k.readAfter(ctx, time.Now().Add(-keysLast)) }

// VerifySignature gives the payload of a token that one of the keys signed. Before one is found bad the keys are read anew, as
// the provider may have changed them since. The error is errNoKey, auth.ErrUnavailable, or says that the signature is bad.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, k.algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("it is not signed once, by one of the provider's algorithms")
	}
	came := time.Now()
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	keys := k.known()
	payload, _ := verifyBy(signed, keys)
	if payload != nil {
		return payload, nil
	}
	if err := k.readAfter(ctx, came); err != nil {
		return nil, err
	}
	keys = k.known()
	payload, named := verifyBy(signed, keys)
	switch {
	case payload != nil:
		return payload, nil
	case !named:
		return nil, errNoKey
	}
	return nil, errors.New("none of the provider's keys made its signature")
}

// verifyBy tries the keys of the token's key ID, and those that have none, or all when the token names none. named says that
// there was one of which the signature had to be.
func verifyBy(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) (payload []byte, named bool) {
	id := signed.Signatures[0].Header.KeyID
	for _, key := range keys {
		if id != "" && key.KeyID != "" && key.KeyID != id {
			continue
		}
		named = named || key.KeyID == id || id == ""
		if payload, err := signed.Verify(key.Key); err == nil && payload != nil {
			return payload, true
		}
	}
	return nil, named
}

// readAfter has the keys read unless they were after that time. While they may not be read again it waits, for keysPause at
// most: a provider that changes its key just after it was asked would seem to sign with one that it does not have. A try of
// somebody else that began meanwhile and failed has failed for this caller too, who would else wait for the next, and the next.
func (k *keySet) readAfter(ctx context.Context, since time.Time) error {
	came := time.Now()
	for {
		readAt, triedAt, failure := k.lately()
		switch {
		case readAt.After(since):
			return nil
		case failure != nil && triedAt.After(came):
			return failure
		}
		select {
		case <-time.After(time.Until(triedAt.Add(keysPause))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := k.read(ctx); err != nil {
			return err
		}
	}
}

// read reads the keys unless somebody tried within the pause. Those that were on their way already may be older than what the
// caller wants: they are as old as their question.
func (k *keySet) read(ctx context.Context) error {
	answer := k.flights.DoChan("", func() (any, error) {
		began := time.Now()
		if _, triedAt, _ := k.lately(); began.Sub(triedAt) < keysPause {
			return nil, nil
		}
		keys, err := remote.Keys(context.WithoutCancel(ctx), k.client, k.url)
		if err != nil {
			err = fmt.Errorf("%w: read the provider's keys: %w", auth.ErrUnavailable, err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.triedAt, k.failure = began, err
		if err == nil {
			k.keys, k.readAt = keys, began
		}
		return nil, err
	})
	select {
	case result := <-answer:
		return result.Err
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
