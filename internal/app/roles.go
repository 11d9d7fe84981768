package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/config"
	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

func newPolicy(cfg config.Config) (*policy.Roles, *policy.Policy, error) {
	roles, err := policy.NewRoles(cfg.Roles)
	if err != nil {
		return nil, nil, err
	}
	rules, err := policy.New(policy.Options{Roles: roles, ProtectedTags: cfg.ProtectedTags, ProtectedTagsRole: cfg.ProtectedTagsRole})
	return roles, rules, err
}

// misfitError says that the configuration does not fit the Dagster that was found. It ends the program as bad configuration.
type misfitError struct{ text string }

func (e misfitError) Error() string { return e.text }

// roleCheck compares the custom roles with the permissions that Dagster has, each time that it was started.
type roleCheck struct {
	roles *policy.Roles
	log   zerolog.Logger
	// misfit gets an error at most once: what does not fit the first Dagster was never right, what does not fit a later one is
	// warned about and grants nothing.
	misfit chan error
	passed atomic.Bool
}

func newRoleCheck(roles *policy.Roles, log zerolog.Logger) *roleCheck {
	return &roleCheck{roles: roles, log: log, misfit: make(chan error, 1)}
}

// learned is called when the upstream knows its Dagster.
func (c *roleCheck) learned(upstream *dagster.Upstream) error {
	known := policy.KnownWith(upstream.Permissions(), upstream.Schema())
	unknown := c.roles.Restrict(known)
	if len(unknown) == 0 {
		c.passed.Store(true)
		return nil
	}
	for _, role := range slices.Sorted(maps.Keys(unknown)) {
		if c.passed.Load() {
			c.log.Warn().Str("role", string(role)).Strs("permissions", words(unknown[role])).Str("dagster_version", upstream.Version()).
				Msg("this Dagster does not have these permissions: the role does not grant them")
		}
	}
	if c.passed.Load() {
		return nil
	}
	err := misfit(unknown, known, upstream.Version())
	select {
	case c.misfit <- err:
	default:
	}
	return err
}

func misfit(unknown map[identity.Role][]identity.Permission, known []identity.Permission, version string) error {
	var parts []string
	for _, role := range slices.Sorted(maps.Keys(unknown)) {
		parts = append(parts, fmt.Sprintf("role %s lists %s", role, strings.Join(words(unknown[role]), ", ")))
	}
	return misfitError{fmt.Sprintf("%s, which Dagster %s does not have: its permissions are %s", strings.Join(parts, "; "), version, strings.Join(words(known), ", "))}
}

func words[T ~string](values []T) []string {
	list := make([]string, len(values))
	for i, value := range values {
		list[i] = string(value)
	}
	return list
}
