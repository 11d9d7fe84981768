package config

import (
	"time"

	"dagster-authkit/internal/identity"
)

// The settings about where AuthKit stands, who signs in, and for how long.

// configVariable names the file that other settings may be in, the others the database.
const (
	configVariable      = "DAGSTER_AUTH_CONFIG"
	databaseVariable    = "DAGSTER_AUTH_DATABASE_URL"
	schemaVariable      = "DAGSTER_AUTH_DATABASE_SCHEMA"
	connectionsVariable = "DAGSTER_AUTH_DB_MAX_CONNECTIONS"
	secretKeyVariable   = "DAGSTER_AUTH_SECRET_KEY" //nolint:gosec // it is a name
)

func fileSetting() setting {
	return setting{
		Setting{
			Env: configVariable, Flag: "config",
			Meaning: "A YAML file with settings and custom roles; variables and flags are before it.",
		},
		func(c *Config, text string) error { c.File = text; return nil },
	}
}

func listenSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_WEBSERVER_HOST", Others: []string{"DAGIT_HOST"}, Flag: "host", Short: "h", Default: "127.0.0.1",
				Meaning: "Host to listen on; 0.0.0.0 is every address of the machine.",
			},
			func(c *Config, text string) error { return into(&c.Host)(parseHost(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_WEBSERVER_PORT", Others: []string{"DAGIT_PORT"}, Flag: "port", Short: "p", Default: "3000",
				Meaning: "Port to listen on; 0 is any free one.",
			},
			func(c *Config, text string) error { return into(&c.Port)(parseInt(text, 0, 65535)) },
		},
		{
			Setting{
				Env: "DAGSTER_WEBSERVER_PATH_PREFIX", Others: []string{"DAGIT_PATH_PREFIX"}, Flag: "path-prefix", Short: "l",
				Meaning: "Path under which everything is served, such as /dagster.",
			},
			func(c *Config, text string) error { return into(&c.PathPrefix)(parsePathPrefix(text)) },
		},
		{
			Setting{
				Env:     "DAGSTER_AUTH_EXTERNAL_URL",
				Meaning: "What browsers have in their address bar, such as https://dagster.example.com: decides the expected origin, redirects and Secure cookies.",
			},
			func(c *Config, text string) error { return into(&c.ExternalURL)(parseBaseURL(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_TRUSTED_PROXIES", Others: []string{proxyVariable + "TRUSTED_IPS"}, List: true,
				Meaning: "Addresses or networks (10.0.0.0/8, ...) of the proxies in front, whose X-Forwarded-* headers are believed, and by the backend header what they say of people.",
			},
			func(c *Config, text string) error { return into(&c.TrustedProxies)(parsePrefixes(text)) },
		},
	}
}

func userSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_BACKEND", Default: "sqlite", List: true,
				Meaning: "Who says who somebody is: sqlite (users in the database; also called local and sql), ldap, oidc (also oauth), " +
					"header (also proxy), or dummy (public passwords, for trying out). Several, as in ldap,sqlite, are asked in that order.",
			},
			func(c *Config, text string) error { return into(&c.Backends)(parseBackends(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_ALLOW_INSECURE_DUMMY", Flag: "allow-insecure-dummy", Switch: true, Default: "false",
				Meaning: "Let the dummy backend serve on more than loopback addresses.",
			},
			func(c *Config, text string) error { return into(&c.AllowInsecureDummy)(parseBool(text)) },
		},
		adminSetting(),
		{
			Setting{
				Env: "DAGSTER_AUTH_ADMIN_PASSWORD", Secret: true,
				Meaning: "Password of the admin that is made in a database that never had a user.",
			},
			func(c *Config, text string) error { c.AdminPassword = NewSecret(text); return nil },
		},
	}
}

func adminSetting() setting {
	return setting{
		Setting{
			Env: "DAGSTER_AUTH_ADMIN_USER", Default: "admin",
			Meaning: "Name of the admin made at the first start, when a password for it is given.",
		},
		func(c *Config, text string) error { c.AdminUser = text; return identity.CheckName(text) },
	}
}

func sessionSettings() []setting {
	return []setting{
		{
			Setting{
				Env: secretKeyVariable, Secret: true,
				Meaning: "Signs session tokens, at least 32 bytes (openssl rand -base64 48). Without it one is made once and kept beside the SQLite file; PostgreSQL needs one, the same for all instances.",
			},
			func(c *Config, text string) error { c.SecretKey = NewSecret(text); return checkSecretKey(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_SESSION_MAX_AGE", Default: "86400",
				Meaning: "How long a sign-in lasts at most, in seconds or as 24h.",
			},
			func(c *Config, text string) error { return into(&c.SessionMaxAge)(durationFrom(text, time.Minute)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_SESSION_IDLE_TIMEOUT", Default: "0",
				Meaning: "How long a sign-in lasts without activity; 0 is for as long as the maximum.",
			},
			func(c *Config, text string) error { return into(&c.SessionIdleTimeout)(parseIdle(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_COOKIE_NAME", Default: "dagster_authkit",
				Meaning: "Name of the session cookie. On TLS without a path prefix, __Host- is put before it.",
			},
			func(c *Config, text string) error { c.CookieName = text; return checkCookieName(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_COOKIE_SECURE", Default: "auto",
				Meaning: "Whether the cookie has the Secure attribute: auto (when the client came by TLS), true or false.",
			},
			func(c *Config, text string) error { return into(&c.CookieSecure)(parseCookieSecure(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_COOKIE_SAMESITE", Default: "lax",
				Meaning: "The cookie's SameSite attribute: lax, or strict (links from other sites then ask to sign in again).",
			},
			func(c *Config, text string) error { return into(&c.CookieSameSite)(parseSameSite(text)) },
		},
	}
}
