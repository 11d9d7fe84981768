package server

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/ratelimit"
)

// Sessions says who is signed in. ErrNone of package session means nobody; every other error is a fault of the store, or of a
// backend that has to vouch for the person, which must never look like nobody.
type Sessions interface {
	Load(r *http.Request) (identity.Identity, identity.Session, error)
	Start(w http.ResponseWriter, r *http.Request, user identity.User, address string, by identity.Voucher) (identity.Session, error)
	End(w http.ResponseWriter, r *http.Request) (identity.Identity, error)
	// Voucher is what ties the request's session to the provider that began it, if one did.
	Voucher(r *http.Request) (identity.Voucher, error)
	// Clear takes the cookie away from a browser whose session is gone; it does nothing when none was sent.
	Clear(w http.ResponseWriter, r *http.Request)
}

// Activity follows a session while it lives.
type Activity interface {
	// Holds reports whether whoever was found behind the session would be found so again. False may also mean that it can't
	// be told from the session alone.
	Holds(ctx context.Context, session identity.Session, id identity.Identity) bool
	// Touch notes that a person, not a polling tab, did something.
	Touch(ctx context.Context, session identity.Session) error
	// Watch returns a channel that is closed when the session ended or its role changed.
	Watch(ctx context.Context, session identity.Session, id identity.Identity) <-chan struct{}
	// WatchUser is Watch for somebody without a session, whom look gives as they are later.
	WatchUser(ctx context.Context, look func(context.Context) (identity.User, error), id identity.Identity) <-chan struct{}
}

// Accounts is what signing in needs of the rules for users.
type Accounts interface {
	// SignedIn notes a sign-in and returns the account, made now if its backend keeps its users elsewhere.
	SignedIn(ctx context.Context, user identity.User) (identity.User, error)
	HasUsers(ctx context.Context) (bool, error)
	// LostRole notes that the backend gives the account of that ID no role any more; one that is not known is no error.
	LostRole(ctx context.Context, id string) error
	// HasLocal reports whether there is a local user of that name.
	HasLocal(ctx context.Context, name string) (bool, error)
}

// Attempts limits sign-in attempts.
type Attempts interface {
	// Take counts an attempt before its password is looked at; a positive duration says when to come back.
	Take(ctx context.Context, account, address string) (retryAfter time.Duration, err error)
	Succeeded(ctx context.Context, account, address string) error
	// GiveBack takes back an attempt whose password nobody looked at.
	GiveBack(ctx context.Context, account, address string) error
}

// Requests limits how many requests one identity may send.
type Requests interface {
	Allow(key string, now time.Time) (retryAfter time.Duration)
}

// Trail is the audit trail. Record returns an error when the event could not be stored; a client that leaves meanwhile
// does not keep it from being stored.
type Trail interface {
	Record(ctx context.Context, event audit.Event) error
}

// Dagster is the way to the running dagster-webserver and back.
type Dagster interface {
	// Forward sends the request on as it stands, with identity headers written afresh.
	Forward(w http.ResponseWriter, r *http.Request, sender Sender)
	// Stream joins a client's WebSocket with Dagster's, and returns once that is done or has failed.
	Stream(w http.ResponseWriter, r *http.Request, sender Sender, socket Socket)
}

// Socket is a WebSocket that outlives its request. It is open until one of its ends closes it, Context ends or Gone is closed;
// then, or when it could not be opened, Closed is called once. All messages go through Talk.
type Socket struct {
	Context context.Context
	Talk    Talk
	Gone    <-chan struct{}
	Closed  func()
}

// Talk is what is said on one WebSocket. The two directions are called at the same time, each for one message after another;
// an error closes the socket.
type Talk interface {
	// FromClient returns what to send on to Dagster in the message's place, or what to answer instead.
	FromClient(ctx context.Context, message []byte) (forward, answer []byte, err error)
	// Rewrites says whether the next message of Dagster has to go through FromDagster; else it is streamed as it is.
	Rewrites() bool
	FromDagster(message []byte) ([]byte, error)
}

// Places tells where things live and where runs come from, by asking Dagster.
type Places interface {
	policy.Dagster
	// AssetLocations is the whole asset graph: where each asset is defined.
	AssetLocations(ctx context.Context) (func(path []string) []string, error)
	// Parents are the tags that re-executions by a run's ID inherit.
	Parents(ctx context.Context, op *graphql.Operation) (dagster.Parents, error)
}

// Sender is whom Dagster is told a request is from.
type Sender struct {
	User, Email string
	Groups      []string
	// For, Proto and Host are the client's address, "http" or "https", and the host that the client asked for.
	For, Proto, Host string
	// DropCredentials says that the request's own headers hold a secret of AuthKit's.
	DropCredentials bool
	Turn            Turn
}

// Upstream tells how the dagster-webserver behind us is.
type Upstream interface {
	Status() UpstreamStatus
	Schema() *graphql.Schema
	// Answers reports whether Dagster answers now, or has within the last second. It is ready until it is known to have ended, and
	// may hang.
	Answers(ctx context.Context) bool
}

// UpstreamStatus is the part of the health answer that is about Dagster.
type UpstreamStatus struct {
	Ready          bool      `json:"ready"`
	State          string    `json:"state"`
	Since          time.Time `json:"since,omitzero"` // when it came into this state
	PID            int       `json:"pid,omitempty"`
	Restarts       int       `json:"restarts"`
	DagsterVersion string    `json:"dagster_version,omitempty"`
	LastExit       string    `json:"last_exit,omitempty"` // how the one before ended: "signal: killed"
}

// Database tells whether the store answers.
type Database interface {
	Ping(ctx context.Context) error
	CountSessions(ctx context.Context) (int, error)
}

// Options of a Server. All parts are required, unless they say otherwise.
type Options struct {
	Prefix         string // without a trailing slash
	ExternalURL    *url.URL
	TrustedProxies []netip.Prefix
	MetricsToken   string // empty: metrics answer loopback addresses only
	Version        string
	Limits         graphql.Limits
	Web            fs.FS  // holds templates and static
	RunUserTag     string // the tag of a run that names who launched it; empty: none
	SocketLimit    int    // WebSockets of one identity; 0 is no limit
	ReportOnly     bool   // decide and write down, but let everybody who is signed in do everything

	Policy *policy.Policy
	Places Places

	// Backend checks names and passwords; nil: nobody signs in with one. Backends are the names of all ways to sign in, and
	// Vouching those of them that are asked again later about the people whom they signed in.
	Backend  auth.Backend
	Backends []string
	Vouching []string
	Contact  string // whom to ask for a role; may be empty
	// Providers are the ways to sign in on somebody else's page; nil: there are none. Endings is needed with them.
	Providers Providers
	Endings   Endings
	// SecureCookie decides on the Secure attribute of the cookies that a sign-in at a provider needs; nil: as the client came.
	SecureCookie func(*http.Request) bool
	// Presented are asked about each request, in this order, before a session is looked for; there may be none.
	Presented []Presenter
	// LogoutURL is where those sign out whom a Presenter names: a URL, or a path of this host; empty: nobody knows.
	LogoutURL string

	Sessions Sessions
	Activity Activity
	Accounts Accounts
	Attempts Attempts
	Requests Requests
	Trail    Trail
	Dagster  Dagster
	Upstream Upstream
	Database Database
	Registry *prometheus.Registry
	Log      zerolog.Logger
}

// Server answers every request of the listener.
type Server struct {
	Options

	prefix     string
	origin     origin
	protection *http.CrossOriginProtection
	pages      *pages
	assets     *assets
	metrics    *metrics
	started    time.Time
	limited    *ratelimit.Requests // how often a refused attempt is written down
	refusals   *ratelimit.Requests // how often an address may present what is no good
	heavy      sync.Mutex          // held while a large body is read
	compress   func(http.Handler) http.Handler
	documents  *graphql.Documents
	greeted    greetings
	sockets    counts       // WebSockets that are open
	bodies     counts       // large bodies that are being read
	again      http.Handler // judges a request anew whose sender's rights changed while it waited
	log        zerolog.Logger
}

// keptDocuments is how many bytes of GraphQL text are kept parsed. All of the UI's documents of 1.13 together have 0.4 MB.
const keptDocuments = 1 << 20

// New returns a Server that is ready to answer; pages or files that are missing stop it here.
func New(o Options) (*Server, error) {
	static, err := fs.Sub(o.Web, "static")
	if err != nil {
		return nil, fmt.Errorf("opening the static files: %w", err)
	}
	files, err := newAssets(static, o.Prefix)
	if err != nil {
		return nil, fmt.Errorf("reading the static files: %w", err)
	}
	rendered, err := newPages(o.Web, files, o.Prefix, o.LogoutURL)
	if err != nil {
		return nil, fmt.Errorf("reading the templates: %w", err)
	}
	if o.SecureCookie == nil {
		o.SecureCookie = Secure
	}
	s := &Server{
		Options: o, prefix: o.Prefix, origin: origin{trusted: o.TrustedProxies, external: o.ExternalURL},
		protection: http.NewCrossOriginProtection(), pages: rendered, assets: files, started: time.Now(), log: o.Log,
	}
	s.documents = graphql.NewDocuments(o.Limits, keptDocuments)
	s.metrics = newMetrics(o.Registry, s)
	if s.limited, err = ratelimit.NewRequests(1.0/60, 1); err != nil {
		return nil, fmt.Errorf("limiting what is written down: %w", err)
	}
	if s.refusals, err = ratelimit.NewRequests(refusalsPerSecond, refusalsAtOnce); err != nil {
		return nil, fmt.Errorf("limiting refused credentials: %w", err)
	}
	if s.compress, err = newCompress(); err != nil {
		return nil, err
	}
	return s, nil
}

// MenuScript is the address of the user menu's script, for the proxy to put into Dagster's page.
func (s *Server) MenuScript() string { return s.assets.URL("menu.js") }

// Handler is the whole chain, outermost layer first.
func (s *Server) Handler() http.Handler {
	judged := chain(http.HandlerFunc(s.enforce), s.authorize, s.audit)
	s.again = s.session(judged)
	dagster := chain(judged, s.session, s.rateLimit, s.ready, s.compress, s.body)
	return chain(s.split(s.ours(), dagster), s.trace, s.recover, s.route, s.crossOrigin)
}

// chain wraps h so that the first layer is the outermost.
func chain(h http.Handler, layers ...func(http.Handler) http.Handler) http.Handler {
	for _, layer := range slices.Backward(layers) {
		h = layer(h)
	}
	return h
}
