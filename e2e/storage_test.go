package e2e

import (
	"database/sql"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3"
)

// query reads Dagster's own storage, behind everybody's back.
func (k *kit) query(file, statement string, args ...any) []string {
	k.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(k.home, file)+"?mode=ro&_busy_timeout=30000")
	if err != nil {
		k.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(statement, args...)
	if err != nil {
		k.t.Fatalf("%s: %v", file, err)
	}
	defer rows.Close()
	var values []string
	for rows.Next() {
		var value sql.NullString
		if err := rows.Scan(&value); err != nil {
			k.t.Fatal(err)
		}
		values = append(values, value.String)
	}
	if err := rows.Err(); err != nil {
		k.t.Fatal(err)
	}
	return values
}

// partitions are the keys of the dynamic partitions that Dagster has stored.
func (k *kit) partitions() []string {
	k.t.Helper()
	return k.query("history/runs/index.db", `SELECT partition FROM dynamic_partitions ORDER BY partition`)
}

func (k *kit) hasPartition(key string) bool {
	k.t.Helper()
	return len(k.query("history/runs/index.db", `SELECT partition FROM dynamic_partitions WHERE partition = ?`, key)) == 1
}

// runs are the IDs of the runs that Dagster has stored.
func (k *kit) runs() []string {
	k.t.Helper()
	return k.query("history/runs.db", `SELECT run_id FROM runs ORDER BY id`)
}

func (k *kit) runStatus(id string) string {
	k.t.Helper()
	statuses := k.query("history/runs.db", `SELECT status FROM runs WHERE run_id = ?`, id)
	if len(statuses) == 0 {
		return ""
	}
	return statuses[0]
}
