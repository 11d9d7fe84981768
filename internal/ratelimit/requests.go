package ratelimit

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxKeys are counted at once, in some 20 MiB: more than there are people at a Dagster, few enough for a flood of
	// addresses.
	maxKeys = 100_000
	// maxLooks bounds the search for something to forget.
	maxLooks = 16
)

// Requests is a limit for each key on its own: a bucket that holds at most burst tokens and gains perSecond of them a
// second; a request takes one.
type Requests struct {
	perSecond float64
	burst     float64

	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket is how many tokens there were at a time.
type bucket struct {
	tokens float64
	at     time.Time
}

// NewRequests makes a limit of perSecond requests a second and burst at once, for each key. With 0 a second everything is
// allowed.
func NewRequests(perSecond float64, burst int) (*Requests, error) {
	switch {
	case !(perSecond >= 0) || math.IsInf(perSecond, 1):
		return nil, fmt.Errorf("ratelimit: %v requests a second: give a number from 0 (no limit)", perSecond)
	case perSecond > 0 && burst < 1:
		return nil, fmt.Errorf("ratelimit: a burst of %d requests: give at least 1", burst)
	}
	return &Requests{perSecond: perSecond, burst: float64(burst), buckets: map[string]bucket{}}, nil
}

// Allow takes a token of key. It returns 0 when there was one, else how long until there will be.
//
// When there are too many keys, one with the most tokens among a few is forgotten: it is the one that loses least by
// starting anew with a full bucket.
func (q *Requests) Allow(key string, now time.Time) (retryAfter time.Duration) {
	if q.perSecond == 0 {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	b, known := q.buckets[key]
	if !known {
		b = bucket{tokens: q.burst, at: now}
		if len(q.buckets) >= maxKeys {
			q.forget(now)
		}
	}
	b = q.fill(b, now)
	if b.tokens >= 1 {
		b.tokens--
	} else {
		retryAfter = time.Duration(math.Ceil((1 - b.tokens) / q.perSecond * float64(time.Second)))
	}
	q.buckets[key] = b
	return retryAfter
}

// fill is the bucket at now. A clock that went back fills nothing, and moves nothing back.
func (q *Requests) fill(b bucket, now time.Time) bucket {
	passed := now.Sub(b.at)
	if passed <= 0 {
		return b
	}
	return bucket{tokens: min(q.burst, b.tokens+passed.Seconds()*q.perSecond), at: now}
}

func (q *Requests) forget(now time.Time) {
	looks, most, fullest := 0, -1.0, ""
	for key, b := range q.buckets {
		if tokens := q.fill(b, now).tokens; tokens > most {
			most, fullest = tokens, key
		}
		if looks++; looks == maxLooks {
			break
		}
	}
	delete(q.buckets, fullest)
}

// AddressKey is the name under which an address counts: an IPv4 address, mapped into IPv6 or not, is itself; IPv6 counts by
// its /64, which is the least that one customer is given (RFC 6177), so that one machine is not 2^64 strangers. What is
// no address shares one key, so that it is not without a limit.
func AddressKey(address netip.Addr) string {
	address = address.Unmap().WithZone("")
	switch {
	case !address.IsValid():
		return "unknown"
	case address.Is4():
		return address.String()
	}
	return netip.PrefixFrom(address, 64).Masked().String()
}
