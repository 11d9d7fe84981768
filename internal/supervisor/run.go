package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// portTries is how many ports are tried when somebody takes the picked one before the child does.
	portTries = 5
	// portTakenCode is dagster-webserver's (uvicorn's) exit code when it can't listen.
	portTakenCode = 3
)

// takenError says that the port which the user fixed is not free.
type takenError int

func (e takenError) Error() string {
	return fmt.Sprintf("port %d of %s, which --child-port names, is taken by another program", int(e), childHost)
}

// loop is what Run knows from one child to the next. Only Run's goroutine touches it.
type loop struct {
	everReady bool
	takenRuns int // children in a row that found their port taken
	pause     backoff
	groups    []group  // of earlier children, in which somebody still lives
	children  []*child // all whose lines are not yet over
	sweeps    sync.WaitGroup
}

// Run starts the child and keeps it running until the context is cancelled or Kill is called; then it stops the child
// and returns nil. It returns an *ExitError when the child ends before it was ever ready, and another error when it
// can't be started at all.
func (s *Supervisor) Run(ctx context.Context) error {
	var l loop
	defer func() {
		l.sweeps.Wait()
		for _, c := range l.children {
			c.letGo()
		}
		s.change(func(st *State) { st.Phase, st.PID = Stopped, 0 })
	}()
	for {
		if s.ending(ctx) {
			s.stop(nil, l.groups)
			return nil
		}
		if l.everReady {
			s.restarting()
		}
		c, err := s.launch(ctx)
		if err != nil && !l.everReady {
			return err
		}
		var ready time.Duration
		if c != nil {
			l.children = append(slices.DeleteFunc(l.children, (*child).over), c)
			ready = s.watch(ctx, c)
		}
		if s.ending(ctx) {
			s.stop(c, l.groups)
			return nil
		}
		if ready > 0 {
			l.everReady = true
		}
		if l.everReady {
			s.died(ctx, &l, c, err, ready)
		} else if err := s.neverReady(&l, c); err != nil {
			return err
		}
	}
}

// restarting counts a start after the first.
func (s *Supervisor) restarting() {
	s.change(func(st *State) { st.Phase, st.Restarts = Starting, st.Restarts+1 })
}

// launch picks the port and starts one child.
func (s *Supervisor) launch(ctx context.Context) (*child, error) {
	ctx = context.WithoutCancel(ctx)
	port := s.opts.Port
	if port == 0 {
		picked, err := pickPort(ctx)
		if err != nil {
			return nil, fmt.Errorf("pick a port for the child: %w", err)
		}
		port = picked
	} else if l, err := listen(ctx, port); err != nil {
		return nil, takenError(port)
	} else if err := l.Close(); err != nil {
		return nil, fmt.Errorf("try the child's port: %w", err)
	}
	c, err := s.start(ctx, port)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.address = hostPort(port)
	s.mu.Unlock()
	s.change(func(st *State) { st.Phase, st.PID = Starting, c.pid })
	s.opts.Log.Info().Int("pid", c.pid).Int("port", port).Msg("dagster-webserver started")
	return c, nil
}

// watch waits until the child has ended or is to be stopped, and says how long it was ready; 0 is never.
func (s *Supervisor) watch(ctx context.Context, c *child) time.Duration {
	waiting, cancel := context.WithCancel(ctx)
	ready := make(chan time.Time, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		if s.awaitReady(waiting, c) {
			ready <- time.Now()
		}
	}()
	defer func() {
		cancel()
		<-finished
	}()
	var since time.Time
	for {
		select {
		case since = <-ready:
			s.change(func(st *State) { st.Phase = Ready })
			s.opts.Log.Info().Int("pid", c.pid).Dur("after_ms", since.Sub(c.begun)).Msg("dagster-webserver is ready")
			continue
		case <-c.exited:
		case <-ctx.Done():
		case <-s.kill:
		}
		if since.IsZero() {
			return 0
		}
		return max(time.Since(since), 1)
	}
}

// died deals with a child that was ready once and ended by itself, or (c is nil) could not be started again: it clears up
// behind it and waits out the pause before the next.
func (s *Supervisor) died(ctx context.Context, l *loop, c *child, failed error, ready time.Duration) {
	reason := fmt.Sprint(failed)
	if c != nil {
		reason = c.state.String()
		l.groups = append(alive(l.groups), c.group())
		// Idle code servers are ended while the next child starts; those with a run finish it, miss the heartbeat, and end.
		l.sweeps.Go(func() { s.sweeper.clear([]group{c.group()}, time.Now().Add(leftoverGrace)) })
	}
	pause := l.pause.next(ready)
	s.change(func(st *State) { st.Phase, st.PID, st.LastExit = Backoff, 0, reason })
	s.opts.Log.Error().Str("reason", reason).Dur("restart_in_ms", pause).Msg("dagster-webserver died")
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	case <-s.kill:
	}
}

// neverReady deals with a first child that ended. It returns nil when another port may help, as somebody took the picked
// one, else the end that is AuthKit's too.
func (s *Supervisor) neverReady(l *loop, c *child) error {
	c.drain()
	// What it leaves would otherwise outlive us by 45 s.
	s.sweeper.clear([]group{c.group()}, time.Now().Add(leftoverGrace))
	end := c.exitError(s.opts.Command)
	s.change(func(st *State) { st.PID, st.LastExit = 0, end.Reason })
	if !c.inUse.Load() && end.Code != portTakenCode {
		return end
	}
	if s.opts.Port != 0 {
		end.Reason += ": " + takenError(s.opts.Port).Error()
		return end
	}
	if l.takenRuns++; l.takenRuns == portTries {
		return end
	}
	s.opts.Log.Warn().Int("port", c.port).Msg("the child's port was taken, trying another")
	return nil
}

// ending reports whether Run was told to stop.
func (s *Supervisor) ending(ctx context.Context) bool {
	return closed(s.kill) || ctx.Err() != nil
}
