package header

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxGroups is more than any directory lets a person have in a header.
const maxGroups = 1000

// The separators that can be named, by what they are called in the settings.
var separators = map[string]string{"comma": ",", "semicolon": ";", "pipe": "|", "space": " "}

// splitter takes a groups header apart by the separator of that name; without one, by what can be told from the text.
func splitter(name string) func(string) ([]string, error) {
	split := splitAny
	switch separator := separators[name]; {
	case name == "json":
		split = splitJSON
	case separator != "":
		split = func(text string) ([]string, error) { return strings.Split(text, separator), nil }
	}
	return func(text string) ([]string, error) {
		text = strings.Trim(text, " \t")
		switch {
		case text == "":
			return nil, nil
		case len(text) > maxGroupsText:
			return nil, fmt.Errorf("the groups have %d bytes, more than %d", len(text), maxGroupsText)
		}
		groups, err := split(text)
		if err != nil {
			return nil, err
		}
		return tidy(groups)
	}
}

// splitAny reads what the Python AuthKit did, where there is one way to read it: a JSON array; directory names with
// semicolons or pipes between, as commas are part of them; else names with commas, semicolons or pipes between. It split at
// blanks as well, which would make a member of "data admins" one of "admins": name the separator for that.
func splitAny(text string) ([]string, error) {
	if strings.HasPrefix(text, "[") {
		return splitJSON(text)
	}
	candidates := []string{",", ";", "|"}
	if isDirectoryName(text) {
		candidates = []string{";", "|"}
		if strings.ContainsRune(text, '\\') && strings.ContainsAny(text, ";|") {
			return nil, errors.New("the groups hold a backslash and a separator: name the separator")
		}
	}
	separator := ""
	for _, candidate := range candidates {
		switch {
		case !strings.Contains(text, candidate):
		case separator != "":
			return nil, fmt.Errorf("the groups hold both %q and %q: name the separator", separator, candidate)
		default:
			separator = candidate
		}
	}
	if separator == "" {
		return []string{text}, nil
	}
	return strings.Split(text, separator), nil
}

// isDirectoryName has the Python AuthKit's rule.
func isDirectoryName(text string) bool {
	lower := strings.ToLower(text)
	return strings.Contains(lower, "ou=") || strings.Contains(lower, "dc=")
}

func splitJSON(text string) ([]string, error) {
	var groups []string
	if err := json.Unmarshal([]byte(text), &groups); err != nil {
		return nil, errors.New("the groups begin as a JSON array and are none of texts")
	}
	return groups, nil
}

// tidy drops what is empty and what is there twice, and refuses what is no text.
func tidy(groups []string) ([]string, error) {
	if len(groups) > maxGroups {
		return nil, fmt.Errorf("there are %d groups, more than %d", len(groups), maxGroups)
	}
	kept := make([]string, 0, len(groups))
	seen := make(map[string]bool, len(groups))
	for _, group := range groups {
		group = strings.Trim(group, " \t")
		switch {
		case group == "" || seen[group]:
			continue
		case !utf8.ValidString(group) || strings.ContainsFunc(group, unicode.IsControl):
			return nil, errors.New("a group's name is no text")
		}
		seen[group] = true
		kept = append(kept, group)
	}
	return kept, nil
}
