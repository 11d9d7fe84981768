package config

func speedSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_STATIC_CACHE_SIZE", Flag: "static-cache-size", Default: "64MiB",
				Meaning: "Memory for Dagster's script, style and picture files, in bytes or as 64MiB; 0 keeps none.",
			},
			func(c *Config, text string) error { return into(&c.StaticCacheSize)(parseSize(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_COALESCE", Flag: "coalesce", Default: "auto",
				Meaning: "Whether the same GraphQL query of several people or tabs is asked of Dagster once, and answered to all who wait for it: true, false, or auto, " +
					"which is true unless several instances may share a PostgreSQL, as none knows when a change through another one has ended.",
			},
			func(c *Config, text string) error {
				if text == "auto" { // the database is a setting before this one
					c.Coalesce = !c.Postgres()
					return nil
				}
				return into(&c.Coalesce)(parseBool(text))
			},
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_UPSTREAM_PLACES", Flag: "upstream-places", Default: "0",
				Meaning: "How many requests may be at Dagster at once, of which one identity has at most half; the others wait in turn. 0 is what was measured to be best.",
			},
			func(c *Config, text string) error { return into(&c.UpstreamPlaces)(parseInt(text, 0, 10_000)) },
		},
	}
}
