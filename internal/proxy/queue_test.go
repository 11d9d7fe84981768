package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// line is a queue in a bubble, and those who stand in it.
type line struct {
	t     *testing.T
	queue *Queue
	log   []string // who got a place, in order
	mu    sync.Mutex
}

// place is somebody who wants, or has, a place.
type place struct {
	release func()
	leave   context.CancelFunc
	err     error
	has     atomic.Bool
}

// ask waits for a place in the background, and returns when nothing moves any more.
func (l *line) ask(identity string) *place {
	l.t.Helper()
	ctx, leave := context.WithCancel(l.t.Context())
	p := &place{leave: leave}
	go func() {
		p.release, p.err = l.queue.Acquire(ctx, identity)
		if p.err == nil {
			context.AfterFunc(ctx, p.release) // as whoever holds a place does
			l.mu.Lock()
			l.log = append(l.log, identity)
			l.mu.Unlock()
			p.has.Store(true)
		}
	}()
	synctest.Wait()
	return p
}

func (l *line) give(p *place) {
	p.release()
	synctest.Wait()
}

// empty ends what is left, and checks that the queue has forgotten everybody.
func (l *line) empty(places ...*place) {
	l.t.Helper()
	for _, p := range places {
		p.leave()
	}
	synctest.Wait()
	if got := l.queue.Load(); got != (QueueLoad{}) {
		l.t.Errorf("all have left, but the queue's load is %+v", got)
	}
	if len(l.queue.owners) != 0 || l.queue.turns.Len() != 0 {
		l.t.Errorf("all have left, but the queue remembers %d identities and %d turns", len(l.queue.owners), l.queue.turns.Len())
	}
}

func inLine(t *testing.T, o QueueOptions, test func(l *line)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(&line{t: t, queue: NewQueue(o)}) })
}

func TestQueueTakesIdentitiesInTurn(t *testing.T) {
	t.Parallel()
	inLine(t, QueueOptions{Places: 1}, func(l *line) {
		var all []*place
		for identity := range strings.SplitSeq("aaaaabbc", "") {
			all = append(all, l.ask(identity))
		}
		for range all {
			for _, p := range all {
				if p.has.Swap(false) {
					l.give(p)
					break
				}
			}
		}
		if got, want := strings.Join(l.log, ""), "aabcabaa"; got != want {
			t.Errorf("places went to %s, want %s: one for each identity in turn", got, want)
		}
		l.empty(all...)
	})
}

func TestQueueNoIdentityHoldsMoreThanHalf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ places, each int }{{1, 1}, {2, 1}, {3, 1}, {4, 2}, {9, 4}} {
		t.Run(fmt.Sprint(test.places), func(t *testing.T) {
			t.Parallel()
			inLine(t, QueueOptions{Places: test.places}, func(l *line) {
				var all []*place
				for range 2 * test.places {
					all = append(all, l.ask("crowd"))
				}
				if got := l.queue.Load().Running; got != test.each {
					t.Errorf("one identity holds %d of %d places, want %d", got, test.places, test.each)
				}
				// The control: others find the rest at once, until all are taken.
				for i := range test.places - test.each {
					p := l.ask(fmt.Sprint("other ", i))
					if all = append(all, p); !p.has.Load() {
						t.Errorf("other %d waits though there is a place", i)
					}
				}
				if last := l.ask("one more"); last.has.Load() {
					t.Errorf("all %d places are taken, and one more got one", test.places)
				} else {
					all = append(all, last)
				}
				l.empty(all...)
			})
		})
	}
}

func TestQueueAPlaceIsGivenBackAfterASecond(t *testing.T) {
	t.Parallel()
	inLine(t, QueueOptions{Places: 2}, func(l *line) {
		slow := []*place{l.ask("a"), l.ask("b")}
		time.Sleep(300 * time.Millisecond)
		quick := l.ask("c")
		time.Sleep(699 * time.Millisecond)
		synctest.Wait()
		if quick.has.Load() {
			t.Error("a place was given away before its second was over")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !quick.has.Load() {
			t.Error("two slow requests stop everyone for longer than a second")
		}
		if got, want := l.queue.Load(), (QueueLoad{Running: 1, Overdue: 2}); got != want {
			t.Errorf("the slow ones run on, so the load should be %+v, got %+v", want, got)
		}
		// Their end frees nothing twice.
		for _, p := range slow {
			l.give(p)
		}
		if got, want := l.queue.Load(), (QueueLoad{Running: 1}); got != want {
			t.Errorf("after the end of the slow ones the load is %+v, want %+v", got, want)
		}
		// And once more, as the queue has one timer for all.
		again := l.ask("c")
		time.Sleep(patience)
		synctest.Wait()
		if !again.has.Load() {
			t.Error("the second place that was held for a second was not given back")
		}
		l.empty(quick, again)
	})
}

// Nobody waits, so no timer runs; who comes then must not wait for one.
func TestQueueAnOldPlaceIsFreeForWhoComesLater(t *testing.T) {
	t.Parallel()
	inLine(t, QueueOptions{Places: 1}, func(l *line) {
		slow := l.ask("a")
		time.Sleep(time.Hour)
		late := l.ask("a")
		if !late.has.Load() {
			t.Error("a place that is an hour old was not given back")
		}
		l.empty(slow, late)
	})
}

func TestQueueSlowRequestsDoNotFillDagster(t *testing.T) {
	t.Parallel()
	inLine(t, QueueOptions{Places: 2}, func(l *line) {
		var all []*place
		for range maxOverdueEach + 1 {
			p := l.ask("a")
			if all = append(all, p); !p.has.Load() {
				t.Fatal("a slow request did not give its place back")
			}
			time.Sleep(patience)
		}
		next := l.ask("a")
		if next.has.Load() {
			t.Errorf("one identity runs %+v", l.queue.Load())
		}
		other := l.ask("b")
		if !other.has.Load() {
			t.Error("another identity has to wait for the slow requests of the first")
		}
		l.give(all[0])
		if !next.has.Load() {
			t.Error("a slow request is over, and the next one still waits")
		}
		l.empty(append(all, next, other)...)
	})
}

func TestQueueWhoLeavesGivesTheirPlaceBack(t *testing.T) {
	t.Parallel()
	inLine(t, QueueOptions{Places: 1}, func(l *line) {
		running, waiting, next := l.ask("a"), l.ask("b"), l.ask("c")
		waiting.leave()
		synctest.Wait()
		if !errors.Is(waiting.err, context.Canceled) {
			t.Errorf("whoever left while waiting got %v", waiting.err)
		}
		if next.has.Load() {
			t.Error("leaving the queue freed a place that was not there")
		}
		running.leave()
		synctest.Wait()
		if !next.has.Load() {
			t.Error("the one who ran has left, and the next one still waits")
		}
		l.give(running)
		if got, want := l.queue.Load(), (QueueLoad{Running: 1}); got != want {
			t.Errorf("releasing a place after leaving made the load %+v, want %+v", got, want)
		}
		l.empty(next)
	})
}

func TestQueueReleaseTwiceFreesOnePlace(t *testing.T) {
	t.Parallel()
	inLine(t, QueueOptions{Places: 2}, func(l *line) {
		first, second, third, fourth := l.ask("a"), l.ask("b"), l.ask("c"), l.ask("d")
		l.give(first)
		l.give(first)
		if !third.has.Load() || fourth.has.Load() {
			t.Errorf("one place was released twice; who has one: third %v, fourth %v", third.has.Load(), fourth.has.Load())
		}
		l.empty(second, third, fourth)
	})
}

func TestQueueOverload(t *testing.T) {
	t.Parallel()
	inLine(t, QueueOptions{Places: 1, Waiting: 3, WaitingEach: 2}, func(l *line) {
		all := []*place{l.ask("a"), l.ask("a"), l.ask("a")}
		if p := l.ask("a"); !errors.Is(p.err, ErrOverloaded) {
			t.Errorf("the third waiting request of one identity got %v, want %v", p.err, ErrOverloaded)
		}
		all = append(all, l.ask("b"))
		if p := l.ask("c"); !errors.Is(p.err, ErrOverloaded) {
			t.Errorf("the fourth waiting request got %v, want %v", p.err, ErrOverloaded)
		}
		all[3].leave()
		synctest.Wait()
		if p := l.ask("c"); p.err != nil {
			t.Errorf("somebody left, and the next one got %v", p.err)
		} else {
			all = append(all, p)
		}
		l.empty(all...)
	})
}

func TestQueueTellsHowLongEachWaited(t *testing.T) {
	t.Parallel()
	var waits []time.Duration
	inLine(t, QueueOptions{Places: 1, Waited: func(d time.Duration) { waits = append(waits, d) }}, func(l *line) {
		first, second, left := l.ask("a"), l.ask("a"), l.ask("a")
		time.Sleep(100 * time.Millisecond)
		left.leave()
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		l.give(first)
		l.empty(second)
	})
	if diff := cmp.Diff([]time.Duration{0, 200 * time.Millisecond}, waits); diff != "" {
		t.Errorf("waits, -want +got:\n%s", diff)
	}
}

func TestQueueNobodyWhoIsGoneGetsAPlace(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	q := NewQueue(QueueOptions{})
	release, err := q.Acquire(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	release()
	cancel()
	if _, err := q.Acquire(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// dice is a source of numbers that are the same in each run.
type dice uint64

func (d *dice) roll(n int) int {
	*d = *d*6364136223846793005 + 1442695040888963407
	return int(*d>>33) % n
}

// TestQueueLimitsHold lets a crowd come, wait, leave and work as it likes.
func TestQueueLimitsHold(t *testing.T) {
	t.Parallel()
	const places, people, requests = 5, 7, 60
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{Places: places, Waiting: 150, WaitingEach: 40})
		var running, done, left, refused atomic.Int32
		var mine [people]atomic.Int32
		for i := range people * requests {
			d := dice(i)
			go func() {
				time.Sleep(time.Duration(d.roll(2000)) * time.Millisecond)
				who := d.roll(people)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				impatient := time.AfterFunc(time.Duration(1+d.roll(4000))*time.Millisecond, leave)
				release, err := q.Acquire(ctx, fmt.Sprint(who))
				impatient.Stop() // who leaves while working has no place any more, and would be counted here
				switch {
				case ctx.Err() != nil && err == nil:
					release()
					left.Add(1)
					return
				case errors.Is(err, ErrOverloaded):
					refused.Add(1)
					return
				case err != nil:
					left.Add(1)
					return
				}
				if n := running.Add(1); n > places {
					t.Errorf("%d requests hold %d places", n, places)
				}
				if n := mine[who].Add(1); n > places/2 {
					t.Errorf("one identity holds %d of %d places", n, places)
				}
				time.Sleep(time.Duration(d.roll(250)) * time.Millisecond)
				mine[who].Add(-1)
				running.Add(-1)
				release()
				done.Add(1)
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if sum := done.Load() + left.Load() + refused.Load(); sum != people*requests || done.Load() == 0 || left.Load() == 0 || refused.Load() == 0 {
			t.Errorf("%d done, %d left, %d refused, want all of %d and some of each", done.Load(), left.Load(), refused.Load(), people*requests)
		}
		if got := q.Load(); got != (QueueLoad{}) || len(q.owners) != 0 {
			t.Errorf("at the end the load is %+v and %d identities are remembered", got, len(q.owners))
		}
	})
}

// TestQueueOneCrowdDoesNotStarveAClick bounds how long one request waits beside somebody's two hundred.
func TestQueueOneCrowdDoesNotStarveAClick(t *testing.T) {
	t.Parallel()
	const work = 100 * time.Millisecond
	for places, want := range map[int]time.Duration{
		1: 2 * work, // the one that runs, and the one whose turn it was
		2: 0, 3: 0, 4: 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			q := NewQueue(QueueOptions{Places: places})
			use := func(identity string) (waited time.Duration) {
				began := time.Now()
				release, err := q.Acquire(t.Context(), identity)
				if err != nil {
					t.Error(err)
					return 0
				}
				defer release()
				waited = time.Since(began)
				time.Sleep(work)
				return waited
			}
			var crowd, clicks sync.WaitGroup
			for range 200 {
				crowd.Go(func() { use("crowd") })
			}
			var waits []time.Duration
			clicks.Go(func() {
				for range 20 {
					time.Sleep(37 * time.Millisecond)
					waits = append(waits, use("click"))
				}
			})
			clicks.Wait()
			if worst := slices.Max(waits); worst > want {
				t.Errorf("with %d places a click waited %s behind a crowd, want at most %s", places, worst, want)
			}
			crowd.Wait()
		})
	}
}

func BenchmarkQueueAlone(b *testing.B) {
	q := NewQueue(QueueOptions{})
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		release, err := q.Acquire(ctx, "a")
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}

// BenchmarkQueueCrowd has 64 requests of 8 identities wait for 4 places all the time.
func BenchmarkQueueCrowd(b *testing.B) {
	q := NewQueue(QueueOptions{})
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			for left.Add(-1) >= 0 {
				release, err := q.Acquire(ctx, names[i%len(names)])
				if err != nil {
					b.Error(err)
					return
				}
				release()
			}
		})
	}
	all.Wait()
}
