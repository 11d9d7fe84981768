package session

import "context"

// MaxCached is how many sessions are kept.
const MaxCached = maxCached

// Poll looks once at everybody who watches.
func (m *Manager) Poll(ctx context.Context) { m.poll(ctx, false) }

// Cached is how many sessions are kept now.
func (m *Manager) Cached() int { return len(m.cache.entries) }
