// Package config reads AuthKit's settings, checks all of them at once, and hands them over as one Config that nobody
// changes afterwards. Defaults give way to the config file, that to the environment, and the environment to flags. It is called
// by cli, once per start; checking makes and changes nothing, and reads only the config file and those of *_FILE variables.
package config

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/identity"
)

// The backends that exist, by the name under which their users are stored.
const (
	BackendLocal  = "local"
	BackendLDAP   = "ldap"
	BackendOIDC   = "oidc"
	BackendHeader = "header"
	BackendDummy  = "dummy"
)

// CookieSecure says when the session cookie has the Secure attribute.
type CookieSecure string

// The values of CookieSecure. Auto is Secure for clients that came by TLS.
const (
	SecureAuto   CookieSecure = "auto"
	SecureAlways CookieSecure = "true"
	SecureNever  CookieSecure = "false"
)

// Config is every setting, valid and complete.
type Config struct {
	// File is the config file's path; empty: there is none.
	File string

	// Host and Port are where AuthKit listens. Port 0 is any free one.
	Host string
	Port int
	// PathPrefix is empty or has a leading slash and no trailing one.
	PathPrefix string
	// ExternalURL is what browsers see: scheme and host only, or nil when each request's own Host decides.
	ExternalURL *url.URL
	// TrustedProxies are the peers whose forwarding headers are believed.
	TrustedProxies []netip.Prefix

	// Backends are the ways to sign in, in the order in which they are asked.
	Backends []string
	// GroupRules are those of the config file: what the groups that a backend tells of may do here.
	GroupRules []identity.GroupRule
	// DefaultRole is the role of those whom no rule gives one; empty: they can't sign in.
	DefaultRole identity.Role
	// Contact is whom to ask for a role, as people read it.
	Contact string
	// RefreshInterval is how often a backend that keeps its users elsewhere is asked about those who are signed in.
	RefreshInterval time.Duration
	// OIDC are the OpenID Connect providers, in the order of their buttons.
	OIDC []OIDCProvider
	// OIDCUnchecked is how long somebody stays signed in whom the provider can't be asked about.
	OIDCUnchecked time.Duration
	// Proxy is how a proxy in front says who somebody is, for the backend header.
	Proxy Proxy
	// LDAP are the settings of the directory, complete when ldap is one of Backends.
	LDAP LDAP
	// AllowInsecureDummy lets the dummy backend, whose passwords are public, serve on more than loopback addresses.
	AllowInsecureDummy bool
	// Database is the path of the SQLite file, or the URL of PostgreSQL as people may see it.
	Database string
	// DatabaseURL is that of PostgreSQL, with what may be secret in it; not set: it is SQLite.
	DatabaseURL Secret
	// DatabaseSchema and DatabaseConnections are for PostgreSQL.
	DatabaseSchema      string
	DatabaseConnections int
	// AdminUser and AdminPassword make the first admin in a database that never had a user. No password: none is made.
	AdminUser     string
	AdminPassword Secret

	// SecretKey signs session tokens. Unset, one is made once and kept beside the SQLite file; with PostgreSQL it is set.
	SecretKey Secret
	// SessionMaxAge ends a session however active it is; SessionIdleTimeout ends it without activity, and 0 is never.
	SessionMaxAge      time.Duration
	SessionIdleTimeout time.Duration
	CookieName         string
	CookieSecure       CookieSecure
	// CookieSameSite is Lax or Strict.
	CookieSameSite http.SameSite

	// ServiceToken is the one token for programs that is no row of the database; unset: there is none. It is presented in
	// ServiceTokenHeader by what is called ServiceTokenUser and has ServiceTokenRole.
	ServiceToken       Secret
	ServiceTokenHeader string
	ServiceTokenUser   string
	ServiceTokenRole   identity.Role
	// TokenOwnerAge is how long a token is good whose owner's backend can't be asked about them, since that last told of them. 0: as
	// long as the token.
	TokenOwnerAge time.Duration

	// ReportOnly lets everybody who is signed in do everything, and only writes down what their roles forbid.
	ReportOnly bool
	// Roles are those of the config file, beside the built-in ones: what each may do.
	Roles map[identity.Role][]identity.Permission
	// RunUserTag is the key of the run tag that says who launched a run; empty for none.
	RunUserTag string
	// ProtectedTags are patterns of run tags' keys, in which * is any characters, that need ProtectedTagsRole, a built-in role.
	ProtectedTags     []string
	ProtectedTagsRole identity.Role

	// RateLimit turns on the limit of sign-in attempts: RateLimitAttempts in RateLimitWindow.
	RateLimit         bool
	RateLimitAttempts int
	RateLimitWindow   time.Duration
	// RequestLimit is in requests per second and identity; 0 is no limit.
	RequestLimit int
	// SocketLimit is how many WebSockets one identity may have open; 0 is no limit.
	SocketLimit int
	// MaxBody is the greatest GraphQL request body, in bytes.
	MaxBody int64
	// StaticCacheSize is how many bytes of Dagster's static files are kept in memory, compressed forms included; 0 is none.
	StaticCacheSize int64
	// Coalesce lets the same query of several be asked of Dagster once.
	Coalesce bool
	// UpstreamPlaces is how many requests may be at Dagster at once; 0 is the measured default.
	UpstreamPlaces int

	// AuditLog turns on the audit events on stdout.
	AuditLog bool
	// AuditRetention is how long audit events stay in the database; 0 is for ever.
	AuditRetention time.Duration
	LogLevel       zerolog.Level
	// MetricsToken is the bearer that reads the metrics from elsewhere; unset, only loopback addresses may.
	MetricsToken Secret

	// Upstream is a webserver that runs elsewhere, scheme and host only; nil means that AuthKit starts its own.
	Upstream *url.URL
	// UpstreamInsecure allows plain HTTP to an Upstream on another machine.
	UpstreamInsecure bool
	// WebserverCommand is the executable to start, by name or path; ChildArgs are the user's arguments for it.
	WebserverCommand string
	ChildArgs        []string
	// ChildPort is the loopback port of the child; 0 is any free one. ChildUser is empty for AuthKit's own user.
	ChildPort int
	ChildUser string
	// ShutdownGrace is how long stopping may take before what is left is killed.
	ShutdownGrace time.Duration

	// Executable is the path of the running program, so that it is not taken for dagster-webserver when it is called so.
	Executable string
}

// Postgres reports whether the database is PostgreSQL.
func (c Config) Postgres() bool { return c.DatabaseURL.IsSet() }

// DatabaseSource is the path or URL with which the database is opened. A URL may hold a password.
func (c Config) DatabaseSource() string {
	if c.Postgres() {
		return c.DatabaseURL.Reveal()
	}
	return c.Database
}

// PasswordShown reports whether a password stands in the database's URL, which is no place for one where others see it.
func (c Config) PasswordShown() bool { return database{url: c.DatabaseURL}.hasPassword() }

// Has reports whether that backend is one of the ways to sign in.
func (c Config) Has(backend string) bool { return slices.Contains(c.Backends, backend) }

// Address is where AuthKit listens, as net.Listen wants it.
func (c Config) Address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// LoopbackOnly reports whether only this machine can reach AuthKit.
func (c Config) LoopbackOnly() bool { return isLoopback(c.Host) }

// Values are flags as they were given, by their long names without dashes.
type Values map[string]string

// Source is everything that settings are read from.
type Source struct {
	Flags      Values
	Environ    []string // as os.Environ gives it
	ChildArgs  []string
	Executable string
}

// Warning is a setting that does nothing, or not what one may think. It is for people: one line, what to do included.
type Warning string

// Value is one setting as it was found.
type Value struct {
	// Name is the setting's in a config file, or its variable when it has none there.
	Name string `json:"name"`
	// Text is as it was written, or [hidden].
	Text string `json:"value"`
	// From is "default", the config file's path and line, a variable or a flag.
	From string `json:"from"`
}

func newValue(s Setting, text, from string) Value {
	value := Value{Name: s.Key(), Text: text, From: from}
	if value.Name == "" {
		value.Name = s.Env
	}
	if s.isSecret(text) {
		value.Text = hidden
	}
	return value
}

// Load reads and checks all settings. The error joins every problem, one line each, so that nobody has to start five
// times to find five mistakes.
func Load(src Source) (Config, []Warning, error) {
	cfg, _, warnings, err := Inspect(src)
	return cfg, warnings, err
}

// Inspect is Load, and tells where each value came from. The custom roles come last, each with its permissions, then the rules for groups and the
// providers.
func Inspect(src Source) (Config, []Value, []Warning, error) {
	in := newInput(src)
	cfg := Config{ChildArgs: src.ChildArgs, Executable: src.Executable}
	var problems []error
	if err := in.openFile(); err != nil {
		problems = append(problems, err)
	}
	for _, s := range settings() {
		if err := in.apply(s, &cfg); err != nil {
			problems = append(problems, err)
		}
	}
	cfg.Roles, cfg.GroupRules = in.file.customRoles(), in.file.groupRules()
	cfg.nameProvider()
	cfg.OIDC = append(cfg.OIDC, in.file.oidcProviders()...)
	cfg.Proxy.fill(in)
	cfg.settleLDAP()
	problems = append(problems, cfg.settleGroups(in)...)
	problems = append(problems, cfg.check(in)...)
	problems = append(problems, in.foreignNames()...)
	if err := errors.Join(problems...); err != nil {
		return Config{}, nil, nil, err
	}
	cfg.caution(in)
	return withoutPaths(cfg), slices.Concat(in.values, in.file.roleValues(), in.file.groupValues(), in.file.providerValues()), in.warnings, nil
}

// Shared reads what commands need: the custom roles, and of the settings only those of the variables named, as users must be
// looked after whatever else is wrong with the server's settings. A config file with mistakes is refused whole.
func Shared(src Source, variables ...string) (Config, error) {
	in := newInput(src)
	var cfg Config
	problems := []error{in.openFile()}
	for _, s := range settings() {
		if slices.Contains(variables, s.Env) {
			problems = append(problems, in.apply(s, &cfg))
		}
	}
	cfg.Roles = in.file.customRoles()
	return cfg, errors.Join(problems...)
}

// withoutPaths leaves scheme and host of the two URLs, whose paths were found to be the path prefix or nothing.
func withoutPaths(c Config) Config {
	for _, u := range []**url.URL{&c.ExternalURL, &c.Upstream} {
		if *u != nil {
			*u = &url.URL{Scheme: (*u).Scheme, Host: (*u).Host}
		}
	}
	return c
}
