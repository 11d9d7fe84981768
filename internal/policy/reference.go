package policy

import (
	"encoding/json"
)

// Kind says what a Reference names.
type Kind string

// What lives in a code location. The first is one itself; the others have to be looked up.
const (
	Location         Kind = "code location"
	Run              Kind = "run"
	Backfill         Kind = "backfill"
	Asset            Kind = "asset"
	ScheduleOrigin   Kind = "schedule origin"
	ScheduleSelector Kind = "schedule selector"
	SensorOrigin     Kind = "sensor origin"
	SensorSelector   Kind = "sensor selector"
)

// Reference is a thing that a request names and that lives in a code location.
type Reference struct {
	Kind Kind
	// ID is the location's name, the run's or backfill's ID, the AssetID, or one of Dagster's opaque hashes.
	ID string
}

// Located says in which code locations each reference lives. One that Dagster does not know is absent.
type Located map[Reference][]string

// AssetID writes an asset key as one string that no other key has: its parts may hold any character.
func AssetID(path []string) string {
	id, err := json.Marshal(path)
	if err != nil {
		return "" // strings can always be written
	}
	return string(id)
}

// AssetPath is the asset key of an AssetID, nil when it is none.
func AssetPath(id string) []string {
	var path []string
	if json.Unmarshal([]byte(id), &path) != nil {
		return nil
	}
	return path
}
