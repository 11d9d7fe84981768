package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ownPrefix is that of AuthKit's own variables.
const ownPrefix = "DAGSTER_AUTH_"

// serviceVariable are the names that Kubernetes makes for a service whose own name begins with dagster-auth
// (kubernetes.io, "Service", "Environment variables"). They are nobody's typing error.
var serviceVariable = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// formerNames are variables of the Python AuthKit, and what to say about each.
func formerNames() map[string]string {
	return map[string]string{
		"DAGSTER_AUTH_REDIS_URL":    "is not needed and ignored: sessions and limits are in the database",
		"DAGSTER_AUTH_ENV":          "is ignored: there is no less secure development mode",
		"DAGSTER_AUTH_DEBUG":        "is ignored: use DAGSTER_AUTH_LOG_LEVEL=debug",
		"DAGSTER_AUTH_UI_SAFE_MODE": "is ignored",
	}
}

// foreignNames looks through the DAGSTER_AUTH_* variables that no setting has: a typing error in the name of a security
// setting must not pass in silence.
func (in *input) foreignNames() []error {
	known := knownNames()
	former := formerNames()
	var problems []error
	names := make([]string, 0, len(in.env))
	for name := range in.env {
		if strings.HasPrefix(name, ownPrefix) && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if why, ok := former[name]; ok {
			in.warn("%s %s", name, why)
			continue
		}
		if err := in.foreignName(name, known); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

func (in *input) foreignName(name string, known []string) error {
	switch {
	case name == "DAGSTER_AUTH_UNKNOWN_MUTATION_ROLE":
		return in.fixedRole(name, "admin", "mutations that the table does not know")
	case name == "DAGSTER_AUTH_REST_WRITE_ROLE":
		return in.fixedRole(name, "editor", "the /report_asset_ routes")
	case serviceVariable.MatchString(name), strings.HasSuffix(name, "_PORT") && serviceLink.MatchString(in.env[name]):
	case strings.HasSuffix(name, "_FILE") && slices.Contains(known, strings.TrimSuffix(name, "_FILE")):
		in.warn("%s is ignored: only secrets are read from files, set %s", name, strings.TrimSuffix(name, "_FILE"))
	default:
		in.warn("%s is not a setting and is ignored%s", name, suggestion(name, known))
	}
	return nil
}

// fixedRole speaks of the two roles that the Python AuthKit let people choose. Asking for less than the fixed role is
// ignored with a warning, as AuthKit is then the stricter one; asking for more is an error, as it would be the laxer one.
func (in *input) fixedRole(name, fixed, what string) error {
	wanted := strings.ToLower(in.env[name])
	switch wanted {
	case fixed:
		return nil
	case "admin":
		return fmt.Errorf("%s: %s need %s and that can't be changed: unset it", name, what, fixed)
	}
	in.warn("%s is ignored: %s need %s", name, what, fixed)
	return nil
}

// knownNames lists every variable that some setting reads.
func knownNames() []string {
	var names []string
	for _, s := range Settings() {
		names = append(names, s.Env)
		names = append(names, s.Others...)
		if s.Secret {
			names = append(names, s.Env+"_FILE")
		}
	}
	return names
}

// suggestion names the nearest setting, when it is near enough to be what was meant.
func suggestion(name string, known []string) string {
	best, least := "", 4
	for _, candidate := range known {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ": see dagster-authkit --help for the names"
	}
	return ": did you mean " + best + "?"
}

// distance is Levenshtein's: how many letters have to be put in, taken out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
