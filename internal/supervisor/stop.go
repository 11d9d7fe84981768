package supervisor

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
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
func (s *Supervisor) stop(c *child, earlier []int) {
	s.change(func(st *State) { st.Phase = Stopping })
	deadline := time.Now().Add(s.opts.Grace)
	var left []process
	var others sync.WaitGroup
	others.Go(func() { left = s.clear(earlier, deadline) })
	var ours []process
	if c != nil {
		s.endWebserver(c, deadline)
		// Only now, with nobody left who could start a run, is it looked who carries one.
		ours = s.clear([]int{c.pid}, deadline)
	}
	others.Wait()
	for _, p := range append(left, ours...) {
		s.opts.Log.Warn().Int("pid", p.pid).Msg("left running: it carries a run and ends when that is over")
	}
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

// clear ends all processes of the groups that carry no run: SIGTERM first, SIGKILL after the deadline or Kill. It returns
// the tops of the trees that carry one.
func (s *Supervisor) clear(groups []int, deadline time.Time) []process {
	asked := make(map[int]bool)
	for {
		idle, carriers := members(groups)
		now := time.Now()
		if s.hurried() && now.Before(deadline) {
			deadline = now
		}
		if len(idle) == 0 || now.After(deadline.Add(killGrace)) {
			return carriers
		}
		for _, p := range idle {
			switch {
			case !now.Before(deadline):
				s.send(p, syscall.SIGKILL)
			case !asked[p.pid]:
				asked[p.pid] = true
				s.send(p, syscall.SIGTERM)
			}
		}
		time.Sleep(stopTick)
	}
}

// send signals one process of a group.
func (s *Supervisor) send(p process, sig os.Signal) {
	if err := p.signal(sig); err != nil {
		s.opts.Log.Warn().Err(err).Msg("a process that Dagster left could not be ended")
	}
}

// hurried reports whether Kill was called.
func (s *Supervisor) hurried() bool {
	select {
	case <-s.kill:
		return true
	default:
		return false
	}
}

// members looks at the groups of dead webservers: who may be ended, and who carries a run. A list of processes that
// can't be read ends nobody.
func members(groups []int) (idle, carriers []process) {
	all, err := processes()
	if err != nil {
		return nil, nil
	}
	for _, group := range groups {
		i, c := split(all, group)
		idle, carriers = append(idle, i...), append(carriers, c...)
	}
	return idle, carriers
}

// alive returns the groups in which somebody lives.
func alive(groups []int) []int {
	all, err := processes()
	if err != nil {
		return groups
	}
	return slices.DeleteFunc(groups, func(group int) bool {
		return !slices.ContainsFunc(all, func(p process) bool { return p.group == group })
	})
}
