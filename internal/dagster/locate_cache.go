package dagster

import (
	"container/list"
	"sync"

	"dagster-authkit/internal/policy"
)

// maxRemembered bounds what is remembered, counted in runs, backfills and assets of backfills: some MB.
const maxRemembered = 20_000

// memory remembers where runs and backfills live. That never changes, so nothing in it gets old; what was not used for longest
// goes first. It is safe for concurrent use.
type memory struct {
	mu      sync.Mutex
	entries map[policy.Reference]*list.Element
	recent  *list.List // of remembered, latest first
	weight  int
	limit   int
}

type remembered struct {
	ref  policy.Reference
	home home
}

func (r remembered) weight() int { return 1 + len(r.home.assets) }

func newMemory(limit int) *memory {
	return &memory{entries: map[policy.Reference]*list.Element{}, recent: list.New(), limit: limit}
}

func (m *memory) get(ref policy.Reference) (home, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	element, ok := m.entries[ref]
	if !ok {
		return home{}, false
	}
	m.recent.MoveToFront(element)
	return element.Value.(remembered).home, true
}

func (m *memory) put(ref policy.Reference, h home) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := remembered{ref, h}
	if _, ok := m.entries[ref]; ok || entry.weight() > m.limit {
		return
	}
	m.entries[ref] = m.recent.PushFront(entry)
	for m.weight += entry.weight(); m.weight > m.limit; {
		oldest := m.recent.Remove(m.recent.Back()).(remembered)
		delete(m.entries, oldest.ref)
		m.weight -= oldest.weight()
	}
}
