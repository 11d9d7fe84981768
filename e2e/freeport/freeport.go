// Package freeport finds ports of loopback for servers of tests that have to be told theirs.
//
// A port that the kernel gave and that was closed again may be anybody's by the time that the server wants it: the kernel gives it to
// the next who asks for any, and uses it for connections. So these are from below the range that it takes those from, and no
// process is given one twice.
package freeport

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
)

// Linux takes its own from 32768 on; what has a well-known port is mostly below 10000.
const (
	first = 10_000
	count = 22_768
)

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Next is a port on which nobody listened a moment ago, and that nobody else in this process is given.
func Next() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		n, err := rand.Int(rand.Reader, big.NewInt(count))
		if err != nil {
			return 0, err
		}
		port := first + int(n.Int64())
		if given[port] {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		given[port] = true
		return port, listener.Close()
	}
	return 0, errors.New("no free port of loopback was found")
}
