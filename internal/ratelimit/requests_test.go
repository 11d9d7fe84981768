package ratelimit_test

import (
	"math"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dagster-authkit/internal/ratelimit"
)

var epoch = time.Date(2026, 1, 25, 10, 30, 0, 0, time.UTC)

func requests(t testing.TB, perSecond float64, burst int) *ratelimit.Requests {
	t.Helper()
	q, err := ratelimit.NewRequests(perSecond, burst)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestAllow(t *testing.T) {
	t.Parallel()
	q := requests(t, 2, 3)
	for i, c := range []struct {
		key   string
		after time.Duration
		want  time.Duration
	}{
		{"a", 0, 0},
		{"a", 0, 0},
		{"a", 0, 0},
		{"a", 0, 500 * time.Millisecond},
		{"b", 0, 0},
		{"a", 250 * time.Millisecond, 250 * time.Millisecond},
		{"a", 500 * time.Millisecond, 0},
		{"a", 500 * time.Millisecond, 500 * time.Millisecond},
		{"a", -time.Hour, 500 * time.Millisecond},             // the clock went back
		{"a", 500 * time.Millisecond, 500 * time.Millisecond}, // and nothing was lost or won by it
		{"a", time.Hour, 0},
		{"a", time.Hour, 0},
		{"a", time.Hour, 0},
		{"a", time.Hour, 500 * time.Millisecond}, // an hour fills the bucket and no more
	} {
		got := q.Allow(c.key, epoch.Add(c.after))
		if (got - c.want).Abs() > time.Microsecond {
			t.Errorf("step %d: %s after %v: got %v, want %v", i, c.key, c.after, got, c.want)
		}
	}
}

func TestAllowSaysWhen(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []float64{0.001, 1.0 / 3, 1, 7, 50, 1e6} {
		q := requests(t, perSecond, 1)
		q.Allow("a", epoch)
		wait := q.Allow("a", epoch)
		if wait <= 0 {
			t.Errorf("%v a second: a second request at once was allowed", perSecond)
		}
		if again := q.Allow("a", epoch.Add(wait)); again > time.Nanosecond {
			t.Errorf("%v a second: told to wait %v, then %v more", perSecond, wait, again)
		}
	}
}

func TestAllowOff(t *testing.T) {
	t.Parallel()
	q := requests(t, 0, 0)
	for range 10_000 {
		if wait := q.Allow("a", epoch); wait != 0 {
			t.Fatalf("got %v with the limit off", wait)
		}
	}
}

func TestNewRequestsRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		perSecond float64
		burst     int
		ok        bool
	}{{1, 1, true}, {0, 0, true}, {-1, 1, false}, {math.NaN(), 1, false}, {math.Inf(1), 1, false}, {1, 0, false}} {
		if _, err := ratelimit.NewRequests(c.perSecond, c.burst); (err == nil) != c.ok {
			t.Errorf("%v a second, burst %d: got %v, want accepted %v", c.perSecond, c.burst, err, c.ok)
		}
	}
}

// A flood of keys must neither grow memory nor free the one who is being held back.
func TestAllowUnderAFlood(t *testing.T) {
	t.Parallel()
	q := requests(t, 1, 10)
	for range 10 {
		q.Allow("busy", epoch)
	}
	for i := range 150_000 {
		q.Allow(strconv.Itoa(i), epoch)
	}
	if wait := q.Allow("busy", epoch); wait == 0 {
		t.Error("the flood emptied the count of a key that had used all it may")
	}
	if got := q.Keys(); got > 100_000 {
		t.Errorf("%d keys are held, want at most 100,000", got)
	}
}

func TestAllowTogether(t *testing.T) {
	t.Parallel()
	q := requests(t, 1, 100)
	var allowed atomic.Int64
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			for range 10 {
				if q.Allow("a", epoch) == 0 {
					allowed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if got := allowed.Load(); got != 100 {
		t.Errorf("%d of 500 requests at once were allowed, want the burst of 100", got)
	}
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ address, want string }{
		{"192.0.2.1", "192.0.2.1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2:ffff::", "2001:db8:1:2::/64"},
		{"2001:db8:1:3::1", "2001:db8:1:3::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"fe80::2%eth1", "fe80::/64"},
		{"::ffff:192.0.2.1%eth0", "192.0.2.1"},
		{"::1", "::/64"},
	} {
		if got := ratelimit.AddressKey(netip.MustParseAddr(c.address)); got != c.want {
			t.Errorf("%s counts as %q, want %q", c.address, got, c.want)
		}
	}
	if got := ratelimit.AddressKey(netip.Addr{}); got != "unknown" {
		t.Errorf("no address counts as %q, want unknown", got)
	}
}

func BenchmarkAllow(b *testing.B) {
	q := requests(b, 1e9, 100)
	b.ReportAllocs()
	for b.Loop() {
		q.Allow("local:alice", time.Now())
	}
}

func BenchmarkAllowFull(b *testing.B) {
	q := requests(b, 1, 100)
	for i := range 100_000 {
		q.Allow(strconv.Itoa(i), epoch)
	}
	b.ReportAllocs()
	i := 100_000
	for b.Loop() {
		i++
		q.Allow(strconv.Itoa(i), epoch)
	}
}
