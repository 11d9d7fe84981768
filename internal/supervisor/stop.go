package supervisor

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

const (
	// leftoverGrace is how long the idle code servers of a dead webserver may take to end by themselves after SIGTERM.
	leftoverGrace = 5 * time.Second
	// killGrace is how long the kernel may take over a SIGKILL; a process in uninterruptible sleep takes longer, and
	// then nothing helps.
	killGrace = time.Second
	// stopTick is how often a process group is looked at while it empties.
	stopTick = 50 * time.Millisecond
)

// stop ends the child, which may be nil, and all of the earlier children's groups that carries no run, within the grace;
// what is left after it is killed. Runs stay, and are logged.
func (s *Supervisor) stop(c *child, earlier []group) {
	s.change(func(st *State) { st.Phase = Stopping })
	deadline := time.Now().Add(s.opts.Grace)
	var left []process
	var others sync.WaitGroup
	others.Go(func() { left = s.sweeper.clear(earlier, deadline) })
	var ours []process
	if c != nil {
		s.endWebserver(c, deadline)
		// Only now, with nobody left who could start a run, is it looked who carries one.
		ours = s.sweeper.clear([]group{c.group()}, deadline)
	}
	others.Wait()
	s.sweeper.report(append(left, ours...))
	if c != nil {
		c.drain()
	}
}

// endWebserver asks the webserver to end and kills it when it has not by the deadline.
func (s *Supervisor) endWebserver(c *child, deadline time.Time) {
	c.signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(time.Until(deadline)):
		s.opts.Log.Warn().Int("pid", c.pid).Msg("dagster-webserver did not stop in time and is killed")
	case <-s.kill:
	}
	c.signal(syscall.SIGKILL)
	select {
	case <-c.exited:
	case <-time.After(killGrace):
	}
}

// sweeper ends what dead webservers left behind.
type sweeper struct {
	log zerolog.Logger
	// hurry is closed when nothing is to be waited for any more.
	hurry <-chan struct{}
}

// clear ends all processes of the groups that carry no run: SIGTERM first, SIGKILL after the deadline or in a hurry. It
// returns the tops of the trees that carry one. However late it is when it comes to look, nobody is left without a SIGKILL: a
// machine may stand still for longer than the deadline.
func (w sweeper) clear(groups []group, deadline time.Time) []process {
	asked := make(map[int]bool)
	var killing time.Time // since when; zero: not yet
	for {
		idle, carriers := members(groups)
		now := time.Now()
		if len(idle) == 0 || !killing.IsZero() && now.After(killing.Add(killGrace)) {
			return carriers
		}
		if killing.IsZero() && (closed(w.hurry) || !now.Before(deadline)) {
			killing = now
		}
		for _, p := range idle {
			switch {
			case !killing.IsZero():
				w.send(p, syscall.SIGKILL)
			case !asked[p.pid]:
				asked[p.pid] = true
				w.send(p, syscall.SIGTERM)
			}
		}
		time.Sleep(stopTick)
	}
}

// send signals one process of a group.
func (w sweeper) send(p process, sig os.Signal) {
	if err := p.signal(sig); err != nil {
		w.log.Warn().Err(err).Msg("a process that Dagster left could not be ended")
	}
}

// report logs the tops of the trees that stay.
func (w sweeper) report(carriers []process) {
	for _, p := range carriers {
		w.log.Warn().Int("pid", p.pid).Msg("left running: it carries a run and ends when that is over")
	}
}

// closed reports whether the channel is.
func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// members looks at the groups of dead webservers: who may be ended, and who carries a run. A list of processes that
// can't be read ends nobody.
func members(groups []group) (idle, carriers []process) {
	all, err := processes()
	if err != nil {
		return nil, nil
	}
	for _, g := range groups {
		i, c := split(all, g)
		idle, carriers = append(idle, i...), append(carriers, c...)
	}
	return idle, carriers
}

// alive returns the groups in which somebody lives.
func alive(groups []group) []group {
	all, err := processes()
	if err != nil {
		return groups
	}
	return slices.DeleteFunc(groups, func(g group) bool { return !slices.ContainsFunc(all, g.has) })
}
