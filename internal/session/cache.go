package session

import (
	"sync"
	"time"

	"dagster-authkit/internal/identity"
)

const (
	// maxCached sessions are kept, of about 1 KiB each.
	maxCached = 10_000
	// maxLooks bounds the search for something worthless to evict.
	maxLooks = 32
)

// entry is a session as it was read, and never changed after.
type entry struct {
	version int64
	session identity.Session
	user    identity.User
	who     identity.Identity
}

// cache holds rows with the database's version from before they were read. An entry is good only at that very version:
// any change of users, grants or sessions, by whomever, makes all of them worthless at once, and nobody has to tell us of it.
type cache struct {
	mu      sync.RWMutex
	entries map[hash]*entry
}

func newCache() cache { return cache{entries: map[hash]*entry{}} }

func (c *cache) get(h hash, version int64) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e := c.entries[h]; e != nil && e.version == version {
		return e
	}
	return nil
}

func (c *cache) put(h hash, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.entries[h]; !known && len(c.entries) >= maxCached {
		c.evict(e.version)
	}
	c.entries[h] = e
}

// evict drops the worthless among a few entries, and if there are none, any one: Go's order of a map is as good as random.
func (c *cache) evict(version int64) {
	looks, dropped := 0, 0
	var last hash
	for h, e := range c.entries {
		if e.version != version {
			delete(c.entries, h)
			dropped++
		}
		last = h
		if looks++; looks == maxLooks {
			break
		}
	}
	if dropped == 0 {
		delete(c.entries, last)
	}
}

// touchInterval is how often a session's last sign of life is stored at most.
const touchInterval = time.Minute

// touches remembers what was stored lately, so that the many requests of one page make one write.
type touches struct {
	mu sync.Mutex
	at map[hash]time.Time
}

func newTouches() touches { return touches{at: map[hash]time.Time{}} }

// due reports whether the caller is to store a touch, and then takes it on itself.
func (t *touches) due(h hash, now time.Time, interval time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, known := t.at[h]; known && now.Sub(last) < interval {
		return false
	}
	if len(t.at) >= maxCached {
		t.forget(now, interval)
	}
	t.at[h] = now
	return true
}

// failed lets the next one try again.
func (t *touches) failed(h hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.at, h)
}

// forget drops what is past, and everything when nothing is: a touch too many is one more write, and no harm.
func (t *touches) forget(now time.Time, interval time.Duration) {
	for h, last := range t.at {
		if now.Sub(last) >= interval {
			delete(t.at, h)
		}
	}
	if len(t.at) >= maxCached {
		clear(t.at)
	}
}
