package identity

import (
	"fmt"
	"regexp"
	"strings"
)

// GroupRule gives the members of a group a role: in one code location, or everywhere when Location is empty. The group is
// what the backend calls it, a name or a directory's DN.
type GroupRule struct {
	// Source says whose group it is: a group of the same name that another source tells of is another one.
	Source   string
	Group    string
	Location string
	Role     Role
}

// The sources of groups that are no OpenID Connect provider. Of those it is the ID in the settings, which can't be one of these.
const (
	SourceLDAP   = "ldap"
	SourceHeader = "header"
)

// GroupName is how a group is named where there may be several sources, in grants: ldap:data-team.
func GroupName(source, group string) string { return source + ":" + group }

// sourceForm is that of an OpenID Connect provider's ID too.
var sourceForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// CheckGroupName says what to write in place of a name that GroupName did not make.
func CheckGroupName(name string) error {
	source, group, found := strings.Cut(name, ":")
	if !found || !sourceForm.MatchString(source) || strings.TrimSpace(group) == "" {
		return fmt.Errorf("the group %.80q does not say who tells of it: write ldap:NAME, header:NAME, or an OpenID Connect provider's ID and the name, sso:NAME", name)
	}
	return nil
}
