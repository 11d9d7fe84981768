package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dagster-authkit/internal/identity"
)

const (
	// longestTag is the most characters that Dagster's storage keeps of a run tag's key in every engine.
	longestTag = 255
	// mostPatterns bounds what each tag of a run is compared with.
	mostPatterns = 100
	// protectedTags are policy.DefaultProtectedTags, which says where each comes from.
	protectedTags = "dagster-k8s/*, dagster-celery*, ecs/*, docker/*, dagster/image, .dagster/grpc_info"
)

// accessSettings are about what people may do.
func accessSettings() []setting {
	return []setting{
		{
			Setting{
				Env: "DAGSTER_AUTH_REPORT_ONLY", Flag: "report-only", Switch: true, Default: "false",
				Meaning: "Decide and write down (WOULD_DENY), but refuse nothing to people who are signed in: for introducing roles step by step.",
			},
			func(c *Config, text string) error { return into(&c.ReportOnly)(parseBool(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_RUN_USER_TAG", Default: "user", MayBeEmpty: true,
				Meaning: "Key of the run tag that says who launched a run; an empty value turns it off.",
			},
			func(c *Config, text string) error { c.RunUserTag = text; return checkUserTag(text) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_PROTECTED_TAGS", List: true, Default: protectedTags,
				Meaning: "Keys of run tags that reach the infrastructure, separated by commas; * is any characters.",
			},
			func(c *Config, text string) error { return into(&c.ProtectedTags)(parsePatterns(text)) },
		},
		{
			Setting{
				Env: "DAGSTER_AUTH_PROTECTED_TAGS_ROLE", Default: string(identity.Editor),
				Meaning: "Least role that may launch runs with those tags: viewer, launcher, editor or admin.",
			},
			func(c *Config, text string) error { return into(&c.ProtectedTagsRole)(identity.ParseRole(text)) },
		},
	}
}

func checkUserTag(text string) error {
	switch {
	case text == "":
		return nil
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || strings.TrimSpace(text) != text:
		return fmt.Errorf("%.80q is no tag: write a word such as user", text)
	case utf8.RuneCountInString(text) > longestTag:
		return fmt.Errorf("the tag is too long: write at most %d characters", longestTag)
	case strings.HasPrefix(text, "dagster/"):
		return fmt.Errorf("%.80q: tags that begin with dagster/ are Dagster's own: write another, such as user", text)
	}
	return nil
}

func parsePatterns(text string) ([]string, error) {
	var patterns []string
	for pattern := range strings.SplitSeq(text, ",") {
		pattern = strings.TrimSpace(pattern)
		switch {
		case pattern == "":
		case !utf8.ValidString(pattern) || strings.ContainsFunc(pattern, unicode.IsControl) || utf8.RuneCountInString(pattern) > longestTag:
			return nil, fmt.Errorf("%.80q is no tag: write patterns such as dagster-k8s/*, separated by commas", pattern)
		case !slices.Contains(patterns, pattern):
			patterns = append(patterns, pattern)
		}
	}
	switch {
	case len(patterns) == 0:
		return nil, errors.New("there is no tag in it: to let launchers send them all, make launcher the role for protected tags")
	case len(patterns) > mostPatterns:
		return nil, fmt.Errorf("%d tags are too many: write at most %d patterns", len(patterns), mostPatterns)
	}
	return patterns, nil
}

// protects reports whether a pattern stands for the tag: nobody below the role for protected tags could launch anything if
// AuthKit's own tag were one.
func protects(pattern, tag string) bool {
	expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
	matched, err := regexp.MatchString("(?s)^"+expression+"$", tag)
	return matched || err != nil
}
