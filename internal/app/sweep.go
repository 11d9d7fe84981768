package app

import (
	"context"
	"time"
)

const (
	// attemptsSweep is how often the sign-in attempts that no longer count are deleted, and what was used up and would not be taken
	// anyway.
	attemptsSweep = 10 * time.Minute
	// auditSweep is how often the events beyond the retention are deleted.
	auditSweep = time.Hour
	// sweepBatch is how many rows go in one transaction, so that nobody waits for it, and sweepPause is between two.
	sweepBatch = 1000
	sweepPause = 100 * time.Millisecond
)

// keepSweeping calls once after the first pause, then as often as said, and soon again while there is more. It returns when ctx ends.
func keepSweeping(ctx context.Context, first, every time.Duration, once func(now time.Time) (more bool)) error {
	next := time.NewTimer(first)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-next.C:
			if once(now) {
				next.Reset(sweepPause)
			} else {
				next.Reset(every)
			}
		}
	}
}

// swept logs why a sweep failed, unless the program is ending.
func (a *App) swept(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		a.log.Warn().Err(err).Msg("sweeping " + what + " failed")
	}
}

func (a *App) sweepAttempts(ctx context.Context) error {
	return keepSweeping(ctx, attemptsSweep, attemptsSweep, func(now time.Time) bool {
		attempts, err := a.store.SweepAttempts(ctx, now.Add(-a.cfg.RateLimitWindow), sweepBatch)
		a.swept(ctx, "the sign-in attempts", err)
		usedUp, err := a.store.SweepUsedUp(ctx, now, sweepBatch)
		a.swept(ctx, "what was used up", err)
		return attempts || usedUp
	})
}

// sweepAudit deletes what is older than the retention, soon after the start and then each hour.
func (a *App) sweepAudit(ctx context.Context) error {
	if a.cfg.AuditRetention == 0 {
		return nil
	}
	return keepSweeping(ctx, sweepPause, auditSweep, func(now time.Time) bool {
		deleted, err := a.store.SweepAudit(ctx, now.Add(-a.cfg.AuditRetention), sweepBatch)
		a.swept(ctx, "the audit trail", err)
		return deleted == sweepBatch
	})
}
