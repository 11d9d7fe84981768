package config

import (
	"math"
	"time"

	"dagster-authkit/internal/identity"
)

// Setting describes one setting. The help text and the README's table are made from these.
type Setting struct {
	// Env is the variable's name; Others are read, in order, when it is not set.
	Env    string
	Others []string
	// Flag is the long flag without dashes and Short its letter, both empty for settings that only the environment has.
	Flag  string
	Short string
	// Switch marks flags that stand alone; all others take a value.
	Switch bool
	// Secret settings are also read from the file that Env with _FILE after it names.
	Secret  bool
	Default string
	Meaning string
}

// setting adds how the text becomes part of the Config. The same function reads the default, so that what is
// documented is what happens.
type setting struct {
	Setting
	read func(c *Config, text string) error
}

// Settings lists all settings, in the order in which people read about them.
func Settings() []Setting {
	all := settings()
	list := make([]Setting, len(all))
	for i, s := range all {
		list[i] = s.Setting
	}
	return list
}

func settings() []setting {
	var all []setting
	for _, group := range [][]setting{listenSettings(), userSettings(), sessionSettings(), limitSettings(), logSettings(), childSettings()} {
		all = append(all, group...)
	}
	return all
}

func listenSettings() []setting {
	return []setting{
		{Setting{Env: "DAGSTER_WEBSERVER_HOST", Others: []string{"DAGIT_HOST"}, Flag: "host", Short: "h", Default: "127.0.0.1",
			Meaning: "Host to listen on; 0.0.0.0 is every address of the machine."},
			func(c *Config, text string) error { return into(&c.Host)(parseHost(text)) }},
		{Setting{Env: "DAGSTER_WEBSERVER_PORT", Others: []string{"DAGIT_PORT"}, Flag: "port", Short: "p", Default: "3000",
			Meaning: "Port to listen on; 0 is any free one."},
			func(c *Config, text string) error { return into(&c.Port)(parseInt(text, 0, 65535)) }},
		{Setting{Env: "DAGSTER_WEBSERVER_PATH_PREFIX", Others: []string{"DAGIT_PATH_PREFIX"}, Flag: "path-prefix", Short: "l",
			Meaning: "Path under which everything is served, such as /dagster."},
			func(c *Config, text string) error { return into(&c.PathPrefix)(parsePathPrefix(text)) }},
		{Setting{Env: "DAGSTER_AUTH_EXTERNAL_URL",
			Meaning: "What browsers have in their address bar, such as https://dagster.example.com: decides the expected origin, redirects and Secure cookies."},
			func(c *Config, text string) error { return into(&c.ExternalURL)(parseBaseURL(text)) }},
		{Setting{Env: "DAGSTER_AUTH_TRUSTED_PROXIES",
			Meaning: "Addresses or networks (10.0.0.0/8, ...) of the proxies in front, whose X-Forwarded-* headers are believed."},
			func(c *Config, text string) error { return into(&c.TrustedProxies)(parsePrefixes(text)) }},
	}
}

func userSettings() []setting {
	return []setting{
		databaseSetting(),
		{Setting{Env: "DAGSTER_AUTH_BACKEND", Default: "sqlite",
			Meaning: "Who checks passwords: sqlite (users in the database; also called local and sql) or dummy (public passwords, for trying out)."},
			func(c *Config, text string) error { return into(&c.Backend)(parseBackend(text)) }},
		{Setting{Env: "DAGSTER_AUTH_ALLOW_INSECURE_DUMMY", Flag: "allow-insecure-dummy", Switch: true, Default: "false",
			Meaning: "Let the dummy backend serve on more than loopback addresses."},
			func(c *Config, text string) error { return into(&c.AllowInsecureDummy)(parseBool(text)) }},
		{Setting{Env: "DAGSTER_AUTH_ADMIN_USER", Default: "admin",
			Meaning: "Name of the admin made at the first start, when a password for it is given."},
			func(c *Config, text string) error { c.AdminUser = text; return identity.CheckName(text) }},
		{Setting{Env: "DAGSTER_AUTH_ADMIN_PASSWORD", Secret: true,
			Meaning: "Password of the admin that is made in a database that never had a user."},
			func(c *Config, text string) error { c.AdminPassword = NewSecret(text); return nil }},
	}
}

func databaseSetting() setting {
	return setting{Setting{Env: "DAGSTER_AUTH_DATABASE_URL", Others: []string{"DAGSTER_AUTH_DB"}, Flag: "db", Secret: true, Default: "./dagster_auth.db",
		Meaning: "The database: the path of a SQLite file, or a URL (sqlite:///dagster_auth.db)."},
		func(c *Config, text string) error { return into(&c.Database)(parseDatabase(text)) }}
}

func sessionSettings() []setting {
	return []setting{
		{Setting{Env: "DAGSTER_AUTH_SECRET_KEY", Secret: true,
			Meaning: "Signs session tokens, at least 32 bytes (openssl rand -base64 48). Without it one is made once and kept beside the SQLite file."},
			func(c *Config, text string) error { c.SecretKey = NewSecret(text); return checkSecretKey(text) }},
		{Setting{Env: "DAGSTER_AUTH_SESSION_MAX_AGE", Default: "86400",
			Meaning: "How long a sign-in lasts at most, in seconds or as 24h."},
			func(c *Config, text string) error { return into(&c.SessionMaxAge)(durationFrom(text, time.Minute)) }},
		{Setting{Env: "DAGSTER_AUTH_SESSION_IDLE_TIMEOUT", Default: "0",
			Meaning: "How long a sign-in lasts without activity; 0 is for as long as the maximum."},
			func(c *Config, text string) error { return into(&c.SessionIdleTimeout)(parseIdle(text)) }},
		{Setting{Env: "DAGSTER_AUTH_COOKIE_NAME", Default: "dagster_authkit",
			Meaning: "Name of the session cookie. On TLS without a path prefix, __Host- is put before it."},
			func(c *Config, text string) error { c.CookieName = text; return checkCookieName(text) }},
		{Setting{Env: "DAGSTER_AUTH_COOKIE_SECURE", Default: "auto",
			Meaning: "Whether the cookie has the Secure attribute: auto (when the client came by TLS), true or false."},
			func(c *Config, text string) error { return into(&c.CookieSecure)(parseCookieSecure(text)) }},
		{Setting{Env: "DAGSTER_AUTH_COOKIE_SAMESITE", Default: "lax",
			Meaning: "The cookie's SameSite attribute: lax, or strict (links from other sites then ask to sign in again)."},
			func(c *Config, text string) error { return into(&c.CookieSameSite)(parseSameSite(text)) }},
	}
}

func limitSettings() []setting {
	return []setting{
		{Setting{Env: "DAGSTER_AUTH_RATE_LIMIT", Default: "true",
			Meaning: "Whether attempts to sign in are limited."},
			func(c *Config, text string) error { return into(&c.RateLimit)(parseBool(text)) }},
		{Setting{Env: "DAGSTER_AUTH_RATE_LIMIT_ATTEMPTS", Default: "5",
			Meaning: "Failed attempts of one account from one address in the window; ten times that from one address, twenty times that for one account."},
			func(c *Config, text string) error { return into(&c.RateLimitAttempts)(parseInt(text, 1, 1_000_000)) }},
		{Setting{Env: "DAGSTER_AUTH_RATE_LIMIT_WINDOW", Default: "300",
			Meaning: "The window, in seconds or as 5m."},
			func(c *Config, text string) error { return into(&c.RateLimitWindow)(durationFrom(text, time.Second)) }},
		// A bare dagster-webserver answers some thousands of requests in a second: this stops loops, not work.
		{Setting{Env: "DAGSTER_AUTH_REQUEST_LIMIT", Default: "5000",
			Meaning: "Requests per second of one identity, or of one address that is not signed in; 0 is no limit."},
			func(c *Config, text string) error { return into(&c.RequestLimit)(parseInt(text, 0, math.MaxInt)) }},
		{Setting{Env: "DAGSTER_AUTH_MAX_BODY", Flag: "max-body", Default: "10MiB",
			Meaning: "The greatest GraphQL request body, in bytes or as 10MiB."},
			func(c *Config, text string) error { return into(&c.MaxBody)(parseMaxBody(text)) }},
	}
}

func logSettings() []setting {
	return []setting{
		{Setting{Env: "DAGSTER_AUTH_AUDIT_LOG", Default: "true",
			Meaning: "Whether audit events are written to stdout, one JSON object a line."},
			func(c *Config, text string) error { return into(&c.AuditLog)(parseBool(text)) }},
		{Setting{Env: "DAGSTER_AUTH_LOG_LEVEL", Default: "info",
			Meaning: "Least level of AuthKit's own log on stderr: trace, debug, info, warn or error."},
			func(c *Config, text string) error { return into(&c.LogLevel)(parseLevel(text)) }},
		{Setting{Env: "DAGSTER_AUTH_METRICS_TOKEN", Secret: true,
			Meaning: "Bearer token that reads /auth/metrics from elsewhere; without it only loopback addresses may."},
			func(c *Config, text string) error { c.MetricsToken = NewSecret(text); return checkMetricsToken(text) }},
	}
}

func childSettings() []setting {
	return []setting{
		{Setting{Env: "DAGSTER_AUTH_WEBSERVER_COMMAND", Flag: "webserver-command", Default: "dagster-webserver",
			Meaning: "The dagster-webserver to start: a name on PATH, or a path."},
			func(c *Config, text string) error { return into(&c.WebserverCommand)(parseCommand(text)) }},
		{Setting{Env: "DAGSTER_AUTH_CHILD_PORT", Flag: "child-port", Default: "0",
			Meaning: "Loopback port of the dagster-webserver that AuthKit starts; 0 is any free one."},
			func(c *Config, text string) error { return into(&c.ChildPort)(parseInt(text, 0, 65535)) }},
		{Setting{Env: "DAGSTER_AUTH_CHILD_USER", Flag: "child-user",
			Meaning: "User to run dagster-webserver as, when AuthKit is started as root; keeps pipeline code away from AuthKit's files."},
			func(c *Config, text string) error { c.ChildUser = text; return nil }},
		{Setting{Env: "DAGSTER_AUTH_UPSTREAM", Flag: "upstream",
			Meaning: "URL of a webserver that runs elsewhere, to protect instead of starting one."},
			func(c *Config, text string) error { return into(&c.Upstream)(parseBaseURL(text)) }},
		{Setting{Env: "DAGSTER_AUTH_UPSTREAM_INSECURE", Flag: "upstream-insecure", Switch: true, Default: "false",
			Meaning: "Allow plain HTTP to an upstream on another machine."},
			func(c *Config, text string) error { return into(&c.UpstreamInsecure)(parseBool(text)) }},
		{Setting{Env: "DAGSTER_AUTH_SHUTDOWN_GRACE", Flag: "shutdown-grace", Default: "10s",
			Meaning: "How long stopping may take before what is left is killed."},
			func(c *Config, text string) error { return into(&c.ShutdownGrace)(parseDuration(text)) }},
	}
}

// into stores a parsed value where it belongs, or passes the error on.
func into[T any](field *T) func(T, error) error {
	return func(value T, err error) error {
		*field = value
		return err
	}
}
