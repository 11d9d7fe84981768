package dagster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
)

const (
	// askTimeout bounds each question: Dagster 1.13 answers the introspection of 623 types in well under a second.
	askTimeout = 30 * time.Second
	// maxAnswer bounds what is read of an answer; the introspection of 1.13 is 1.5 MB.
	maxAnswer = 32 << 20
)

// Options of an Upstream.
type Options struct {
	// Transport reaches the webserver; nil makes one of its own, which goes through no proxy of the environment: HTTP_PROXY
	// is meant for Dagster's calls, and what a proxy says must not be taken for Dagster's word.
	Transport http.RoundTripper
	Log       zerolog.Logger
}

// Upstream remembers what the running dagster-webserver said of itself. It is safe for concurrent use.
type Upstream struct {
	client *http.Client
	log    zerolog.Logger
	about  atomic.Pointer[about]
}

type about struct {
	version string
	schema  *graphql.Schema
	unknown string
}

// New returns an Upstream that knows nothing until Learn.
func New(o Options) *Upstream {
	if o.Transport == nil {
		o.Transport = &http.Transport{IdleConnTimeout: askTimeout}
	}
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	u := &Upstream{
		client: &http.Client{Transport: o.Transport, Timeout: askTimeout, CheckRedirect: noRedirects},
		log:    o.Log,
	}
	u.about.Store(&about{})
	return u
}

// Version is Dagster's version, "1.13.27"; empty before the first Learn.
func (u *Upstream) Version() string { return u.about.Load().version }

// Schema is the GraphQL schema that the webserver announced; nil before the first Learn.
func (u *Upstream) Schema() *graphql.Schema { return u.about.Load().schema }

// Learn asks the webserver for its version and schema; base is its root, path prefix included. On an error what was known
// stays.
func (u *Upstream) Learn(ctx context.Context, base *url.URL) error {
	version, err := u.askVersion(ctx, base)
	if err != nil {
		return fmt.Errorf("asking Dagster for its version: %w", err)
	}
	schema, err := u.askSchema(ctx, base)
	if err != nil {
		return fmt.Errorf("asking Dagster for its GraphQL schema: %w", err)
	}
	u.warn(version, schema)
	return nil
}

// warn logs, once for each list of them, the mutations that the policy does not name: they need admin.
func (u *Upstream) warn(version string, schema *graphql.Schema) {
	var unknown []string
	for _, field := range schema.MutationFields() {
		if !policy.Known(field) {
			unknown = append(unknown, field)
		}
	}
	key := fmt.Sprint(unknown)
	if before := u.about.Load(); len(unknown) > 0 && before.unknown != key {
		u.log.Warn().Strs("mutations", unknown).Str("dagster_version", version).
			Msg("this Dagster has mutations that AuthKit does not know: they need the admin role")
	}
	u.about.Store(&about{version: version, schema: schema, unknown: key})
}

func (u *Upstream) askVersion(ctx context.Context, base *url.URL) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("server_info").String(), nil)
	if err != nil {
		return "", err
	}
	body, err := u.ask(request)
	if err != nil {
		return "", err
	}
	var info struct {
		Version string `json:"dagster_version"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return "", fmt.Errorf("reading /server_info: %w", err)
	}
	return info.Version, nil
}

func (u *Upstream) askSchema(ctx context.Context, base *url.URL) (*graphql.Schema, error) {
	question := graphql.Request{Query: graphql.IntrospectionQuery()}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("graphql").String(), bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	body, err := u.ask(request)
	if err != nil {
		return nil, err
	}
	return graphql.ParseIntrospection(body)
}

func (u *Upstream) ask(request *http.Request) ([]byte, error) {
	response, err := u.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, errors.New("the answer is too large")
	}
	return body, nil
}
