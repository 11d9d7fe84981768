package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/proxy"
	"dagster-authkit/internal/ratelimit"
	"dagster-authkit/internal/server"
	"dagster-authkit/internal/store"
	"dagster-authkit/web"
)

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
	vouching := a.ways.knowing()
	if cfg.TokenOwnerAge > 0 {
		vouching = append(vouching, config.BackendOIDC, config.BackendHeader)
	}
	m.programs, err = token.NewKeeper(token.Options{
		Rows: a.store, Roles: roles, Backends: cfg.Backends, Static: staticToken(cfg), Log: a.log,
		Confirm:  confirm(a.ways.refresh(a.store), a.ways.knowing(), a.store, cfg.TokenOwnerAge),
		Vouching: vouching, ConfirmInterval: cfg.RefreshInterval,
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
		Policy: m.rules, Places: m.where, RunUserTag: cfg.RunUserTag, SocketLimit: cfg.SocketLimit, ReportOnly: cfg.ReportOnly,
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
	var headers []string
	if cfg.ServiceToken.IsSet() && !strings.EqualFold(cfg.ServiceTokenHeader, "Authorization") {
		headers = append(headers, cfg.ServiceTokenHeader) // Authorization may be meant for a server between AuthKit and Dagster
	}
	if cfg.Has(config.BackendHeader) {
		headers = append(headers, cfg.Proxy.Headers()...)
	}
	return headers
}

func limits(cfg config.Config) graphql.Limits {
	l := graphql.DefaultLimits()
	l.Body = cfg.MaxBody
	return l
}
