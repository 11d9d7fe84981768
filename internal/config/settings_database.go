package config

// The settings about the database.

func databaseSettings() []setting {
	return []setting{
		databaseSetting(),
		{
			Setting{
				Env: schemaVariable, Default: "authkit",
				Meaning: "Schema of AuthKit's tables in PostgreSQL.",
			},
			func(c *Config, text string) error { return into(&c.DatabaseSchema)(parseSchema(text)) },
		},
		{
			Setting{
				Env: connectionsVariable, Flag: "db-max-connections", Default: "10",
				Meaning: "Connections to PostgreSQL at most, for each instance.",
			},
			func(c *Config, text string) error { return into(&c.DatabaseConnections)(parseInt(text, 2, 1000)) },
		},
	}
}

func databaseSetting() setting {
	return setting{
		Setting{
			Env: databaseVariable, Others: []string{"DAGSTER_AUTH_DB"}, Flag: "db", Secret: true, Default: "./dagster_auth.db",
			Meaning: "The database: the path of a SQLite file, or a URL (sqlite:///dagster_auth.db, postgres://user@host/database). " +
				"For PostgreSQL, what libpq reads counts too: PGPASSWORD, PGPASSFILE, sslmode, ...",
		},
		func(c *Config, text string) error {
			d, err := parseDatabase(text)
			c.Database, c.DatabaseURL = d.path, d.url
			return err
		},
	}
}

func retentionSetting() setting {
	return setting{
		Setting{
			Env: "DAGSTER_AUTH_AUDIT_RETENTION", Default: "365d",
			Meaning: "How long audit events stay in the database, in days (365d); 0 keeps them all.",
		},
		func(c *Config, text string) error { return into(&c.AuditRetention)(parseRetention(text)) },
	}
}
