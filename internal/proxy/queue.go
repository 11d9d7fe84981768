package proxy

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// ErrOverloaded says that so many requests wait for Dagster already that one more may not. Nothing of the request has
// happened: it may be sent again later.
var ErrOverloaded = errors.New("too many requests wait for dagster")

const (
	// defaultPlaces is measured, with Dagster 1.13.27 on two cores: with 64 requests at once its slowest hundredth took 0.94 s,
	// with one to eight let through 0.29 to 0.33 s, at 1.2 to 1.4 times the throughput. Four are two for each identity, so
	// that Python has something to do while one of them waits for a database.
	defaultPlaces = 4
	// defaultWaiting bounds the requests that wait, of all and of one identity; a browser sends six at a time for each tab.
	defaultWaiting     = 1024
	defaultWaitingEach = 256
	// patience is how long a request keeps its place. Whoever takes longer waits for something else than Python's time.
	patience = time.Second
	// maxOverdue and maxOverdueEach bound the requests that run on without a place. Dagster answers in 40 threads
	// (starlette's thread pool); were all of them taken by slow queries, the places would be worth nothing.
	maxOverdue     = 32
	maxOverdueEach = 16
)

// QueueOptions are what a Queue is made of. The zero value is the measured default.
type QueueOptions struct {
	// Places is how many requests may be at Dagster at once; 0 is 4. No identity holds more than half of them.
	Places int
	// Waiting bounds the requests that wait, WaitingEach those of one identity; 0 is 1024 and 256.
	Waiting, WaitingEach int
	// Waited is told how long each request waited for its place, 0 included; nil tells nobody.
	Waited func(time.Duration)
}

// QueueLoad is what a Queue has to do at one moment.
type QueueLoad struct {
	// Running requests hold a place, Overdue ones run on without theirs, and Waiting ones have none yet.
	Running, Overdue, Waiting int
}

// Queue gives requests their places at Dagster, identity by identity in turn, so that one person's fifty tabs don't starve
// another's click. It is safe for concurrent use and has no goroutine of its own.
type Queue struct {
	places, each         int // all places, and those that one identity may hold
	waiting, waitingEach int // bounds
	waited               func(time.Duration)

	mu      sync.Mutex
	owners  map[string]*owner
	turns   list.List // of *owner: those with waiting tickets, next one first
	holding list.List // of *ticket: those that hold a place, oldest first
	overdue int
	queued  int
	// timer wakes the queue when the oldest place is to be given back. It runs only while somebody waits.
	timer *time.Timer
	armed bool
}

// owner is an identity with requests in the queue.
type owner struct {
	name             string
	holding, overdue int
	waiting          list.List     // of *ticket, oldest first
	turn             *list.Element // in Queue.turns while waiting is not empty
}

// ticket is one request, from when it begins to wait until it is over.
type ticket struct {
	owner   *owner
	state   ticketState
	since   time.Time     // when its place was taken
	element *list.Element // in owner.waiting or Queue.holding, as state says
	granted chan struct{} // closed when the place is there; nil when it was there at once
}

type ticketState int

const (
	ticketWaiting ticketState = iota
	ticketHolding
	ticketOverdue
	ticketOver
)

// NewQueue returns a Queue with all of its places free.
func NewQueue(o QueueOptions) *Queue {
	q := &Queue{
		places:      cmp.Or(max(o.Places, 0), defaultPlaces),
		waiting:     cmp.Or(max(o.Waiting, 0), defaultWaiting),
		waitingEach: cmp.Or(max(o.WaitingEach, 0), defaultWaitingEach),
		waited:      o.Waited,
		owners:      map[string]*owner{},
	}
	q.each = max(1, q.places/2)
	return q
}

// Acquire waits for a place in the identity's name. It returns ErrOverloaded when too many wait already, and ctx's error
// when ctx ends first. The place is given back by release, which may be called more than once, or after a second: whoever
// holds a place does not have to hurry, but calls release when the request is over, however it ends.
func (q *Queue) Acquire(ctx context.Context, identity string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	began := time.Now()
	t, err := q.enter(identity, began)
	if err != nil {
		return nil, err
	}
	var waited time.Duration
	if t.granted != nil {
		select {
		case <-t.granted:
			waited = time.Since(began)
		case <-ctx.Done():
			q.leave(t)
			return nil, ctx.Err()
		}
	}
	if q.waited != nil {
		q.waited(waited)
	}
	return func() {
		if q.leave(t) {
			// Who got the place asks Dagster before this answer is written out: else Dagster would wait for that.
			runtime.Gosched()
		}
	}, nil
}

// Load is for metrics.
func (q *Queue) Load() QueueLoad {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(time.Now())
	return QueueLoad{Running: q.holding.Len(), Overdue: q.overdue, Waiting: q.queued}
}

// enter takes a place when there is one and nobody stands before the identity, else it puts a ticket into the queue.
func (q *Queue) enter(identity string, now time.Time) (*ticket, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(now)
	o := q.owners[identity]
	if o == nil {
		o = &owner{name: identity}
	}
	t := &ticket{owner: o}
	// advance has left no free place to anybody who may have it, so a place that is free now takes no one's turn.
	if q.mayHold(o) {
		q.owners[identity] = o
		q.hold(t, now)
		return t, nil
	}
	if q.queued >= q.waiting || o.waiting.Len() >= q.waitingEach {
		return nil, ErrOverloaded
	}
	q.owners[identity] = o
	t.granted = make(chan struct{})
	t.element = o.waiting.PushBack(t)
	q.queued++
	if o.turn == nil {
		o.turn = q.turns.PushBack(o)
	}
	q.arm(now)
	return t, nil
}

// leave ends a ticket, whatever has become of it, and says whether somebody got a place by that; the second time it does nothing.
func (q *Queue) leave(t *ticket) (granted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch t.state {
	case ticketWaiting:
		q.dequeue(t)
	case ticketHolding:
		q.holding.Remove(t.element)
		t.owner.holding--
	case ticketOverdue:
		q.overdue--
		t.owner.overdue--
	case ticketOver:
		return false
	}
	t.state = ticketOver
	q.forget(t.owner)
	return q.advance(time.Now())
}

// advance gives the places that are free, or overdue, to those whose turn it is, and says whether there was anybody.
func (q *Queue) advance(now time.Time) (granted bool) {
	q.expire(now)
	for o := q.next(); o != nil; o = q.next() {
		t, _ := o.waiting.Front().Value.(*ticket)
		q.dequeue(t)
		if o.turn != nil {
			q.turns.MoveToBack(o.turn)
		}
		q.hold(t, now)
		close(t.granted)
		granted = true
	}
	q.arm(now)
	return granted
}

// next is the identity whose turn it is and that may have a place. At most three hold all that they may, so this is a short
// walk; they keep their turn.
func (q *Queue) next() *owner {
	if q.holding.Len() >= q.places {
		return nil
	}
	for e := q.turns.Front(); e != nil; e = e.Next() {
		if o, _ := e.Value.(*owner); q.mayHold(o) {
			return o
		}
	}
	return nil
}

func (q *Queue) mayHold(o *owner) bool {
	return q.holding.Len() < q.places && o.holding < q.each
}

func (q *Queue) hold(t *ticket, now time.Time) {
	t.state, t.since = ticketHolding, now
	t.element = q.holding.PushBack(t)
	t.owner.holding++
}

func (q *Queue) dequeue(t *ticket) {
	o := t.owner
	o.waiting.Remove(t.element)
	q.queued--
	if o.waiting.Len() == 0 {
		q.turns.Remove(o.turn)
		o.turn = nil
	}
}

func (q *Queue) forget(o *owner) {
	if o.holding == 0 && o.overdue == 0 && o.waiting.Len() == 0 {
		delete(q.owners, o.name)
	}
}

// expire takes the places of the requests that have had theirs for long enough.
func (q *Queue) expire(now time.Time) {
	var next *list.Element
	for e := q.holding.Front(); e != nil; e = next {
		next = e.Next()
		t, _ := e.Value.(*ticket)
		if now.Sub(t.since) < patience {
			return
		}
		if q.overdue >= maxOverdue || t.owner.overdue >= maxOverdueEach {
			continue // it keeps its place until it is over, or until another one is
		}
		q.holding.Remove(e)
		t.state = ticketOverdue
		t.owner.holding--
		t.owner.overdue++
		q.overdue++
	}
}

// arm sets the timer for the oldest place whose second is not over. While nobody waits there is nothing to wake up for.
func (q *Queue) arm(now time.Time) {
	if q.armed || q.queued == 0 {
		return
	}
	for e := q.holding.Front(); e != nil; e = e.Next() {
		t, _ := e.Value.(*ticket)
		left := patience - now.Sub(t.since)
		if left <= 0 {
			continue // see expire
		}
		q.armed = true
		if q.timer == nil {
			q.timer = time.AfterFunc(left, q.tick)
		} else {
			q.timer.Reset(left)
		}
		return
	}
}

func (q *Queue) tick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed = false
	q.advance(time.Now())
}
