package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

// AppendAudit stores the event durably: after nil, it survives a kill and a power cut.
func (s *Store) AppendAudit(ctx context.Context, event audit.Event) error {
	return s.note(ctx, "append audit event", func(tx *sql.Tx) error {
		return appendAudit(ctx, tx, event)
	})
}

// SweepAudit deletes at most limit events older than before, the oldest first, unless another process is at it, and says how
// many.
func (s *Store) SweepAudit(ctx context.Context, before time.Time, limit int) (int, error) {
	var n int64
	err := s.note(ctx, "sweep audit events", func(tx *sql.Tx) error {
		alone, err := s.engine.alone(ctx, tx, "sweep audit events")
		if err != nil || !alone {
			return err
		}
		n, err = change(ctx, tx, `DELETE FROM audit_events WHERE id IN
			(SELECT id FROM audit_events WHERE at < $1 ORDER BY at LIMIT $2)`, before.UnixMilli(), limit)
		return err
	})
	return int(n), err
}

func appendAudit(ctx context.Context, db querier, event audit.Event) error {
	event = event.Clean()
	if event.Timestamp.IsZero() {
		event.Timestamp = time.Now()
	}
	whole, err := event.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO audit_events
		(at, event_type, username, username_key, status, ip, request_id, performed_by, event)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		event.Timestamp.UnixMilli(), event.Type, event.Username, identity.NameKey(event.Username), event.Status,
		event.IP, event.RequestID, event.PerformedBy, string(whole))
	if err != nil {
		return fmt.Errorf("insert audit event: %w", err)
	}
	return nil
}
