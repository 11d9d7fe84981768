package supervisor

import (
	"os"
	"time"
)

// webserverEnded is the one byte that the guard may be sent: the webserver has ended, and its number is given back.
const webserverEnded byte = 1

// guardEnds is how long a guard that has nothing left to do may take to end.
const guardEnds = 2 * time.Second

// guard is a process beside one child which outlives us if it must; GuardMain says what it does. All methods of a nil
// guard do nothing: where none could be started the child is served just the same.
type guard struct {
	// control is our end of a pipe to it. Its other end comes to its end of file whichever way we end.
	control *os.File
	ended   chan struct{}
}

// webserverEnded tells the guard that the number of its group may soon be a stranger's.
func (g *guard) webserverEnded() {
	if g != nil {
		// A guard that was ended reads no more; that it was is in the log.
		_, _ = g.control.Write([]byte{webserverEnded})
	}
}

// release lets the guard take over.
func (g *guard) release() {
	if g != nil {
		_ = g.control.Close()
	}
}

// await waits for the guard's end, for at most that long.
func (g *guard) await(most time.Duration) {
	if g == nil {
		return
	}
	select {
	case <-g.ended:
	case <-time.After(most):
	}
}
