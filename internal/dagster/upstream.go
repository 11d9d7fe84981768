package dagster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
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
	graph  atomic.Pointer[graph]
	pulse  pulse
	// graphing is full while somebody reads a new graph.
	graphing chan struct{}
}

// about is what one Learn found. What is remembered of Dagster's storage goes with it: the next may have another one.
type about struct {
	version     string
	schema      *graphql.Schema
	schemaSum   [sha256.Size]byte // of the answer that it was read from
	permissions []identity.Permission
	unknown     string
	memory      *memory
}

// New returns an Upstream that knows nothing until Learn.
func New(o Options) *Upstream {
	if o.Transport == nil {
		o.Transport = &http.Transport{IdleConnTimeout: askTimeout}
	}
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	u := &Upstream{
		client: &http.Client{Transport: o.Transport, Timeout: askTimeout, CheckRedirect: noRedirects},
		log:    o.Log, graphing: make(chan struct{}, 1),
	}
	u.about.Store(&about{memory: newMemory(maxRemembered)})
	return u
}

// Version is Dagster's version, "1.13.27"; empty before the first Learn.
func (u *Upstream) Version() string { return u.about.Load().version }

// Schema is the GraphQL schema that the webserver announced; nil before the first Learn.
func (u *Upstream) Schema() *graphql.Schema { return u.about.Load().schema }

// Permissions are Dagster's names of all that one may be allowed to do; nil before the first Learn.
func (u *Upstream) Permissions() []identity.Permission {
	return slices.Clone(u.about.Load().permissions)
}

// Learn asks the webserver for its version, schema and permissions; base is its root, path prefix included. On an error what
// was known stays.
func (u *Upstream) Learn(ctx context.Context, base *url.URL) error {
	version, err := u.askVersion(ctx, base)
	if err != nil {
		return fmt.Errorf("asking Dagster for its version: %w", err)
	}
	schema, sum, err := u.askSchema(ctx, base)
	if err != nil {
		return fmt.Errorf("asking Dagster for its GraphQL schema: %w", err)
	}
	permissions, err := u.askPermissions(ctx, base)
	if err != nil {
		return fmt.Errorf("asking Dagster for its permissions: %w", err)
	}
	unknown := unknownMutations(schema)
	u.say(version, unknown)
	u.about.Store(&about{
		version: version, schema: schema, schemaSum: sum, permissions: permissions, unknown: fmt.Sprint(unknown), memory: newMemory(maxRemembered),
	})
	return nil
}

func unknownMutations(schema *graphql.Schema) []string {
	var unknown []string
	for _, field := range schema.MutationFields() {
		if !policy.Known(field) {
			unknown = append(unknown, field)
		}
	}
	return unknown
}

// say logs, once for each list of them, the mutations that the policy does not name, and once for each version that it was
// never tested.
func (u *Upstream) say(version string, unknown []string) {
	before := u.about.Load()
	if len(unknown) > 0 && before.unknown != fmt.Sprint(unknown) {
		u.log.Warn().Strs("mutations", unknown).Str("dagster_version", version).
			Msg("this Dagster has mutations that AuthKit does not know: they need the admin role")
	}
	if version != before.version && newer(version, newestTested()) {
		u.log.Info().Msgf("Dagster %s is newer than the newest tested, %s: AuthKit works by the schema that it announces",
			version, newestTested())
	}
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

// askSchema gives the same Schema as before when Dagster's answer is the same, since others keep what they made of it.
func (u *Upstream) askSchema(ctx context.Context, base *url.URL) (*graphql.Schema, [sha256.Size]byte, error) {
	body, err := u.post(ctx, base, graphql.Request{Query: graphql.IntrospectionQuery()})
	if err != nil {
		return nil, [sha256.Size]byte{}, err
	}
	sum := sha256.Sum256(body)
	if before := u.about.Load(); before.schema != nil && before.schemaSum == sum {
		return before.schema, sum, nil
	}
	schema, err := graphql.ParseIntrospection(body)
	return schema, sum, err
}

func (u *Upstream) askPermissions(ctx context.Context, base *url.URL) ([]identity.Permission, error) {
	data, err := u.query(ctx, base, "query AuthKitPermissions { permissions { permission } }", nil)
	if err != nil {
		return nil, err
	}
	var all []struct {
		Permission identity.Permission `json:"permission"`
	}
	if err := decode(data["permissions"], &all); err != nil {
		return nil, err
	}
	names := make([]identity.Permission, 0, len(all))
	for _, p := range all {
		names = append(names, p.Permission)
	}
	if len(names) == 0 || slices.Contains(names, "") {
		return nil, unexpected("the permissions", "none")
	}
	return names, nil
}

// query asks a GraphQL question and gives the fields of the answer. An answer with errors is one.
func (u *Upstream) query(ctx context.Context, base *url.URL, document string, variables map[string]any) (map[string]json.RawMessage, error) {
	text, err := json.Marshal(variables)
	if err != nil {
		return nil, err
	}
	body, err := u.post(ctx, base, graphql.Request{Query: document, Variables: text})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data   map[string]json.RawMessage `json:"data"`
		Errors []json.RawMessage          `json:"errors"`
	}
	if err := decode(body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Errors) > 0 || answer.Data == nil {
		return nil, unexpected("the answer", "errors") // their text may hold more than a log should
	}
	return answer.Data, nil
}

func (u *Upstream) post(ctx context.Context, base *url.URL, question graphql.Request) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("graphql").String(), bytes.NewReader(question.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return u.ask(request)
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
