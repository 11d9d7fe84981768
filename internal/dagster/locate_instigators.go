package dagster

import (
	"encoding/json"
	"strings"

	"dagster-authkit/internal/policy"
)

// instigator is a schedule or a sensor. Its IDs are "origin::selector", of which both are hashes.
type instigator struct {
	ID       string `json:"id"`
	Schedule *struct {
		ID string `json:"id"`
	} `json:"scheduleState"`
	Sensor *struct {
		ID string `json:"id"`
	} `json:"sensorState"`
}

// readInstigators maps the IDs of all schedules and sensors that are loaded. A code location that failed to load, or that is
// still loading, has none.
func readInstigators(data json.RawMessage) (map[policy.Reference]places, error) {
	var workspace struct {
		Type    string `json:"__typename"`
		Entries []struct {
			Name   string `json:"name"`
			Loaded *struct {
				Type         string `json:"__typename"`
				Repositories []struct {
					Schedules []instigator `json:"schedules"`
					Sensors   []instigator `json:"sensors"`
				} `json:"repositories"`
			} `json:"locationOrLoadError"`
		} `json:"locationEntries"`
	}
	if err := decode(data, &workspace); err != nil {
		return nil, err
	}
	if workspace.Type != "Workspace" || workspace.Entries == nil {
		return nil, unexpected("the workspace", workspace.Type)
	}
	found := map[policy.Reference]places{}
	for _, entry := range workspace.Entries {
		switch {
		case entry.Name == "":
			return nil, unexpected("the workspace", "a code location without name")
		case entry.Loaded == nil || entry.Loaded.Type == "PythonError":
			continue
		case entry.Loaded.Type != "RepositoryLocation" || entry.Loaded.Repositories == nil:
			return nil, unexpected("the workspace", entry.Loaded.Type)
		}
		for _, r := range entry.Loaded.Repositories {
			if err := readIDs(entry.Name, policy.ScheduleOrigin, policy.ScheduleSelector, r.Schedules, found); err != nil {
				return nil, err
			}
			if err := readIDs(entry.Name, policy.SensorOrigin, policy.SensorSelector, r.Sensors, found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func readIDs(location string, origin, selector policy.Kind, all []instigator, found map[policy.Reference]places) error {
	for _, i := range all {
		ids := []string{i.ID}
		if i.Schedule != nil {
			ids = append(ids, i.Schedule.ID)
		}
		if i.Sensor != nil {
			ids = append(ids, i.Sensor.ID)
		}
		for _, id := range ids {
			o, s, ok := strings.Cut(id, "::")
			if !ok || o == "" || s == "" {
				return unexpected("the workspace", id)
			}
			for _, ref := range []policy.Reference{{Kind: origin, ID: o}, {Kind: selector, ID: s}} {
				if found[ref] == nil {
					found[ref] = places{}
				}
				found[ref][location] = true
			}
		}
	}
	return nil
}
