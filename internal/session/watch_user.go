package session

import (
	"context"
	"errors"
	"time"

	"dagster-authkit/internal/identity"
)

// WatchUser is Watch for those who have no session: look reads the account anew, as it counts for the credentials that were
// presented. The channel is closed within a second once look gives identity.ErrNotFound, a disabled user, or other rights than
// who has. Any other error of look is a fault, which ends nothing. When ctx ends, the watch does, and the channel stays open.
//
// look is called four times a second, so that it should answer from memory while nothing changed.
func (m *Manager) WatchUser(ctx context.Context, look func(context.Context) (identity.User, error), who identity.Identity) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		ticker := time.NewTicker(pollInterval)
		defer ticker.Stop()
		failing := false
		for {
			user, err := m.lookAt(ctx, look)
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, identity.ErrNotFound), err == nil && (user.Disabled || !sameRights(who, user)):
				close(gone)
				return
			case err != nil && !failing:
				m.log.Warn().Err(err).Msg("the credentials of an open connection can't be checked; it stays open until they expire")
			}
			failing = err != nil
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	return gone
}

func (m *Manager) lookAt(ctx context.Context, look func(context.Context) (identity.User, error)) (identity.User, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return look(ctx)
}
