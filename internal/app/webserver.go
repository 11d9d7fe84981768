package app

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/config"
	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/proxy"
	"dagster-authkit/internal/server"
	"dagster-authkit/internal/supervisor"
)

// webserver is the dagster-webserver behind us: our child, or one that runs elsewhere.
type webserver interface {
	server.Upstream
	// Run keeps it going, or keeps asking how it is, until ctx ends.
	Run(ctx context.Context) error
	// Kill ends it at once; it does nothing to one that is not ours.
	Kill()
	// Target is where the proxy sends requests, and whether it may.
	Target() (*url.URL, bool)
}

// learned is called each time that an upstream knows its Dagster, which is not ready while it returns an error.
type learned func(*dagster.Upstream) error

func newWebserver(cfg config.Config, stderr io.Writer, log zerolog.Logger, then learned) (webserver, *places, error) {
	about := dagster.New(dagster.Options{Log: log})
	learn := func(ctx context.Context, base *url.URL) error {
		if err := about.Learn(ctx, base); err != nil {
			return err
		}
		return then(about)
	}
	var server webserver
	if cfg.Upstream != nil {
		server = &remote{
			Upstream: about, learn: learn, base: cfg.Upstream,
			root: cfg.Upstream.JoinPath(cfg.PathPrefix), log: log, since: time.Now(),
		}
	} else {
		var err error
		if server, err = newChild(cfg, stderr, log, about, learn); err != nil {
			return nil, nil, err
		}
	}
	return server, &places{about: about, target: server.Target, prefix: cfg.PathPrefix}, nil
}

// places asks Dagster where things live.
type places struct {
	about  *dagster.Upstream
	target func() (*url.URL, bool)
	prefix string
}

// Locate finds the code locations of things.
func (p *places) Locate(ctx context.Context, references []policy.Reference) (policy.Located, error) {
	base, ready := p.target()
	if !ready {
		return nil, proxy.ErrUnavailable
	}
	return p.about.Locate(ctx, base.JoinPath(p.prefix), references)
}

// Runs finds runs.
func (p *places) Runs(ctx context.Context, ids []string) (map[string]policy.KnownRun, error) {
	base, ready := p.target()
	if !ready {
		return nil, proxy.ErrUnavailable
	}
	return p.about.Runs(ctx, base.JoinPath(p.prefix), ids)
}

// Parents are the tags that re-executions inherit from runs.
func (p *places) Parents(ctx context.Context, op *graphql.Operation) (dagster.Parents, error) {
	base, ready := p.target()
	if !ready {
		return nil, proxy.ErrUnavailable
	}
	return p.about.Parents(ctx, base.JoinPath(p.prefix), op)
}

// AssetLocations finds those of all assets.
func (p *places) AssetLocations(ctx context.Context) (func(path []string) []string, error) {
	base, ready := p.target()
	if !ready {
		return nil, proxy.ErrUnavailable
	}
	return p.about.AssetLocations(ctx, base.JoinPath(p.prefix))
}

// child is a dagster-webserver that we started.
type child struct {
	*dagster.Upstream
	*supervisor.Supervisor
	prefix string
}

func newChild(
	cfg config.Config, stderr io.Writer, log zerolog.Logger, about *dagster.Upstream, learn func(context.Context, *url.URL) error,
) (*child, error) {
	command, err := supervisor.Find(cfg.WebserverCommand, cfg.Executable)
	if err != nil {
		return nil, err
	}
	process, err := supervisor.New(supervisor.Options{
		Command: command, Args: cfg.ChildArgs, Prefix: cfg.PathPrefix, Port: cfg.ChildPort, User: cfg.ChildUser,
		Env: os.Environ(), Grace: cfg.ShutdownGrace, Stderr: stderr, Log: log, OnReady: learn,
	})
	if err != nil {
		return nil, err
	}
	return &child{about, process, cfg.PathPrefix}, nil
}

// Status is the child's part of the health answer.
func (c *child) Status() server.UpstreamStatus {
	state := c.State()
	return server.UpstreamStatus{
		Ready: state.Phase == supervisor.Ready, State: string(state.Phase), PID: state.PID, Restarts: state.Restarts,
		Since: state.Since, DagsterVersion: c.Version(), LastExit: state.LastExit,
	}
}

// Answers asks the child.
func (c *child) Answers(ctx context.Context) bool {
	base, ready := c.Target()
	return ready && c.Upstream.Answers(ctx, base.JoinPath(c.prefix))
}

// Target is the child's loopback address.
func (c *child) Target() (*url.URL, bool) {
	address, ready := c.Address()
	return &url.URL{Scheme: "http", Host: address}, ready
}

const (
	// remoteRetry is how often a webserver elsewhere is asked while it does not answer.
	remoteRetry = 500 * time.Millisecond
	// remoteRefresh is how often its schema is read again: we don't see it being restarted or upgraded.
	remoteRefresh = time.Minute
)

// remote is a dagster-webserver that somebody else runs. Its TLS is verified as by any Go program.
type remote struct {
	*dagster.Upstream
	learn func(context.Context, *url.URL) error
	base  *url.URL // scheme and host
	root  *url.URL // base and path prefix
	log   zerolog.Logger
	since time.Time
	ready atomic.Bool
}

// Run learns the schema, and learns it anew every minute, until ctx ends. A failure later leaves what is known in place:
// requests go on and get the proxy's own error when nobody answers.
func (r *remote) Run(ctx context.Context) error {
	for {
		wait := remoteRefresh
		if err := r.learn(ctx, r.root); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			wait = remoteRetry
			if r.ready.Load() {
				wait = remoteRefresh
			}
			r.log.Warn().Err(err).Str("upstream", r.base.Redacted()).Msg("the upstream webserver does not answer")
		} else if !r.ready.Swap(true) {
			r.log.Info().Str("dagster_version", r.Version()).Str("upstream", r.base.Redacted()).Msg("the upstream webserver is ready")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Answers asks it.
func (r *remote) Answers(ctx context.Context) bool { return r.Upstream.Answers(ctx, r.root) }

// Kill does nothing: the webserver is not ours.
func (r *remote) Kill() {}

// Status is the upstream's part of the health answer.
func (r *remote) Status() server.UpstreamStatus {
	status := server.UpstreamStatus{Ready: r.ready.Load(), State: "starting", Since: r.since, DagsterVersion: r.Version()}
	if status.Ready {
		status.State = "ready"
	}
	return status
}

// Target is the upstream's address.
func (r *remote) Target() (*url.URL, bool) { return r.base, r.ready.Load() }

// door gives the server the proxy without either knowing the other.
type door struct {
	proxy  *proxy.Proxy
	static *proxy.Static
}

// Forward sends a judged request on.
func (d *door) Forward(w http.ResponseWriter, r *http.Request, sender server.Sender) {
	if d.static.Serve(w, r) {
		return
	}
	ctx := proxy.WithForward(r.Context(), forward(sender))
	if sender.Turn.Identity != "" {
		ctx = proxy.WithTurn(ctx, proxy.Turn(sender.Turn))
	}
	d.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// Stream joins the two WebSockets.
func (d *door) Stream(w http.ResponseWriter, r *http.Request, sender server.Sender, socket server.Socket) {
	d.proxy.ServeWebSocket(w, r.WithContext(proxy.WithForward(r.Context(), forward(sender))), proxy.Socket{
		Context: socket.Context, Talk: socket.Talk, Gone: socket.Gone, Closed: socket.Closed,
	})
}

func forward(s server.Sender) proxy.Forward {
	return proxy.Forward{User: s.User, Email: s.Email, Groups: s.Groups, For: s.For, Proto: s.Proto, Host: s.Host, DropCredentials: s.DropCredentials}
}
