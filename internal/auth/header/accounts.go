package header

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"dagster-authkit/internal/identity"
)

const (
	// maxKept is how many different words of proxies are remembered, of about 1 KiB each.
	maxKept = 10_000
	// maxLooks bounds the search for something worthless to forget.
	maxLooks = 32
)

// account is what a proxy said, as it was read, and whose account that was at a version of the database. It is never changed.
type account struct {
	said    identity.User
	until   time.Time // zero: what was said holds for as long as it is said
	version int64
	user    identity.User
}

func (a *account) holds(now time.Time) bool { return a.until.IsZero() || now.Before(a.until) }

// accounts remembers them by the words, so that a request in the steady state costs a look at the database's version.
type accounts struct {
	mu   sync.RWMutex
	kept map[[sha256.Size]byte]*account
}

func newAccounts() accounts { return accounts{kept: map[[sha256.Size]byte]*account{}} }

func (a *accounts) get(key [sha256.Size]byte) *account {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.kept[key]
}

// put remembers, and forgets what no longer holds among a few, or else any one.
func (a *accounts) put(key [sha256.Size]byte, made *account, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.kept[key]; !known && len(a.kept) >= maxKept {
		looks, dropped := 0, 0
		var last [sha256.Size]byte
		for other, candidate := range a.kept {
			if !candidate.holds(now) {
				delete(a.kept, other)
				dropped++
			}
			last = other
			if looks++; looks == maxLooks {
				break
			}
		}
		if dropped == 0 {
			delete(a.kept, last)
		}
	}
	a.kept[key] = made
}

// account reads what was said, or remembers it, and gives the account as the database has it now. The version is asked for
// first: a change that falls between makes what is kept worthless, not wrong.
func (b *Backend) account(ctx context.Context, text said) (identity.User, error) {
	version, err := b.users.Version(ctx)
	if err != nil {
		return identity.User{}, fmt.Errorf("read the database's version: %w", err)
	}
	key, now := text.key(), time.Now()
	known := b.accounts.get(key)
	if known == nil || !known.holds(now) {
		known = &account{version: version - 1}
		if known.said, known.until, err = b.source.read(ctx, text); err != nil {
			return identity.User{}, err
		}
	}
	if known.version == version {
		return known.user, nil
	}
	user, err := b.users.UpsertUser(ctx, known.said)
	if err != nil {
		return identity.User{}, fmt.Errorf("store the user: %w", err)
	}
	if user.Subject != known.said.Subject || user.Backend != Name {
		return identity.User{}, errors.New("the store gave another account")
	}
	b.accounts.put(key, &account{said: known.said, until: known.until, version: version, user: user}, now)
	return user, nil
}
