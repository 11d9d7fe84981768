package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/token"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/session"
	"dagster-authkit/internal/store"
)

// staticToken is the zero Static when the environment has none.
func staticToken(cfg config.Config) token.Static {
	return token.Static{
		Token: cfg.ServiceToken.Reveal(), Header: cfg.ServiceTokenHeader, User: cfg.ServiceTokenUser, Role: cfg.ServiceTokenRole,
	}
}

// confirm asks about a token's owner as sessions ask about theirs, with no secret of a session. Backends that can't be asked so must
// have told of the owner within longest.
func confirm(refresh session.Refresh, knowing []string, rows *store.Store, longest time.Duration) token.Confirm {
	return func(ctx context.Context, owner identity.User) error {
		if !slices.Contains(knowing, owner.Backend) {
			return seenLately(ctx, rows, owner, longest)
		}
		_, err := refresh(ctx, owner, identity.Voucher{})
		if errors.Is(err, session.ErrGone) {
			return fmt.Errorf("%w: %w", auth.ErrGone, err)
		}
		return err
	}
}

func seenLately(ctx context.Context, rows *store.Store, owner identity.User, longest time.Duration) error {
	at, err := rows.LastSeen(ctx, owner.RowID)
	if err == nil && time.Since(at) >= longest {
		return token.ErrUnseen
	}
	return err
}

const (
	// tokensSweep is how long a token may be over before the trail says so. Nobody gets in with it meanwhile.
	tokensSweep      = time.Minute
	tokensSweepBatch = 500
)

// sweepTokens deletes the tokens that are over, and tells of them.
func (a *App) sweepTokens(ctx context.Context) error {
	return keepSweeping(ctx, 0, tokensSweep, func(now time.Time) bool {
		events, err := a.store.ExpireTokens(ctx, now.UTC(), tokensSweepBatch, audit.Event{Type: audit.EventTokenExpired, Timestamp: now.UTC()})
		a.swept(ctx, "the expired tokens", err)
		for _, event := range events {
			a.trail.Line(event)
		}
		return len(events) == tokensSweepBatch
	})
}
