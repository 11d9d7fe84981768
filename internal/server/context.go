package server

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// client is where a request came from, after trusted proxies were seen through.
type client struct {
	RequestID string
	Address   netip.Addr
	Secure    bool   // it came by TLS
	Host      string // the host that the browser asked for
}

// judged is a request together with what was decided of it.
type judged struct {
	// Operation is nil for everything that is not GraphQL to be executed.
	Operation *graphql.Operation
	// Request is what goes on to Dagster for the operation: signed with the person's name, and asking for what Rewriting
	// needs, where there is one.
	Request   graphql.Request
	Rewriting *graphql.Rewriting
	Decision  policy.Decision
	// Audited says that the trail keeps it: mutations, REST writes and downloads.
	Audited bool
	// Targets are what the arguments name, for the trail.
	Targets map[string][]string
}

type contextKey int

const (
	clientKey contextKey = iota
	pathKey
	askerKey
	judgedKey
)

func with[T any](ctx context.Context, key contextKey, value T) context.Context {
	return context.WithValue(ctx, key, value)
}

func from[T any](ctx context.Context, key contextKey) T {
	value, _ := ctx.Value(key).(T)
	return value
}

func clientFrom(ctx context.Context) client     { return from[client](ctx, clientKey) }
func pathFrom(ctx context.Context) dagster.Path { return from[dagster.Path](ctx, pathKey) }

// asks is who asks; before the session's layer, nobody.
func asks(ctx context.Context) *asker {
	if who := from[*asker](ctx, askerKey); who != nil {
		return who
	}
	return &asker{}
}

func identityFrom(ctx context.Context) identity.Identity { return asks(ctx).Identity }
func sessionFrom(ctx context.Context) identity.Session   { return asks(ctx).session }

// presentedFrom is nil for those who have a session.
func presentedFrom(ctx context.Context) *auth.Presented { return asks(ctx).presented }

func judgedFrom(ctx context.Context) judged { return from[judged](ctx, judgedKey) }

// Secure reports whether the client came by TLS, as far as trusted proxies tell. It holds within the server's own chain.
func Secure(r *http.Request) bool { return clientFrom(r.Context()).Secure }

// RequestID is the ID of the request that the context belongs to; empty outside of one.
func RequestID(ctx context.Context) string { return clientFrom(ctx).RequestID }

func logFrom(ctx context.Context) *zerolog.Logger { return zerolog.Ctx(ctx) }
