package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
)

// metadataLasts is how long a provider's description is used before it is read again.
const metadataLasts = time.Hour

// issuer is an OpenID Connect provider. Its description is read when it is first needed, and again until that works.
type issuer struct {
	*provider

	flights singleflight.Group
	mu      sync.RWMutex
	found   *metadata
}

// metadata is what a provider says of itself (OpenID Connect Discovery 1.0, section 3).
type metadata struct {
	readAt      time.Time
	oauth       oauth2.Endpoint
	userinfo    string
	endSession  string
	sendsIssuer bool // RFC 9207
	algorithms  []jose.SignatureAlgorithm
	keys        *keySet
	backchannel bool
}

// described is the part of the document that go-oidc does not read itself.
type described struct {
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`
	Algorithms            []string `json:"id_token_signing_alg_values_supported"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	SendsIssuer           bool     `json:"authorization_response_iss_parameter_supported"`
	Backchannel           bool     `json:"backchannel_logout_supported"`
	Challenges            []string `json:"code_challenge_methods_supported"`
}

// discover gives the provider's description; several who ask at once ask the provider once. The error is auth.ErrUnavailable.
func (i *issuer) discover(ctx context.Context) (*metadata, error) {
	i.mu.RLock()
	known := i.found
	i.mu.RUnlock()
	if known != nil && time.Since(known.readAt) < metadataLasts {
		return known, nil
	}
	answer := i.flights.DoChan("", func() (any, error) { return i.read(context.WithoutCancel(ctx), known) })
	select {
	case result := <-answer:
		if result.Err == nil {
			return result.Val.(*metadata), nil //nolint:forcetypeassert // read gives nothing else
		}
		if known != nil {
			return known, nil // what it said an hour ago is better than nothing
		}
		return nil, fmt.Errorf("%w: read the description of %s: %w", auth.ErrUnavailable, i.Issuer, result.Err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (i *issuer) read(ctx context.Context, known *metadata) (*metadata, error) {
	ctx = i.ask(ctx)
	discovered, err := oidc.NewProvider(ctx, i.Issuer)
	if err != nil {
		return nil, withoutBody(err)
	}
	var d described
	if err := discovered.Claims(&d); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	m, err := i.metadata(d)
	if err != nil {
		return nil, err
	}
	if known != nil && known.keys.url == m.keys.url && slices.Equal(known.algorithms, m.algorithms) {
		m.keys = known.keys
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.found = m
	return m, nil
}

// withoutBody cuts go-oidc's error short, which has the whole answer in it.
func withoutBody(err error) error {
	if text := err.Error(); len(text) > 300 {
		return errors.New(text[:300] + "…")
	}
	return err
}

func (i *issuer) metadata(d described) (*metadata, error) {
	for name, address := range map[string]string{
		"authorization_endpoint": d.AuthorizationEndpoint, "token_endpoint": d.TokenEndpoint, "jwks_uri": d.JWKSURI,
		"userinfo_endpoint": d.UserinfoEndpoint, "end_session_endpoint": d.EndSessionEndpoint,
	} {
		optional := name == "userinfo_endpoint" || name == "end_session_endpoint"
		if address == "" && optional {
			continue
		}
		if u, err := url.Parse(address); err != nil || !trustworthy(u) || u.User != nil {
			return nil, fmt.Errorf("its %s is no https address", name)
		}
	}
	style, err := i.authStyle(d.AuthMethods)
	if err != nil {
		return nil, err
	}
	algorithms, err := asymmetric(d.Algorithms)
	if err != nil {
		return nil, err
	}
	if len(d.Challenges) > 0 && !slices.Contains(d.Challenges, "S256") {
		return nil, errors.New("it takes no S256 challenges (PKCE), without which a stolen code could be used")
	}
	return &metadata{
		readAt:   time.Now(),
		oauth:    oauth2.Endpoint{AuthURL: d.AuthorizationEndpoint, TokenURL: d.TokenEndpoint, AuthStyle: style},
		userinfo: d.UserinfoEndpoint, endSession: d.EndSessionEndpoint, sendsIssuer: d.SendsIssuer, algorithms: algorithms,
		keys: newKeySet(d.JWKSURI, i.client, algorithms), backchannel: d.Backchannel,
	}, nil
}

// authStyle is how the client secret is sent. It is never found out by trying, which would send it twice.
func (i *issuer) authStyle(methods []string) (oauth2.AuthStyle, error) {
	switch {
	case i.ClientSecret == "": // a public client, which has PKCE alone
		return oauth2.AuthStyleInParams, nil
	case len(methods) == 0 || slices.Contains(methods, "client_secret_basic"): // Discovery 1.0, section 3: basic is the default
		return oauth2.AuthStyleInHeader, nil
	case slices.Contains(methods, "client_secret_post"):
		return oauth2.AuthStyleInParams, nil
	}
	return 0, errors.New("it takes the client secret neither by client_secret_basic nor by client_secret_post")
}

// asymmetric are those of the announced algorithms whose keys a provider can publish. With HS256 our own secret would be the
// key, and with none there is none.
func asymmetric(announced []string) ([]jose.SignatureAlgorithm, error) {
	if len(announced) == 0 {
		return []jose.SignatureAlgorithm{jose.RS256}, nil
	}
	var usable []jose.SignatureAlgorithm
	for _, algorithm := range remote.Algorithms {
		if slices.Contains(announced, string(algorithm)) {
			usable = append(usable, algorithm)
		}
	}
	if len(usable) == 0 {
		return nil, errors.New("it signs ID tokens by no asymmetric algorithm: configure RS256 or ES256 there")
	}
	return usable, nil
}

func names(algorithms []jose.SignatureAlgorithm) []string {
	list := make([]string, len(algorithms))
	for i, algorithm := range algorithms {
		list[i] = string(algorithm)
	}
	return list
}

func (i *issuer) endpoint(ctx context.Context) (oauth2.Endpoint, error) {
	m, err := i.discover(ctx)
	if err != nil {
		return oauth2.Endpoint{}, err
	}
	return m.oauth, nil
}

// checkCallback keeps an answer of one provider from being taken for that of another (RFC 9207).
func (i *issuer) checkCallback(ctx context.Context, query url.Values) error {
	m, err := i.discover(ctx)
	if err != nil {
		return err
	}
	if (query.Has("iss") || m.sendsIssuer) && query.Get("iss") != i.Issuer {
		return refused(reasonAnswer, fmt.Errorf("the answer is from %.200q, not from %s", query.Get("iss"), i.Issuer))
	}
	return nil
}
