package store

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testUsedUp(t *testing.T, s *Store) {
	ctx, soon := t.Context(), now.Add(time.Minute)
	version, err := s.Version(ctx)
	check(t, "version", err)
	used := func(thing string, at time.Time, want bool) {
		t.Helper()
		if got, err := s.UsedUp(ctx, thing, at); err != nil || got != want {
			t.Errorf("%s is used up: got %t, %v, want %t", thing, got, err, want)
		}
	}
	used("state 1", now, false)
	// Many take it at once: one is the first.
	var first atomic.Int32
	var takers sync.WaitGroup
	for range 8 {
		takers.Go(func() {
			won, err := s.UseUp(ctx, "state 1", now, soon)
			if err != nil {
				t.Errorf("use up: %v", err)
			}
			if won {
				first.Add(1)
			}
		})
	}
	takers.Wait()
	if first.Load() != 1 {
		t.Errorf("%d were the first, want one", first.Load())
	}
	used("state 1", now, true)
	used("state 1", soon, false)
	used("state 2", now, false)
	if won, err := s.UseUp(ctx, "state 1", soon, soon.Add(time.Minute)); err != nil || !won {
		t.Errorf("once it is forgotten: got %t, %v, want it taken", won, err)
	}
	used("state 1", soon, true)

	for i := range 3 {
		_, err := s.UseUp(ctx, "old "+strconv.Itoa(i), now, now.Add(time.Second))
		check(t, "use up", err)
	}
	rows := func(want int) {
		t.Helper()
		var n int
		if err := s.readers.QueryRowContext(ctx, `SELECT count(*) FROM used_up`).Scan(&n); err != nil || n != want {
			t.Errorf("%d rows, %v, want %d", n, err, want)
		}
	}
	rows(4)
	for more := true; more; {
		var err error
		more, err = s.SweepUsedUp(ctx, now.Add(time.Second), 2)
		check(t, "sweep", err)
	}
	rows(1)
	used("state 1", soon, true)
	if after, err := s.Version(ctx); err != nil || after != version {
		t.Errorf("the version moved from %d to %d, %v: every session would be read anew", version, after, err)
	}
}
