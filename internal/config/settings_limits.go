package config

import (
	"time"
)

// The settings about limits, logs and the webserver behind.

func limitSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_RATE_LIMIT", Default: "true",
				Meaning: "Whether attempts to sign in are limited.",
			},
			func(c *Config, text string) error { return into(&c.RateLimit)(parseBool(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_RATE_LIMIT_ATTEMPTS", Default: "5",
				Meaning: "Failed attempts of one account from one address in the window; ten times that from one address, twenty times that for one account.",
			},
			func(c *Config, text string) error { return into(&c.RateLimitAttempts)(parseInt(text, 1, 1_000_000)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_RATE_LIMIT_WINDOW", Default: "300",
				Meaning: "The window, in seconds or as 5m.",
			},
			func(c *Config, text string) error { return into(&c.RateLimitWindow)(durationFrom(text, time.Second)) },
		},
		// A bare dagster-webserver answers some thousands of requests in a second: this stops loops, not work.
		{
			Setting{
				Env: "DAGSTER_AUTH_REQUEST_LIMIT", Default: "5000",
				Meaning: "Requests per second of one identity, or of one address that is not signed in; 0 is no limit.",
			},
			func(c *Config, text string) error { return into(&c.RequestLimit)(parseInt(text, 0, 1_000_000)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_SOCKET_LIMIT", Default: "100",
				Meaning: "WebSockets that one identity may have open at a time, each of which is a descriptor of Dagster's; a browser tab has one. 0 is no limit.",
			},
			func(c *Config, text string) error { return into(&c.SocketLimit)(parseInt(text, 0, 1_000_000)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_MAX_BODY", Flag: "max-body", Default: "10MiB",
				Meaning: "The greatest GraphQL request body, in bytes or as 10MiB.",
			},
			func(c *Config, text string) error { return into(&c.MaxBody)(parseMaxBody(text)) },
		},
	}
}

func logSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_AUDIT_LOG", Default: "true",
				Meaning: "Whether audit events are written to stdout, one JSON object a line.",
			},
			func(c *Config, text string) error { return into(&c.AuditLog)(parseBool(text)) },
		},
		retentionSetting(),
		{
			Setting{
				Env: "DAGSTER_AUTH_LOG_LEVEL", Default: "info",
				Meaning: "Least level of AuthKit's own log on stderr: trace, debug, info, warn or error.",
			},
			func(c *Config, text string) error { return into(&c.LogLevel)(parseLevel(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_METRICS_TOKEN", Secret: true,
				Meaning: "Bearer token that reads /auth/metrics from elsewhere; without it only loopback addresses may.",
			},
			func(c *Config, text string) error { c.MetricsToken = NewSecret(text); return checkMetricsToken(text) },
		},
	}
}

func childSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_WEBSERVER_COMMAND", Flag: "webserver-command", Default: "dagster-webserver",
				Meaning: "The dagster-webserver to start: a name on PATH, or a path.",
			},
			func(c *Config, text string) error { return into(&c.WebserverCommand)(parseCommand(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_CHILD_PORT", Flag: "child-port", Default: "0",
				Meaning: "Loopback port of the dagster-webserver that AuthKit starts; 0 is any free one.",
			},
			func(c *Config, text string) error { return into(&c.ChildPort)(parseInt(text, 0, 65535)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_CHILD_USER", Flag: "child-user",
				Meaning: "User to run dagster-webserver as, when AuthKit is started as root; keeps pipeline code away from AuthKit's files.",
			},
			func(c *Config, text string) error { c.ChildUser = text; return nil },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_UPSTREAM", Flag: "upstream",
				Meaning: "URL of a webserver that runs elsewhere, to protect instead of starting one.",
			},
			func(c *Config, text string) error { return into(&c.Upstream)(parseBaseURL(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_UPSTREAM_INSECURE", Flag: "upstream-insecure", Switch: true, Default: "false",
				Meaning: "Allow plain HTTP to an upstream on another machine.",
			},
			func(c *Config, text string) error { return into(&c.UpstreamInsecure)(parseBool(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_SHUTDOWN_GRACE", Flag: "shutdown-grace", Default: "10s",
				Meaning: "How long stopping may take before what is left is killed.",
			},
			func(c *Config, text string) error { return into(&c.ShutdownGrace)(parseDuration(text)) },
		},
	}
}
