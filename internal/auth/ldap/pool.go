package ldap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
)

const (
	// mostIdle is how many of the searching account's connections are kept, and idleTime how long: firewalls forget
	// connections in silence, and the first question after that would wait until its deadline.
	mostIdle = 4
	idleTime = 45 * time.Second
	// lifetime brings the questions back to the first server some time after it came up again.
	lifetime = 5 * time.Minute
	// mostAtOnce bounds the connections that are open at the same time, those of people who bind included.
	mostAtOnce = 32
)

// pool keeps connections on which the searching account is bound.
type pool struct {
	mu   sync.Mutex
	idle []*conn // the last one was used last
	open chan struct{}
	once sync.Once
}

// enter waits for leave to open a connection, for some time. Every nil error must be followed by one receive from p.open.
func (p *pool) enter(ctx context.Context, patience time.Duration) error {
	p.once.Do(func() { p.open = make(chan struct{}, mostAtOnce) })
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case p.open <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ask the directory: %w", auth.ErrBusy)
	}
}

// take gives the connection that was used last, and closes those that are too old.
func (p *pool) take(now time.Time) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !c.IsClosing() && now.Sub(c.used) < idleTime && now.Sub(c.made) < lifetime {
			return c
		}
		c.close()
	}
	return nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.broken || c.IsClosing() || len(p.idle) >= mostIdle {
		c.close()
		return
	}
	c.used, c.kept = time.Now(), true
	p.idle = append(p.idle, c)
}

// Close closes the connections that are kept. The backend can be used on; it makes new ones.
func (b *Backend) Close() {
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	for _, c := range b.pool.idle {
		c.close()
	}
	b.pool.idle = nil
}

// asSearcher asks on a connection of the searching account. One that was kept may be dead without our knowing: then the
// question is asked once more, on a new one.
func (b *Backend) asSearcher(ctx context.Context, ask func(c *conn) error) error {
	if err := b.pool.enter(ctx, b.Timeout); err != nil {
		return err
	}
	defer func() { <-b.pool.open }()
	if c := b.pool.take(time.Now()); c != nil {
		err := ask(c)
		b.pool.put(c)
		if !isDown(err) || ctx.Err() != nil {
			return err
		}
		b.Close() // the others are probably dead as well, and each would cost its deadline
	}
	return b.onEach(ctx, func() (*conn, error) { return b.searcher(ctx) }, func(c *conn) error {
		defer b.pool.put(c)
		return ask(c)
	})
}

// onEach asks on new connections until one answers: a server that takes a connection and then does not answer is passed over as
// one that takes none is.
func (b *Backend) onEach(ctx context.Context, open func() (*conn, error), ask func(*conn) error) error {
	var problems []error
	for range b.servers {
		c, err := open()
		if err == nil {
			err = ask(c)
		}
		if !isDown(err) || ctx.Err() != nil {
			return err
		}
		problems = append(problems, err)
		if errors.Is(err, errAllDown) {
			break
		}
	}
	return errors.Join(problems...)
}

// searcher opens a new connection and binds on it.
func (b *Backend) searcher(ctx context.Context) (*conn, error) {
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	if b.BindDN == "" {
		return c, nil
	}
	if _, err = c.bind(ctx, b.BindDN, b.BindPassword); err == nil {
		return c, nil
	}
	c.close()
	if isDown(err) {
		return nil, err
	}
	return nil, fmt.Errorf("%w: the server refuses DAGSTER_AUTH_LDAP_BIND_DN: %w", auth.ErrUnavailable, explained(err))
}

// asPerson binds on a connection of its own, which is closed afterwards.
func (b *Backend) asPerson(ctx context.Context, dn, password string) (*ldap.SimpleBindResult, error) {
	if err := b.pool.enter(ctx, b.Timeout); err != nil {
		return nil, err
	}
	defer func() { <-b.pool.open }()
	var result *ldap.SimpleBindResult
	err := b.onEach(ctx, func() (*conn, error) { return b.connect(ctx) }, func(c *conn) (err error) {
		defer c.close()
		result, err = c.bind(ctx, dn, password)
		return err
	})
	return result, err
}
