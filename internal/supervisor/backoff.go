package supervisor

import "time"

// The pauses between restarts: long enough not to burn a core on a child that dies at once, short enough that a single
// crash is hardly seen.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second
	// healthyAfter is how long a child must have been ready for its death to count as a first one again.
	healthyAfter = time.Minute
)

// backoff is the growing pause between restarts. The zero value begins with the shortest.
type backoff struct{ last time.Duration }

// next returns the pause after a child that was ready for that long.
func (b *backoff) next(ready time.Duration) time.Duration {
	if b.last == 0 || ready >= healthyAfter {
		b.last = backoffFirst
		return b.last
	}
	b.last = min(2*b.last, backoffMost)
	return b.last
}
