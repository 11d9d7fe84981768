package store

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// neighbourTimeout bounds the look at who else is in the database, which only warns.
const neighbourTimeout = 3 * time.Second

// neighbours finds Dagster's table of runs in whatever schema, by two of its columns, and its owner, which is the login that
// Dagster uses, or a role of it. Code in pipelines usually knows that login's password.
const neighbours = `SELECT n.nspname || '.' || c.relname, pg_get_userbyid(c.relowner),
		has_table_privilege(c.oid, 'SELECT'), pg_has_role(c.relowner, 'MEMBER'), has_schema_privilege(c.relowner, $1, 'USAGE')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p') AND c.relname = 'runs'
		AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('run_id', 'run_body')) = 2
	ORDER BY 1 LIMIT 1`

// warnOfNeighbours warns when AuthKit and Dagster share a login, or one of them can read what is the other's.
func (s *Store) warnOfNeighbours(ctx context.Context, config postgresConfig, log zerolog.Logger) error {
	const remedy = `give AuthKit a login and schema of its own, as the README's "Many instances on PostgreSQL" shows`
	return s.read(ctx, "look for Dagster's tables", neighbourTimeout, func(ctx context.Context) error {
		rows, err := s.readers.QueryContext(ctx, neighbours, config.schema)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // what counts is rows.Err
		for rows.Next() {
			var table, owner string
			var reads, same, exposed bool
			if err := rows.Scan(&table, &owner, &reads, &same, &exposed); err != nil {
				return fmt.Errorf("read: %w", err)
			}
			switch {
			case owner == config.User || same:
				log.Warn().Str("login", config.User).Str("table", table).
					Msg("NOT SAFE: AuthKit's login may act as the owner of Dagster's tables: pipelines that know Dagster's password may know AuthKit's, and read and write its users and sessions: " + remedy)
			case exposed:
				log.Warn().Str("login", owner).Str("schema", config.schema).
					Msg("NOT SAFE: Dagster's login can look into AuthKit's schema: " + remedy)
			case reads:
				log.Warn().Str("login", config.User).Str("table", table).
					Msg("AuthKit's login can read Dagster's tables, which it has no need to: " + remedy)
			}
		}
		return rows.Err()
	})
}
