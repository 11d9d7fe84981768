package oidc

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// longestPath is in bytes, and deepestPath in steps.
	longestPath = 256
	deepestPath = 8
	// mostGroups and longestGroup bound what is believed of one person; the largest directories send 200.
	mostGroups   = 2000
	longestGroup = 1024
	// longestText is in bytes, for names and addresses.
	longestText = 512
)

// claims are what a provider says of somebody.
type claims map[string]any

// text is a claim that is a short text, without control characters; "" when it is anything else.
func (c claims) text(name string) string {
	text, _ := c[name].(string)
	if len(text) > longestText {
		return ""
	}
	return strings.TrimSpace(cleanText(text))
}

// truth is a claim that is true. Amazon Cognito and Entra ID write it as a text.
func (c claims) truth(name string) bool {
	switch value := c[name].(type) {
	case bool:
		return value
	case string:
		return value == "true" || value == "1"
	}
	return false
}

// cleanText is the text without control characters and what is no UTF-8.
func cleanText(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
}

// claimPath is where the groups stand: realm_access.roles.
type claimPath []string

func parseClaimPath(text string) (claimPath, error) {
	path := claimPath(strings.Split(text, "."))
	if len(text) > longestPath || len(path) > deepestPath || !utf8.ValidString(text) || cleanText(text) != text {
		return nil, fmt.Errorf("the groups claim %.80q is too long, too deep or no text: write a claim such as groups, or realm_access.roles", text)
	}
	for _, step := range path {
		if strings.TrimSpace(step) == "" {
			return nil, fmt.Errorf("the groups claim %.80q has an empty step: write a claim such as groups, or realm_access.roles", text)
		}
	}
	return path, nil
}

// find follows the path. The dots may be part of a name too, as in https://example.com/groups, so that at each step the longest
// name that is there is taken.
func (p claimPath) find(in map[string]any) (value any, found bool) {
	for n := len(p); n > 0; n-- {
		value, found = in[strings.Join(p[:n], ".")]
		if !found {
			continue
		}
		if n == len(p) {
			return value, true
		}
		if inner, is := value.(map[string]any); is {
			if value, found = p[n:].find(inner); found {
				return value, true
			}
		}
	}
	return nil, false
}

// groupsOf reads one group or a list of them. What is no text is left out: it can be no rule's group.
func groupsOf(value any) ([]string, error) {
	if one, is := value.(string); is {
		value = []any{one}
	}
	list, _ := value.([]any)
	if len(list) > mostGroups {
		return nil, fmt.Errorf("the groups claim has %d groups, more than %d", len(list), mostGroups)
	}
	groups := make([]string, 0, len(list))
	for _, element := range list {
		group, is := element.(string)
		if is && group != "" && len(group) <= longestGroup && cleanText(group) == group {
			groups = append(groups, group)
		}
	}
	return groups, nil
}
