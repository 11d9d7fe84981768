package supervisor

import (
	"slices"
	"strings"
)

// process is what the kernel tells about one process.
type process struct {
	pid, parent, group int
	// started is the start time in clock ticks since boot; with the number it names a process for good.
	started uint64
	args    []string
}

// group is the process group of one webserver, which leads it.
type group struct {
	// id is the number of the group and of the webserver.
	id int
	// until is when the webserver was last known to hold that number, in clock ticks since boot. What started later is
	// no member: once everybody in the group is gone the kernel may give the number to a stranger.
	until uint64
}

// has reports whether the process is a member of the group.
func (g group) has(p process) bool { return p.group == g.id && p.started <= g.until }

// split divides a process group: idle are the processes that may be ended, carriers the tops of the trees which carry a
// run and stay. The webserver itself is neither.
//
// A group is looked at tree by tree, a tree being a code server (or an orphan) with all that descends from it, in
// whatever group or session. It carries a run when it holds a run's process, or a code server with any child but
// multiprocessing's resource tracker: Dagster starts runs there, and a child that is not known by its arguments is
// spared, since a code server left over ends by itself in 45 s and a run killed is lost. All of such a tree stays, as the
// run needs its code server and its helpers. The webserver must be dead or dying, as it could start another run. all is
// every living process of the machine.
func split(all []process, g group) (idle, carriers []process) {
	all = slices.DeleteFunc(slices.Clone(all), func(p process) bool { return p.pid == g.id })
	f := newForest(all)
	for _, p := range all {
		if !g.has(p) {
			continue
		}
		top := f.root(p)
		if !f.carriesRun(top) {
			idle = append(idle, p)
		} else if top.pid == p.pid {
			carriers = append(carriers, p)
		}
	}
	return idle, carriers
}

// forest is the processes by number and by parent.
type forest struct {
	byPID    map[int]process
	children map[int][]process
}

func newForest(all []process) forest {
	f := forest{byPID: make(map[int]process, len(all)), children: make(map[int][]process)}
	for _, p := range all {
		f.byPID[p.pid] = p
		f.children[p.parent] = append(f.children[p.parent], p)
	}
	return f
}

// root climbs to the topmost ancestor in the same group. The bound is for a list that changed while it was read.
func (f forest) root(p process) process {
	for range len(f.byPID) {
		parent, ok := f.byPID[p.parent]
		if !ok || parent.group != p.group {
			break
		}
		p = parent
	}
	return p
}

// carriesRun reports whether p or anything that descends from it is part of a run.
func (f forest) carriesRun(p process) bool {
	if isRun(p.args) {
		return true
	}
	server := isCodeServer(p.args)
	for _, child := range f.children[p.pid] {
		if server && !isResourceTracker(child.args) || f.carriesRun(child) {
			return true
		}
	}
	return false
}

// isRun recognises the process of a run or of a step: what multiprocessing spawned (the default run launcher and the
// multiprocess executor), its fork server, and the commands that other launchers start.
func isRun(args []string) bool {
	for i, arg := range args {
		if arg == "--multiprocessing-fork" || strings.HasPrefix(arg, "from multiprocessing.forkserver ") {
			return true
		}
		if arg == "api" && i+1 < len(args) && slices.Contains([]string{"execute_run", "resume_run", "execute_step"}, args[i+1]) {
			return true
		}
	}
	return false
}

// isCodeServer recognises `dagster api grpc` and `dagster code-server start`.
func isCodeServer(args []string) bool {
	for i := range len(args) - 1 {
		if args[i] == "api" && args[i+1] == "grpc" || args[i] == "code-server" && args[i+1] == "start" {
			return true
		}
	}
	return false
}

// isResourceTracker recognises the helper that multiprocessing starts with the first process and never ends.
func isResourceTracker(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return strings.HasPrefix(arg, "from multiprocessing.resource_tracker ")
	})
}
