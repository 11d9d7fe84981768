package token

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// Confirm asks the backend of a token's owner whether it still vouches for them, and stores what it says. auth.ErrGone says that
// it does not; any other error leaves that open.
type Confirm func(ctx context.Context, owner identity.User) error

// ErrUnseen is what Confirm gives of an owner whose backend can't be asked about them, and told of them too long ago.
var ErrUnseen = fmt.Errorf("%w: it told of them too long ago", auth.ErrGone)

const (
	// confirmTimeout bounds one question, and confirmPatience how long a request waits for the answer.
	confirmTimeout  = 30 * time.Second
	confirmPatience = 5 * time.Second
	// confirmRetry is how soon a backend is asked again that did not answer, or said that the owner is gone.
	confirmRetry = 5 * time.Second
)

// confirmer remembers what backends said of tokens' owners. A person's session is refreshed by its own secret; that their
// programs go on does not hang on a session.
type confirmer struct {
	ask      Confirm
	interval time.Duration
	flights  singleflight.Group

	mu    sync.Mutex
	known map[int64]confirmation // by the owner's row
}

// confirmation is what was last heard.
type confirmation struct {
	vouched time.Time // when the backend last vouched; zero: not since the start
	asked   time.Time
	err     error // of the last question
}

// check asks once an interval. fresh says that the backend was asked just now, so that the owner may have changed. The error is
// auth.ErrGone, or auth.ErrUnavailable once the backend has not answered for an interval after the question was due.
func (c *confirmer) check(ctx context.Context, owner identity.User, now time.Time) (fresh bool, err error) {
	if last := c.last(owner.RowID); now.Sub(last.vouched) < c.interval && last.err == nil || now.Sub(last.asked) < confirmRetry {
		return false, c.judge(last, now)
	}
	answer := c.flights.DoChan(strconv.FormatInt(owner.RowID, 10), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), confirmTimeout)
		defer cancel()
		c.heard(owner.RowID, c.ask(ctx, owner), time.Now())
		return nil, nil
	})
	select {
	case <-answer:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(confirmPatience):
		return false, c.judge(c.last(owner.RowID), time.Now())
	}
	return true, c.judge(c.last(owner.RowID), time.Now())
}

func (c *confirmer) last(rowID int64) confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[rowID]
}

func (c *confirmer) heard(rowID int64, err error, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	heard := c.known[rowID]
	heard.asked, heard.err = now, err
	if err == nil {
		heard.vouched = now
	}
	if len(c.known) >= maxCached {
		clear(c.known)
	}
	c.known[rowID] = heard
}

func (c *confirmer) judge(last confirmation, now time.Time) error {
	switch {
	case errors.Is(last.err, auth.ErrGone):
		return last.err
	case now.Sub(last.vouched) < 2*c.interval:
		return nil
	case last.err != nil:
		return fmt.Errorf("ask about the token's owner: %w: %w", auth.ErrUnavailable, last.err)
	}
	return fmt.Errorf("ask about the token's owner: %w", auth.ErrUnavailable)
}
