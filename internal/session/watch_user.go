package session

import (
	"context"
	"errors"

	"dagster-authkit/internal/identity"
)

// WatchUser is Watch for a connection that no session began: the channel is closed when look gives somebody who is disabled, or
// has another ID, role or grants than who, or when its error is identity.ErrNotFound. Any other error of look leaves the channel open.
// look is called by one goroutine at a time, a few times a second, and so must cost little.
func (m *Manager) WatchUser(
	ctx context.Context, look func(context.Context) (identity.User, error), who identity.Identity,
) <-chan struct{} {
	w := &watcher{gone: make(chan struct{}), identity: who, look: look}
	m.watching.Lock()
	defer m.watching.Unlock()
	m.watchers[w] = struct{}{}
	w.release = context.AfterFunc(ctx, func() { m.unwatch(w) })
	return w.gone
}

// checkUser is check for those who watch a user. The error is look's.
func (m *Manager) checkUser(ctx context.Context, w *watcher) error {
	user, err := w.look(ctx)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		m.dismiss(w)
		return nil
	case err != nil:
		return err
	case !m.mayBeHere(user) || !sameRights(w.identity, user):
		m.dismiss(w)
	}
	return nil
}
