package audit

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// What one event may hold. Issue 3, point 10 gives the first two; the others keep a request that names thousands of
// things from making an event of megabytes.
const (
	maxString = 1 << 10 // bytes, cut between runes
	maxList   = 100
	maxKeys   = 20 // kinds of targets
	maxKey    = 64 // bytes
)

// ownKeys are those of every event's JSON that a kind of target must not take.
const ownKeys = " event_type username status ip action resource roles reason request_id timestamp performed_by identity" +
	" session token token_name mutations operation_name outcome "

// Clean returns the event with every string cut at 1 KiB and in valid UTF-8, U+0000 and broken sequences (lone surrogates
// among them) replaced by U+FFFD, every list cut at 100, and at most 20 kinds of targets. PostgreSQL refuses what Clean
// replaces, and a row must not be lost because a client sent it. All else, line breaks too, is kept: JSON escapes it.
// Cleaning twice changes nothing more. The receiver's lists and maps are not touched.
func (e Event) Clean() Event {
	for _, s := range []*string{
		&e.Type, &e.Username, &e.Status, &e.IP, &e.Action, &e.Resource, &e.Reason, &e.RequestID, &e.PerformedBy,
		&e.Identity, &e.Session, &e.Token, &e.TokenName, &e.OperationName, &e.Outcome,
	} {
		*s = clean(*s, maxString)
	}
	e.Roles = cleanList(e.Roles)
	e.Mutations = cleanList(e.Mutations)
	e.Targets = cleanTargets(e.Targets)
	return e
}

func cleanTargets(targets map[string][]string) map[string][]string {
	if len(targets) == 0 {
		return nil
	}
	cleaned := make(map[string][]string, min(len(targets), maxKeys))
	for _, key := range slices.Sorted(maps.Keys(targets)) {
		if len(cleaned) == maxKeys {
			break
		}
		values := cleanList(targets[key])
		key = clean(key, maxKey)
		if strings.Contains(ownKeys, " "+key+" ") {
			key = "target_" + key
		}
		if len(values) > 0 {
			cleaned[key] = values
		}
	}
	return cleaned
}

func cleanList(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	cleaned := make([]string, min(len(list), maxList))
	for i := range cleaned {
		cleaned[i] = clean(list[i], maxString)
	}
	return cleaned
}

// clean looks at no more of s than it keeps, so that the length of what a client sent costs nothing.
func clean(s string, limit int) string {
	if len(s) <= limit && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	var cleaned strings.Builder
	for _, r := range s {
		if r == 0 {
			r = utf8.RuneError
		}
		if cleaned.Len()+utf8.RuneLen(r) > limit {
			break
		}
		cleaned.WriteRune(r)
	}
	return cleaned.String()
}
