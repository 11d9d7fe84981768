package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/term"

	"dagster-authkit/internal/accounts"
	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/ratelimit"
	"dagster-authkit/internal/server"
	"dagster-authkit/internal/session"
	"dagster-authkit/internal/store"
)

func newTrail(rows *store.Store, cfg config.Config, out io.Writer, registry *prometheus.Registry, log zerolog.Logger) (*audit.Trail, error) {
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dagster_authkit_audit_lines_dropped_total", Help: "Audit lines that stdout did not take in time; their rows are stored.",
	})
	registry.MustRegister(dropped)
	return audit.New(audit.Options{Rows: rows, Out: out, Enabled: cfg.AuditLog, Log: log, Dropped: dropped.Inc})
}

// bootstrap makes the first admin from the environment, or says how to make one. A database that ever had a user is left
// alone: a deleted admin does not rise with the old password.
func bootstrap(ctx context.Context, users *accounts.Service, rows *store.Store, cfg config.Config, log zerolog.Logger) error {
	if !cfg.Has(config.BackendLocal) {
		return nil
	}
	if cfg.AdminPassword.IsSet() {
		made, warning, err := users.Bootstrap(ctx, cfg.AdminUser, cfg.AdminPassword.Reveal())
		if err != nil {
			return fmt.Errorf("making the first admin: %w", err)
		}
		if warning != "" && made {
			log.Warn().Str("user", cfg.AdminUser).Msg(warning)
		}
		if made {
			log.Info().Str("user", cfg.AdminUser).Msg("made the first admin from DAGSTER_AUTH_ADMIN_USER and _PASSWORD")
		}
	}
	has, err := rows.HasUsers(ctx)
	if err != nil {
		return fmt.Errorf("looking for users: %w", err)
	}
	if !has && len(cfg.Backends) == 1 {
		log.Warn().Msgf("nobody can sign in yet: make the first admin with: dagster-authkit add-user NAME --admin --db '%s'", cfg.Database)
	}
	return nil
}

// secretKey is the one that was given, or the one beside the database. Whoever uses it derives a key of their own from it.
func secretKey(cfg config.Config) ([]byte, error) {
	if cfg.SecretKey.IsSet() {
		return []byte(cfg.SecretKey.Reveal()), nil
	}
	secret, err := secretBeside(cfg.Database)
	return []byte(secret), err
}

func newSessions(
	rows *store.Store, trail *audit.Trail, refresh session.Refresh, key []byte, cfg config.Config, log zerolog.Logger,
) (*session.Manager, error) {
	return session.New(session.Options{
		Rows: rows, Key: key, MaxAge: cfg.SessionMaxAge, IdleTimeout: cfg.SessionIdleTimeout,
		CookieName: cfg.CookieName, Path: cfg.PathPrefix + "/", Secure: secure(cfg),
		SameSite: cfg.CookieSameSite, Backends: cfg.Backends, Sweep: sweep(rows),
		Refresh: refresh, RefreshInterval: cfg.RefreshInterval,
		Expired: func(ctx context.Context, s identity.Session, u identity.User, reason string) {
			event := audit.Event{
				Type: audit.EventSessionExpired, Username: u.Name, Identity: u.ID(), Session: s.PublicID(), IP: s.Address,
				RequestID: server.RequestID(ctx), Reason: reason,
			}
			if err := trail.Record(ctx, event); err != nil {
				log.Error().Err(err).Msg("storing the audit event failed")
			}
		},
		Log: log,
	})
}

// sweep gives the session manager its rows in its own words.
func sweep(rows *store.Store) session.Sweep {
	return func(ctx context.Context, now time.Time, idle time.Duration, limit int) ([]session.Ended, error) {
		sessions, users, err := rows.ExpiredSessions(ctx, now, idle, limit)
		ended := make([]session.Ended, len(sessions))
		for i := range sessions {
			ended[i] = session.Ended{Session: sessions[i], User: users[i]}
		}
		return ended, err
	}
}

// attempts gives the sign-in limit its rows in its own words.
type attempts struct{ *store.Store }

// TakeAttempt counts an attempt.
func (a attempts) TakeAttempt(ctx context.Context, attempt ratelimit.Attempt) (time.Duration, error) {
	return a.Store.TakeAttempt(ctx, store.Attempt(attempt))
}

func newSignInLimit(rows *store.Store, cfg config.Config) (*ratelimit.SignIn, error) {
	return ratelimit.NewSignIn(ratelimit.Options{
		Attempts: attempts{rows}, Limit: cfg.RateLimitAttempts, Window: cfg.RateLimitWindow, Enabled: cfg.RateLimit,
	})
}

// registerPool shows how the connections to the database are used.
func registerPool(registry *prometheus.Registry, rows *store.Store) {
	gauge := func(name, help string, read func(c store.Connections) float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return read(rows.Connections()) }))
	}
	gauge("dagster_authkit_database_connections_max", "Connections to the database that there may be.", func(c store.Connections) float64 { return float64(c.Max) })
	gauge("dagster_authkit_database_connections_in_use", "Connections to the database in use now.", func(c store.Connections) float64 { return float64(c.InUse) })
	gauge("dagster_authkit_database_connections_idle", "Connections to the database that wait for work.", func(c store.Connections) float64 { return float64(c.Idle) })
	counter := func(name, help string, read func(c store.Connections) float64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return read(rows.Connections()) }))
	}
	counter("dagster_authkit_database_connection_waits_total", "Times that a connection to the database had to be waited for.", func(c store.Connections) float64 { return float64(c.Waits) })
	counter("dagster_authkit_database_connection_wait_seconds_total", "Time spent waiting for a connection to the database.", func(c store.Connections) float64 { return c.Waited.Seconds() })
}

// signIns is what signing in needs of the accounts.
type signIns struct{ rows *store.Store }

// SignedIn notes a sign-in. An account whose users live elsewhere than in our database is made, or refreshed, first.
func (s signIns) SignedIn(ctx context.Context, user identity.User) (identity.User, error) {
	if user.RowID == 0 {
		var err error
		if user, err = s.rows.UpsertUser(ctx, user); err != nil {
			return identity.User{}, err
		}
	}
	return user, s.rows.SignedIn(ctx, user.RowID, time.Now())
}

// LostRole notes that an account has no role any more, so that its tokens do nothing.
func (s signIns) LostRole(ctx context.Context, id string) error {
	backend, subject, _ := strings.Cut(id, ":")
	return s.rows.LoseRole(ctx, backend, subject)
}

// HasLocal asks the database.
func (s signIns) HasLocal(ctx context.Context, name string) (bool, error) {
	_, err := s.rows.UserByName(ctx, config.BackendLocal, name)
	if errors.Is(err, identity.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// HasUsers asks the database.
func (s signIns) HasUsers(ctx context.Context) (bool, error) { return s.rows.HasUsers(ctx) }

// announce says what is served, where, for whom, and what is not safe about it.
func (a *App) announce() {
	cfg := a.cfg
	a.log.Info().Str("address", a.address()).Strs("backends", cfg.Backends).
		Str("database", shownDatabase(cfg)).Str("webserver", a.behind()).Msg("serving Dagster behind AuthKit")
	for _, provider := range cfg.OIDC {
		if cfg.Has(config.BackendOIDC) {
			a.log.Info().Str("provider", provider.ID).Str("redirect_uri", oidc.RedirectURI(cfg.ExternalURL.String()+cfg.PathPrefix, provider.ID)).
				Msg("register this redirect URI at the provider; dagster-authkit check-oidc says what works")
		}
	}
	if cfg.ReportOnly {
		a.log.Warn().Msg("NOT SAFE: report-only: everybody who is signed in may do everything; what their roles forbid is only written down, as WOULD_DENY in the audit trail")
	}
	if cfg.Has(config.BackendDummy) {
		a.log.Warn().Msg("NOT SAFE: the dummy backend's passwords are public (admin/admin, viewer/viewer): never use it for anything real")
	}
	if !cfg.LoopbackOnly() && !a.byTLS() {
		a.log.Warn().Msg("NOT SAFE: passwords and sessions cross the network in clear: put TLS in front " +
			"and name that proxy in DAGSTER_AUTH_TRUSTED_PROXIES or DAGSTER_AUTH_EXTERNAL_URL=https://...")
	}
	if cfg.Upstream == nil && cfg.ChildUser == "" && !cfg.Postgres() {
		a.log.Info().Msg("pipeline code runs as the same user as AuthKit and can reach its database file: see --child-user, or keep code locations elsewhere")
	}
}

// address is what was asked for, with the port that was found.
func (a *App) address() string {
	_, port, err := net.SplitHostPort(a.listener.Addr().String())
	if err != nil {
		return a.listener.Addr().String()
	}
	return "http://" + net.JoinHostPort(a.cfg.Host, port) + a.cfg.PathPrefix + "/"
}

func (a *App) behind() string {
	if a.cfg.Upstream != nil {
		return a.cfg.Upstream.Redacted()
	}
	return strings.Join(append([]string{a.cfg.WebserverCommand}, a.cfg.ChildArgs...), " ")
}

func (a *App) byTLS() bool {
	return a.cfg.CookieSecure == config.SecureAlways || len(a.cfg.TrustedProxies) > 0 ||
		a.cfg.ExternalURL != nil && a.cfg.ExternalURL.Scheme == "https"
}

// shownDatabase names the database for people.
func shownDatabase(cfg config.Config) string {
	if cfg.Postgres() {
		return cfg.Database
	}
	return absolute(cfg.Database)
}

func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) } //nolint:gosec // a descriptor fits an int

// serverLog takes what net/http says of broken handshakes and connections: rarely news.
func serverLog(logger zerolog.Logger) *log.Logger {
	return log.New(debugLines{logger}, "", 0)
}

type debugLines struct{ log zerolog.Logger }

func (d debugLines) Write(line []byte) (int, error) {
	d.log.Debug().Msg(strings.TrimSpace(string(line)))
	return len(line), nil
}

// secure decides on the cookie's Secure attribute; auto follows the request.
func secure(cfg config.Config) func(*http.Request) bool {
	return func(r *http.Request) bool {
		switch cfg.CookieSecure {
		case config.SecureAlways:
			return true
		case config.SecureNever:
			return false
		case config.SecureAuto:
		}
		return server.Secure(r)
	}
}
