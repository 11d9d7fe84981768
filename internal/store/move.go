package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// These are all tables. A migration that adds one names it in one of the two lists, and that is all that moving needs.
var (
	// movedTables go along, in an order in which each row finds those that it refers to.
	movedTables = []string{"users", "grants", "group_grants", "user_groups", "rule_grants", "tokens", "login_addresses", "audit_events"}
	// leftTables stay behind, and are emptied in a target that is replaced. Sessions are signed, and their secrets sealed, with
	// a key that the other database need not have: everybody signs in anew. Failed attempts, and what is good once, are of minutes ago.
	leftTables = []string{"sessions", "login_attempts", "used_up"}
	// ownTables are about the database itself.
	ownTables = []string{"state", versionTable, "goose_db_version", pythonTable}
)

// Moved is how many rows of a table there were, and are now at the new place.
type Moved struct {
	Table string `json:"table"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
}

// ErrNotEmpty is in the error of Move when the target has users or events, and replacing was not asked for.
var ErrNotEmpty = errors.New("the target is not empty")

// Move copies users, what they may do, and the audit trail from one database into another, in one transaction on each side:
// all or nothing. What the target had is refused, or with replace deleted. progress is told now and then how many rows of a
// table are copied, of how many. Both sides are counted at the end.
func Move(ctx context.Context, from, to *Store, replace bool, progress func(table string, done, all int64)) (_ []Moved, err error) {
	source, err := from.readers.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("read the source: %w", err)
	}
	defer func() { _ = source.Rollback() }() // it only reads
	target, err := to.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("write to the target: %w", err)
	}
	moved, ended, err := moveAll(ctx, mover{from, to, source, target, progress}, replace)
	if err != nil {
		return nil, errors.Join(err, target.Rollback())
	}
	err = target.Commit()
	ended(err == nil)
	if err != nil {
		return nil, fmt.Errorf("write to the target: commit: %w", err)
	}
	return moved, nil
}

type mover struct {
	from, to       *Store
	source, target *sql.Tx
	progress       func(table string, done, all int64)
}

func moveAll(ctx context.Context, m mover, replace bool) ([]Moved, func(bool), error) {
	if err := errors.Join(m.from.engine.unhurried(ctx, m.source), m.to.engine.unhurried(ctx, m.target)); err != nil {
		return nil, nil, fmt.Errorf("prepare: %w", err)
	}
	if err := m.to.engine.serialise(ctx, m.target); err != nil {
		return nil, nil, fmt.Errorf("lock the target: %w", err)
	}
	if err := m.clear(ctx, replace); err != nil {
		return nil, nil, err
	}
	var list []Moved
	for _, table := range movedTables {
		moved, err := m.table(ctx, table)
		if err != nil {
			return nil, nil, fmt.Errorf("move %s: %w", table, err)
		}
		list = append(list, moved)
	}
	had, err := hadUsers(ctx, m.source)
	if err == nil {
		_, err = m.target.ExecContext(ctx, `UPDATE state SET had_local_user = $1`, had)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("move state: %w", err)
	}
	ended, err := m.to.engine.settle(ctx, m.target)
	return list, ended, err
}

// clear refuses a target in which somebody's users or events are, or empties it.
func (m mover) clear(ctx context.Context, replace bool) error {
	for _, table := range movedTables {
		var full bool
		if err := m.target.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+`)`).Scan(&full); err != nil {
			return fmt.Errorf("look into the target: %w", err)
		}
		if full && !replace {
			return fmt.Errorf("%w: its table %s has rows; --force deletes what is there", ErrNotEmpty, table)
		}
	}
	for _, table := range slices.Backward(slices.Concat(movedTables, leftTables)) {
		if _, err := m.target.ExecContext(ctx, `DELETE FROM `+table); err != nil { //nolint:gosec // the name is from our own list
			return fmt.Errorf("empty %s: %w", table, err)
		}
	}
	return nil
}

func (m mover) table(ctx context.Context, table string) (moved Moved, err error) {
	moved.Table = table
	if moved.From, err = count(ctx, m.source, table); err != nil {
		return moved, fmt.Errorf("count: %w", err)
	}
	if err := m.copy(ctx, table, moved.From); err != nil {
		return moved, err
	}
	if err := m.to.engine.numbered(ctx, m.target, table); err != nil {
		return moved, fmt.Errorf("go on numbering: %w", err)
	}
	if moved.To, err = count(ctx, m.target, table); err != nil {
		return moved, fmt.Errorf("count: %w", err)
	}
	if moved.From != moved.To {
		return moved, fmt.Errorf("%d rows became %d", moved.From, moved.To)
	}
	return moved, nil
}

func count(ctx context.Context, db querier, table string) (n int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM `+table).Scan(&n)
	return n, err
}

// copy reads the table in the order in which it lies, and inserts many rows with one statement.
func (m mover) copy(ctx context.Context, table string, all int64) (err error) {
	rows, err := m.source.QueryContext(ctx, `SELECT * FROM `+table) //nolint:gosec // the name is from our own list
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	booleans, err := m.booleans(ctx, table, columns)
	if err != nil {
		return err
	}
	into, err := newInserter(ctx, m.target, table, columns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, into.many.Close()) }()
	for rows.Next() {
		values, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			return err
		}
		inserted, err := into.row(ctx, portable(values, booleans))
		if err != nil {
			return err
		}
		if inserted {
			m.progress(table, into.done, all)
		}
	}
	if err := errors.Join(rows.Err(), into.flush(ctx)); err != nil {
		return err
	}
	m.progress(table, into.done, all)
	return nil
}

// moveValues bounds the values of one statement: SQLite takes 32,766 and PostgreSQL 65,535.
const moveValues = 5000

// inserter collects rows and inserts many with one statement, which is read once: that takes SQLite longer than to run it.
type inserter struct {
	target  *sql.Tx
	table   string
	columns []string
	many    *sql.Stmt
	batch   []any
	done    int64 // rows that were inserted
}

func newInserter(ctx context.Context, target *sql.Tx, table string, columns []string) (*inserter, error) {
	many, err := target.PrepareContext(ctx, insert(table, columns, moveValues/len(columns)))
	if err != nil {
		return nil, err
	}
	return &inserter{target: target, table: table, columns: columns, many: many}, nil
}

// row takes a row, and inserts what was collected when it is enough.
func (i *inserter) row(ctx context.Context, values []any) (inserted bool, err error) {
	i.batch = append(i.batch, values...)
	if len(i.batch)/len(i.columns) < moveValues/len(i.columns) {
		return false, nil
	}
	return true, i.flush(ctx)
}

// flush inserts what was collected.
func (i *inserter) flush(ctx context.Context) (err error) {
	switch rows := len(i.batch) / len(i.columns); rows {
	case 0:
		return nil
	case moveValues / len(i.columns):
		_, err = i.many.ExecContext(ctx, i.batch...)
	default:
		_, err = i.target.ExecContext(ctx, insert(i.table, i.columns, rows), i.batch...)
	}
	if err != nil {
		return err
	}
	i.done += int64(len(i.batch) / len(i.columns))
	i.batch = i.batch[:0]
	return nil
}

// booleans says which columns of the target are such: SQLite has numbers for them.
func (m mover) booleans(ctx context.Context, table string, columns []string) (_ []bool, err error) {
	rows, err := m.target.QueryContext(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+table+` LIMIT 0`) //nolint:gosec // the names are the schema's
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	booleans := make([]bool, len(types))
	for i, t := range types {
		booleans[i] = t.DatabaseTypeName() == "BOOL"
	}
	return booleans, rows.Err()
}

// portable gives values that either engine takes.
func portable(values []any, booleans []bool) []any {
	for i, value := range values {
		switch v := value.(type) {
		case int64:
			if booleans[i] {
				values[i] = v != 0
			}
		case string:
			values[i] = asText(v)
		}
	}
	return values
}

func insert(table string, columns []string, rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO ` + table + ` (` + strings.Join(columns, ", ") + `) VALUES `)
	for i := range rows * len(columns) {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%len(columns) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	return b.String() + ")"
}
