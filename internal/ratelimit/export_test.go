package ratelimit

// Keys is how many keys are counted.
func (q *Requests) Keys() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.buckets)
}
