// Package migrations carries the database's schema: one folder of plain SQL for each engine, whose files the store
// applies in order. A file that was released is never edited again; a change is a new file of the same name in both
// folders, and there is no way back. An older program has to go on working on the newer schema: see state.least_schema in
// 00005_upgrades.sql.
package migrations

import "embed"

// SQLite holds sqlite/*.sql and Postgres postgres/*.sql. Files are named NNNNN_what.sql and have only the "up" direction
// of goose.
var (
	//go:embed sqlite/*.sql
	SQLite embed.FS
	//go:embed postgres/*.sql
	Postgres embed.FS
)
