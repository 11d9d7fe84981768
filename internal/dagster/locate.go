package dagster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"dagster-authkit/internal/policy"
)

const (
	// locateTimeout bounds all of a request's lookups: it waits for them before it is judged.
	locateTimeout = 10 * time.Second
	// maxReferences bounds what one request may have looked up.
	maxReferences = 1000
	// maxID is longer than any ID that Dagster's storage can hold.
	maxID = 255
)

// Locate asks Dagster in which code locations these things live. One that Dagster does not know is absent; a Dagster that does
// not answer, or not as expected, is an error. What it knows of assets and instigators is asked for each time.
func (u *Upstream) Locate(ctx context.Context, base *url.URL, refs []policy.Reference) (policy.Located, error) {
	if len(refs) > maxReferences {
		return nil, fmt.Errorf("the request names %d things to look up: %d are the most", len(refs), maxReferences)
	}
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	s := newSearch(refs, u.about.Load().memory)
	for q := s.first(); !q.empty(); q = s.next() {
		a, err := u.askWhere(ctx, base, q)
		if err != nil {
			return nil, fmt.Errorf("asking Dagster for code locations: %w", err)
		}
		s.take(q, a)
	}
	return s.located(), nil
}

// search is what one request has to have looked up, and what was found so far. Dagster is asked three times at most: for all
// that was named, for the assets of backfills, and for further definitions of the assets that it has.
type search struct {
	refs   []policy.Reference
	memory *memory
	// homes holds what lives in one place for good: runs and backfills.
	homes map[policy.Reference]home
	// assets and instigators hold what may move with every load of a code location.
	assets      map[string]places
	instigators map[policy.Reference]places
	asked       map[string]bool // assets, by AssetID
	checked     map[string]bool // assets whose further definitions were asked for
}

// home is where a run or a backfill lives: in one code location, or wherever its assets are.
type home struct {
	location string
	assets   []string // AssetIDs
}

// places is a set of code locations.
type places map[string]bool

func (p places) list() []string { return slices.Sorted(maps.Keys(p)) }

func newSearch(refs []policy.Reference, m *memory) *search {
	return &search{
		refs: refs, memory: m,
		homes: map[policy.Reference]home{}, assets: map[string]places{}, instigators: map[policy.Reference]places{},
		asked: map[string]bool{}, checked: map[string]bool{},
	}
}

// first is the question for all that the request names, but for what is remembered.
func (s *search) first() question {
	var q question
	seen := map[policy.Reference]bool{}
	for _, ref := range s.refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		s.ask(ref, &q)
	}
	return q
}

func (s *search) ask(ref policy.Reference, q *question) {
	switch ref.Kind {
	case policy.Location:
	case policy.Run, policy.Backfill:
		if h, ok := s.memory.get(ref); ok {
			s.settle(ref, h, q)
		} else if storable(ref.ID) && ref.Kind == policy.Run {
			q.runs = append(q.runs, ref.ID)
		} else if storable(ref.ID) {
			q.backfills = append(q.backfills, ref.ID)
		}
	case policy.Asset:
		s.askAsset(canonical(ref.ID), q)
	case policy.ScheduleOrigin, policy.ScheduleSelector, policy.SensorOrigin, policy.SensorSelector:
		q.instigators = true
	}
}

// next is the question that the answers so far led to.
func (s *search) next() question {
	var q question
	for _, ref := range slices.SortedFunc(maps.Keys(s.homes), func(a, b policy.Reference) int { return strings.Compare(a.ID, b.ID) }) {
		s.settle(ref, s.homes[ref], &q)
	}
	for _, id := range slices.Sorted(maps.Keys(s.assets)) {
		if !s.checked[id] {
			s.checked[id] = true
			q.definitions = append(q.definitions, id)
		}
	}
	return q
}

// settle notes where a run or a backfill lives, and asks for its assets.
func (s *search) settle(ref policy.Reference, h home, q *question) {
	s.homes[ref] = h
	for _, id := range h.assets {
		s.askAsset(id, q)
	}
}

func (s *search) askAsset(id string, q *question) {
	if id != "" && !s.asked[id] {
		s.asked[id] = true
		q.assets = append(q.assets, id)
	}
}

func (s *search) take(q question, a answers) {
	for ref, h := range a.homes {
		s.homes[ref] = h
		s.memory.put(ref, h)
	}
	for _, found := range []map[string]places{a.assets, a.definitions} {
		for id, in := range found {
			if s.assets[id] == nil {
				s.assets[id] = places{}
			}
			maps.Copy(s.assets[id], in)
		}
	}
	if q.instigators {
		s.instigators = a.instigators
	}
}

func (s *search) located() policy.Located {
	located := policy.Located{}
	for _, ref := range s.refs {
		if in := s.find(ref); len(in) > 0 {
			located[ref] = in.list()
		}
	}
	return located
}

func (s *search) find(ref policy.Reference) places {
	switch ref.Kind {
	case policy.Location:
		return places{ref.ID: true}
	case policy.Run, policy.Backfill:
		return s.findHome(s.homes[ref])
	case policy.Asset:
		return s.assets[canonical(ref.ID)]
	case policy.ScheduleOrigin, policy.ScheduleSelector, policy.SensorOrigin, policy.SensorSelector:
		return s.instigators[ref]
	default:
		return nil
	}
}

// findHome is empty when one of the assets is unknown: what can't be located wholly is not located.
func (s *search) findHome(h home) places {
	if h.location != "" {
		return places{h.location: true}
	}
	all := places{}
	for _, id := range h.assets {
		if len(s.assets[id]) == 0 {
			return nil
		}
		maps.Copy(all, s.assets[id])
	}
	return all
}

// storable says whether Dagster's storage may hold such an ID. PostgreSQL refuses the whole question for a NUL in one of them.
func storable(id string) bool {
	return id != "" && len(id) <= maxID && strings.IndexFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// canonical is the AssetID as Dagster's answers are read to it, empty when it is none.
func canonical(id string) string {
	path := policy.AssetPath(id)
	if len(path) == 0 {
		return ""
	}
	return policy.AssetID(path)
}

var errUnexpected = errors.New("it answered something unexpected")
