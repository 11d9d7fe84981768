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
	}
}
