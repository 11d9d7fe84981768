package proxy

import (
	"cmp"
	"context"
	"net/http"
	"sync"
)

const (
	// defaultShared bounds an answer that is kept to be given to several: the asset graph of some thousand assets.
	defaultShared = 16 << 20
	// sharedAtOnce is how many answers of that size may be kept at a time, while slow readers are still reading theirs.
	sharedAtOnce = 4
	// maxQuery bounds the queries that are compared with others, in bytes; the UI's longest has some 10 KB.
	maxQuery = 64 << 10
)

// Turn says how a request goes to Dagster beside the others. The server decides, the Coalescer does.
type Turn struct {
	// Identity is in whose name the request waits for its place at Dagster. Empty: it takes none, as long streams do.
	Identity string
	// Query is the request's whole body, in its canonical form, when it is a GraphQL query and so may be shared with everyone
	// who asks the same. Empty for everything else. A request that could change something and has no Query is a write.
	Query []byte
	// Still is asked whether the right to the request still holds, as the time in the queue, and in Dagster, may be long: of
	// a write before it is sent, of everything else when the answer is there and before any of it is given out. Its error
	// ends the request. nil: no question.
	Still func() error
}

type turnKey struct{}

// WithTurn hands t to the Coalescer. A request without one takes no place and is asked by itself.
func WithTurn(ctx context.Context, t Turn) context.Context {
	return context.WithValue(ctx, turnKey{}, t)
}

// CoalesceOptions are what a Coalescer is made of.
type CoalesceOptions struct {
	// Transport is the way to Dagster; nil makes one with a pool of its own, and a quicker one for the queries that may be
	// shared.
	Transport http.RoundTripper
	// Acquire waits for a place at Dagster, as Queue.Acquire does; nil: everybody has one.
	Acquire func(ctx context.Context, identity string) (release func(), err error)
	// Apart asks each query by itself.
	Apart bool
	// MaxShared bounds an answer that is shared, in bytes; 0 is 16 MiB. Whoever waits for a larger one asks by themselves.
	MaxShared int64
}

// Coalescer is the way to Dagster on which the same query is not asked twice at a time. It is a RoundTripper, so that each
// request keeps its own proxy before it: only the answer's status, type and bytes are shared.
//
// The rule that nobody reads from before their own write: a query joins only a flight that is still waiting to be sent, or
// that was sent after the last write had ended that ended before the query came. The generation counts the ends of
// writes. It moves before the first byte of a write's answer is given out, so whoever was told that it is done asks in
// a later generation than anything that was sent before. It need not move when a write begins: until somebody is told, both
// the world before and the world after are true answers. As Dagster goes on with a write whose client has left, so does the
// Coalescer (see write): the end that counts is Dagster's.
type Coalescer struct {
	transport http.RoundTripper
	queries   http.RoundTripper // the way of what may be shared
	acquire   func(context.Context, string) (func(), error)
	apart     bool
	maxShared int64

	mu         sync.Mutex
	generation uint64
	flights    map[flightKey]*flight // those that may be joined; an older one with the same key has no entry
	budget     int64                 // bytes that may yet be kept to be shared
	count      CoalesceCount
}

// CoalesceCount counts for metrics: Asked are the queries that could have been shared, Joined those of them that found the
// same one under way.
type CoalesceCount struct{ Asked, Joined uint64 }

// NewCoalescer returns a Coalescer with nothing in flight.
func NewCoalescer(o CoalesceOptions) *Coalescer {
	c := &Coalescer{
		transport: o.Transport, queries: o.Transport, acquire: o.Acquire, apart: o.Apart,
		maxShared: cmp.Or(max(o.MaxShared, 0), defaultShared), flights: map[flightKey]*flight{},
	}
	if c.transport == nil {
		pool := newTransport()
		c.transport, c.queries = pool, newDirect(pool)
	}
	if c.acquire == nil {
		c.acquire = func(context.Context, string) (func(), error) { return func() {}, nil }
	}
	c.budget = sharedAtOnce * c.maxShared
	return c
}

// Count is for metrics.
func (c *Coalescer) Count() CoalesceCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// RoundTrip sends req, or waits for the answer to the same query. It returns Acquire's error, Still's, or the transport's.
func (c *Coalescer) RoundTrip(req *http.Request) (*http.Response, error) {
	turn, told := req.Context().Value(turnKey{}).(Turn)
	switch {
	case c.mayShare(req, turn):
		return c.join(req, turn)
	case !told && safe(req.Method):
		return c.transport.RoundTrip(req)
	case len(turn.Query) > 0 || safe(req.Method):
		return c.alone(req, turn)
	}
	return c.write(req, turn)
}

// mayShare leaves those alone who carry credentials on, for a server that stands between us and Dagster: what they may see is
// not for us to say.
func (c *Coalescer) mayShare(req *http.Request, turn Turn) bool {
	return len(turn.Query) > 0 && len(turn.Query) <= maxQuery && req.Method == http.MethodPost && !c.apart &&
		req.Header["Authorization"] == nil && req.Header["Dagster-Cloud-Api-Token"] == nil
}

// CloseIdleConnections passes on what http.Client asks of a transport.
func (c *Coalescer) CloseIdleConnections() {
	if t, ok := c.queries.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// alone sends a request that shares nothing but the queue.
func (c *Coalescer) alone(req *http.Request, turn Turn) (*http.Response, error) {
	release, err := c.placeOf(req.Context(), turn.Identity)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		release()
		return nil, err
	}
	return still(turn, endsWith(resp, release))
}

// place waits for a place, if the request takes any.
func (c *Coalescer) place(ctx context.Context, identity string) (release func(), err error) {
	if identity == "" {
		return func() {}, nil
	}
	return c.acquire(ctx, identity)
}

// placeOf is a place that is given back by the end of the client's request, too.
func (c *Coalescer) placeOf(ctx context.Context, identity string) (release func(), err error) {
	leave, err := c.place(ctx, identity)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, leave)
	return func() {
		stop()
		leave()
	}, nil
}

// join waits for the answer of a flight, its own or one under way.
func (c *Coalescer) join(req *http.Request, turn Turn) (*http.Response, error) {
	f := c.board(req, turn)
	select {
	case <-f.landed:
	case <-req.Context().Done():
		c.leave(f)
		closeBody(req)
		return nil, req.Context().Err()
	}
	if f.outcome.resp == nil {
		c.leave(f)
		closeBody(req)
		return nil, f.outcome.failure()
	}
	closeBody(req)
	resp := c.take(f, req)
	if resp == nil {
		c.leave(f)
		own := f.request().WithContext(req.Context()) // req's headers are the client's: the proxy has not cleaned them
		return c.alone(own, turn)
	}
	return still(turn, resp)
}
