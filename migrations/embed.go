// Package migrations carries the database's schema: one folder of plain SQL for each engine, whose files the store
// applies in order. A file that was released is never edited again; a change is a new file, and there is no way back.
package migrations

import "embed"

// SQLite holds sqlite/*.sql. Files are named NNNNN_what.sql and have only the "up" direction of goose.
//
//go:embed sqlite/*.sql
var SQLite embed.FS
