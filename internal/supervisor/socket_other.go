//go:build !linux

package supervisor

// ownsSocket can't be known without /proc; the answer of the child alone decides.
func ownsSocket(_, _, _ int) (bool, error) { return true, nil }
