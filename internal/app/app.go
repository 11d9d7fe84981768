// Package app is the whole program on one page: New builds the parts in order, Run runs them and stops them in the reverse
// order. It is called by the server command, and by nothing else.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/proxy"
	"dagster-authkit/internal/ratelimit"
	"dagster-authkit/internal/server"
	"dagster-authkit/internal/session"
	"dagster-authkit/internal/store"
	"dagster-authkit/internal/supervisor"
	"dagster-authkit/web"
)

// Options of an App.
type Options struct {
	Config   config.Config
	Warnings []config.Warning
	Version  string
	Stdout   io.Writer // audit events only
	Stderr   io.Writer // AuthKit's log and the child's output
}

// App is the program, built and not yet running.
type App struct {
	cfg      config.Config
	log      zerolog.Logger
	store    *store.Store
	ways     *backends
	sessions *session.Manager
	trail    *audit.Trail
	webserver
	roles    *roleCheck
	handler  http.Handler
	listener net.Listener
}

// Serve builds the program and runs it until ctx ends; a value on atOnce cuts stopping short.
func Serve(ctx context.Context, o Options, atOnce <-chan struct{}) error {
	// First of all: from here on, no process of the same user can read our memory or environment.
	if err := supervisor.ClearDumpable(); err != nil {
		return fmt.Errorf("keeping other processes out of this one: %w", err)
	}
	// Whoever read our stdout or stderr may leave: then lines are lost, and counted. Without this Go would end the program.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)
	a, err := New(ctx, o)
	if err != nil {
		return err
	}
	return a.Run(ctx, atOnce)
}

// ExitCode is the one place that turns the end of Serve into an exit code: the child's own when it was never ready.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*supervisor.ExitError](err); ok {
		return exit.Code
	}
	if _, ok := errors.AsType[misfitError](err); ok || errors.Is(err, store.ErrNewerSchema) {
		return 2
	}
	return 1
}

// New builds every part in order. When one fails, those before it are closed again and nothing has been started.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{cfg: o.Config, log: newLog(o.Stderr, o.Config.LogLevel)}
	for _, warning := range o.Warnings {
		a.log.Warn().Msg(string(warning))
	}
	if err := a.build(ctx, o); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// build makes the parts in order: what is stored, who there is, how they are told apart, Dagster, and the front before it.
func (a *App) build(ctx context.Context, o Options) error {
	m := made{version: o.Version, registry: prometheus.NewRegistry()}
	if err := a.buildStore(ctx, o.Stdout, m.registry); err != nil {
		return err
	}
	roles, rules, err := newPolicy(a.cfg)
	if err != nil {
		return err
	}
	m.rules = rules
	if err := a.buildPeople(ctx, roles, &m); err != nil {
		return err
	}
	// The port is taken before the child is started: a busy one is found out at once.
	if a.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Address()); err != nil {
		return fmt.Errorf("listening on %s: %w: choose another port with -p, or end the program that has it", a.cfg.Address(), err)
	}
	a.roles = newRoleCheck(roles, a.log)
	if a.webserver, m.where, err = newWebserver(a.cfg, o.Stderr, a.log, a.roles.learned); err != nil {
		return err
	}
	return a.buildFront(m)
}

// made are the parts that the front alone is made of: the App has no use for them after it.
type made struct {
	version  string
	registry *prometheus.Registry
	rules    *policy.Policy
	users    *accounts.Service
	programs *token.Keeper
	where    *places
}

// buildStore opens the database and the audit trail.
func (a *App) buildStore(ctx context.Context, stdout io.Writer, registry *prometheus.Registry) (err error) {
	cfg := a.cfg
	if cfg.ChildUser != "" && !cfg.Postgres() {
		if err := keptFrom(cfg.ChildUser, cfg.Database); err != nil {
			return err
		}
	}
	if a.store, err = store.Open(ctx, store.Options{
		URL: cfg.DatabaseSource(), Schema: cfg.DatabaseSchema, MaxConnections: cfg.DatabaseConnections, Log: a.log,
	}); err != nil {
		return err
	}
	registerPool(registry, a.store)
	a.trail, err = newTrail(a.store, cfg, stdout, registry, a.log)
	return err
}

// buildPeople makes the accounts, the ways to sign in, sessions and tokens.
func (a *App) buildPeople(ctx context.Context, roles *policy.Roles, m *made) (err error) {
	cfg := a.cfg
	passwords := auth.NewPasswords()
	if m.users, err = accounts.New(accounts.Options{
		Users: a.store, Sessions: a.store, Tokens: a.store, Attempts: a.store, Passwords: passwords, Published: a.trail.Line, Roles: roles,
	}); err != nil {
		return err
	}
	if err := bootstrap(ctx, m.users, a.store, cfg, a.log); err != nil {
		return err
	}
	key, err := secretKey(cfg)
	if err != nil {
		return err
	}
	if a.ways, err = newBackends(a.store, passwords, roles, key, cfg, a.log); err != nil {
		return err
	}
	if a.sessions, err = newSessions(a.store, a.trail, a.ways.refresh(a.store), key, cfg, a.log); err != nil {
		return err
	}
	m.programs, err = token.NewKeeper(token.Options{
		Rows: a.store, Roles: roles, Backends: cfg.Backends, Static: staticToken(cfg), Log: a.log,
		Confirm: confirm(a.ways.refresh(a.store)), Vouching: a.ways.knowing(), ConfirmInterval: cfg.RefreshInterval,
	})
	return err
}

// buildFront makes the server and the door behind it.
func (a *App) buildFront(m made) error {
	cfg := a.cfg
	signInLimit, err := newSignInLimit(a.store, cfg)
	if err != nil {
		return err
	}
	requestLimit, err := ratelimit.NewRequests(float64(cfg.RequestLimit), 2*cfg.RequestLimit)
	if err != nil {
		return err
	}
	door := &door{}
	front, err := server.New(server.Options{
		Prefix: cfg.PathPrefix, ExternalURL: cfg.ExternalURL, TrustedProxies: cfg.TrustedProxies,
		MetricsToken: cfg.MetricsToken.Reveal(), Version: m.version, Limits: limits(cfg), Web: web.Files,
		Policy: m.rules, Places: m.where, RunUserTag: cfg.RunUserTag, ReportOnly: cfg.ReportOnly,
		Backend: a.ways.serverBackend(), Providers: a.ways.serverProviders(), Endings: m.users, SecureCookie: secure(cfg),
		Backends: cfg.Backends, Vouching: a.ways.vouching(), Contact: cfg.Contact,
		Presented: append([]server.Presenter{m.programs}, a.ways.presenters...), LogoutURL: cfg.Proxy.LogoutURL,
		Sessions: a.sessions, Activity: a.sessions, Accounts: signIns{a.store},
		Attempts: signInLimit, Requests: requestLimit,
		Trail: a.trail, Dagster: door, Upstream: a.webserver, Database: a.store, Registry: m.registry, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.handler = front.Handler()
	return a.open(door, front, m.registry)
}

// open gives the door its ways to Dagster: the server had to be there first, since it answers when Dagster does not.
func (a *App) open(d *door, front *server.Server, registry *prometheus.Registry) (err error) {
	if d.proxy, err = proxy.New(proxy.Options{
		Target: a.Target, Prefix: a.cfg.PathPrefix, MenuScript: front.MenuScript(),
		CookieNames: a.sessions.CookieNames(), IdentityHeaders: identityHeaders(a.cfg), MessageLimit: a.cfg.MaxBody, Log: a.log,
		Transport: newWay(a.cfg, registry),
		Error: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, proxy.ErrOverloaded) {
				front.Overloaded(w, r)
				return
			}
			front.UpstreamFailed(w, r, err, errors.Is(err, proxy.ErrUnavailable))
		},
	}); err != nil {
		return err
	}
	d.static, err = proxy.NewStatic(proxy.StaticOptions{
		Target: a.Target, Version: func() string { return a.Status().DagsterVersion }, Prefix: a.cfg.PathPrefix,
		Size: a.cfg.StaticCacheSize, Log: a.log,
	})
	return err
}

// identityHeaders never reach Dagster from a client.
func identityHeaders(cfg config.Config) []string {
	if !cfg.Has(config.BackendHeader) {
		return nil
	}
	return cfg.Proxy.Headers()
}

func limits(cfg config.Config) graphql.Limits {
	l := graphql.DefaultLimits()
	l.Body = cfg.MaxBody
	return l
}

// headerTimeout bounds how long a client may take over its request line and headers (Slowloris), idleTimeout how long a
// silent connection is kept, and maxHeader how much it may send before anybody knows who it is. Answers have no limit in
// time: a log download or a subscription may run for hours.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// Run serves until ctx ends, then stops in the order of design.md: no new requests, drain, close WebSockets, stop the child,
// flush the audit trail, close the database. A value on atOnce cuts the waiting short. It returns the child's ExitError when
// the child failed before it was ever ready.
func (a *App) Run(ctx context.Context, atOnce <-chan struct{}) error {
	defer a.close()
	// Each group of goroutines ends when its context does; they are ended one after the other.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	child, endChild := context.WithCancel(context.WithoutCancel(ctx))
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	defer endChild()
	defer endBackground()

	front := &http.Server{
		Handler: a.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return server.WithStop(requests) },
		ErrorLog:    serverLog(a.log),
	}
	var helpers errgroup.Group
	helpers.Go(func() error { return a.trail.Run(background) })
	helpers.Go(func() error { return a.sessions.Run(background) })
	helpers.Go(func() error { return a.sweepAttempts(background) })
	helpers.Go(func() error { return a.sweepTokens(background) })
	helpers.Go(func() error { return tidyUp(background) })
	helpers.Go(func() error { return a.sweepAudit(background) })
	ended := make(chan error, 2)
	go func() { ended <- a.webserver.Run(child) }()
	served := make(chan error, 1)
	go func() { served <- front.Serve(a.listener) }()
	a.announce()

	var failure error
	childEnded := false
	select {
	case <-ctx.Done():
		a.log.Info().Dur("grace_ms", a.cfg.ShutdownGrace).Msg("stopping")
	case failure = <-ended:
		childEnded = true
	case failure = <-served:
	case failure = <-a.roles.misfit:
	}
	go func() {
		select {
		case <-atOnce:
			_ = front.Close()
			a.Kill()
		case <-background.Done():
		}
	}()
	drain(front, a.cfg.ShutdownGrace/2)
	endRequests()
	endChild()
	if !childEnded {
		failure = errors.Join(failure, <-ended)
	}
	endBackground()
	failure = errors.Join(failure, ignoreCancelled(helpers.Wait()))
	return failure
}

// drain lets running answers end, and cuts those that take longer than the time given.
func drain(front *http.Server, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := front.Shutdown(ctx); err != nil {
		_ = front.Close()
	}
}

func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// close gives back what New opened, last first. The trail is flushed while the database still stands.
func (a *App) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if a.listener != nil {
		_ = a.listener.Close()
	}
	if a.ways != nil && a.ways.close != nil {
		a.ways.close()
	}
	if a.trail != nil {
		if err := a.trail.Close(ctx); err != nil {
			a.log.Warn().Err(err).Msg("flushing the audit trail failed")
		}
	}
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.log.Warn().Err(err).Msg("closing the database failed")
		}
	}
}

// newLog writes for people on a terminal and JSON elsewhere, always to stderr: stdout belongs to the audit events.
func newLog(stderr io.Writer, level zerolog.Level) zerolog.Logger {
	out := stderr
	if file, ok := stderr.(*os.File); ok && isTerminal(file) {
		out = zerolog.ConsoleWriter{Out: stderr, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}
