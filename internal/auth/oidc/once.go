package oidc

import (
	"crypto/sha256"
	"sync"
	"time"
)

// mostUsed bounds what is remembered, of some 100 bytes each.
const mostUsed = 20_000

// once remembers what was used up until it is worthless anyway.
type once struct {
	mu   sync.Mutex
	used map[[sha256.Size]byte]time.Time
}

func newOnce() once { return once{used: map[[sha256.Size]byte]time.Time{}} }

// take reports whether it is the first time that the thing is used. until is when nobody would accept it any more.
func (o *once) take(thing string, now, until time.Time) bool {
	key := sha256.Sum256([]byte(thing))
	o.mu.Lock()
	defer o.mu.Unlock()
	if end, known := o.used[key]; known && now.Before(end) {
		return false
	}
	if len(o.used) >= mostUsed {
		o.forget(now)
	}
	o.used[key] = until
	return true
}

// taken reports whether the thing was used.
func (o *once) taken(thing string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	end, known := o.used[sha256.Sum256([]byte(thing))]
	return known && now.Before(end)
}

// forget drops what is past, and when nothing is, any one: a provider takes no code twice either.
func (o *once) forget(now time.Time) {
	for key, end := range o.used {
		if !now.Before(end) {
			delete(o.used, key)
		}
	}
	for key := range o.used {
		if len(o.used) < mostUsed {
			return
		}
		delete(o.used, key)
	}
}
