package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// TestNeighbours: who shares a login with Dagster, can read its tables, or is read by it, is warned at the start.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	s, err := server()
	needServer(t, s, err)
	const dagster = `CREATE ROLE dagster_%[1]d LOGIN PASSWORD 'd'; CREATE ROLE authkit_%[1]d LOGIN PASSWORD 'a'; CREATE SCHEMA d AUTHORIZATION dagster_%[1]d;
		SET ROLE dagster_%[1]d; CREATE TABLE d.runs (id bigint, run_id text, run_body text); RESET ROLE;
		CREATE SCHEMA authkit AUTHORIZATION authkit_%[1]d;`
	for i, tc := range []struct{ name, setup, login, want string }{
		{"apart", `SELECT 1`, "authkit", ""},
		{"another program's runs", `DROP TABLE d.runs; CREATE TABLE d.runs (id int); GRANT ALL ON ALL TABLES IN SCHEMA d TO PUBLIC`, "authkit", ""},
		{"the same login", `ALTER SCHEMA authkit OWNER TO dagster_%[1]d`, "dagster", "may act as the owner of Dagster's tables"},
		{"a member", `GRANT dagster_%[1]d TO authkit_%[1]d`, "authkit", "may act as the owner of Dagster's tables"},
		{"read by Dagster", `GRANT USAGE ON SCHEMA authkit TO dagster_%[1]d`, "authkit", "Dagster's login can look into AuthKit's schema"},
		{"reads Dagster", `GRANT SELECT ON d.runs TO authkit_%[1]d`, "authkit", "can read Dagster's tables"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			database := fmt.Sprint("neighbours_", i)
			if err := s.Exec(t.Context(), "postgres", `CREATE DATABASE `+database); err != nil {
				t.Fatal(err)
			}
			for _, statements := range []string{dagster, tc.setup} {
				if strings.Contains(statements, "%") {
					statements = fmt.Sprintf(statements, i)
				}
				if err := s.Exec(t.Context(), database, statements); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			openOptions(t, Options{URL: s.URL(fmt.Sprintf("%s_%d", tc.login, i), tc.login[:1], database), Log: zerolog.New(&log)})
			got := log.String()
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) || strings.Count(got, "\n") > 1 {
				t.Errorf("got %q, want one warning with %q", got, tc.want)
			}
		})
	}
}
