package server

import (
	"sync"
	"time"
)

// socketRetry is what somebody with too many WebSockets is told to wait.
const socketRetry = 30 * time.Second

// counts is how many of something each identity has at this moment.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

// open counts one more, unless the identity has as many as the limit; 0 is no limit.
func (c *counts) open(who string, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 && c.of[who] >= limit {
		return false
	}
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.of[who]++
	return true
}

// closed counts one less.
func (c *counts) closed(who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[who]--; c.of[who] <= 0 {
		delete(c.of, who)
	}
}
