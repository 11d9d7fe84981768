// Package ldap signs people in by an LDAP directory or Active Directory: it searches the person's entry with an account of
// its own, binds as that entry with the password that was typed, and tells the person's groups. app makes a Backend and
// hands it to the server, the session manager asks it again about those who are signed in, and the command check-ldap walks
// through the same steps with a report.
//
// The directory is not trusted further than it must be: what it sends is bounded before it is read (frames.go), every
// question has a deadline on the connection itself, and an entry counts only if it has the very name that was typed.
package ldap

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// backendName is the backend's part of an identity's ID.
const backendName = "ldap"

// Options of a Backend. The filters and names are those of config.LDAP, which has checked them.
type Options struct {
	// Servers are ldap:// and ldaps:// URLs with host and port, in the order in which they are asked.
	Servers []string
	// StartTLS secures the ldap:// ones.
	StartTLS bool
	// CACert is the path of a PEM file with the authorities to trust; empty: the machine's.
	CACert  string
	Timeout time.Duration

	// BindDN and BindPassword are the searching account's; both empty: it searches anonymously.
	BindDN, BindPassword string
	BaseDN               string
	// UserFilter has {username} where the name goes.
	UserFilter                      string
	SubjectAttribute, NameAttribute string
	EmailAttribute                  string
	FullNameAttributes              []string

	// MemberOf takes the groups from the attribute memberOf; otherwise they are searched with GroupFilter, which has {dn} and
	// {username}, in GroupBaseDN.
	MemberOf                 bool
	GroupBaseDN, GroupFilter string
	// Nested says that GroupFilter finds the groups of groups as well.
	Nested bool
	// RoleAttribute is an attribute whose values name roles; empty: there is none.
	RoleAttribute string
	// ActiveDirectory reads what that one alone has: disabled and expired accounts, and primary groups.
	ActiveDirectory bool

	// Rules give roles by groups, DNs or names; Default is the role of those whom they give none; Roles are those that there are.
	Rules   []identity.GroupRule
	Default identity.Role
	Roles   *policy.Roles
	Log     zerolog.Logger
}

// Backend is one directory, on one or several servers.
type Backend struct {
	Options
	rules   *auth.RoleRules
	tls     *tls.Config // without a server's name
	servers []*server
	pool    pool
	naming  []naming // the places of the user filter in which the name stands
}

var (
	_ auth.Backend   = (*Backend)(nil)
	_ auth.Refresher = (*Backend)(nil)
)

// New checks the options and connects to nothing.
func New(o Options) (*Backend, error) {
	b := &Backend{Options: o, naming: namingOf(o.UserFilter)}
	for _, text := range o.Servers {
		u, err := url.Parse(text)
		if err != nil || u.Port() == "" || u.Scheme != "ldap" && u.Scheme != "ldaps" {
			return nil, fmt.Errorf("ldap: %q is no ldap:// or ldaps:// URL with a port", text)
		}
		b.servers = append(b.servers, &server{url: u})
	}
	if len(b.servers) == 0 || o.BaseDN == "" || len(b.naming) == 0 || o.SubjectAttribute == "" || o.NameAttribute == "" || o.Timeout <= 0 || o.Roles == nil {
		return nil, errors.New("ldap: servers, base, user filter, attributes, timeout and roles are needed")
	}
	var err error
	if b.tls, err = remote.TLS(o.CACert); err != nil {
		return nil, fmt.Errorf("DAGSTER_AUTH_LDAP_CA_CERT: %w", err)
	}
	rules := slices.Clone(o.Rules)
	if o.RoleAttribute != "" {
		for _, role := range o.Roles.Names() {
			rules = append(rules, identity.GroupRule{Source: identity.SourceLDAP, Group: roleGroup(o.RoleAttribute, string(role)), Role: role})
		}
	}
	b.rules, err = auth.NewRoleRules(auth.RoleRulesOptions{Source: identity.SourceLDAP, Rules: rules, Default: o.Default, Roles: o.Roles, Normal: normalGroup})
	return b, err
}

// Name is "ldap", whatever the directory.
func (b *Backend) Name() string { return backendName }

// roleGroup is how a role that stands in an attribute is written among the groups. No group's name has an equals sign.
func roleGroup(attribute, value string) string { return attribute + "=" + ldap.EscapeDN(value) }

// naming is a place of the user filter that holds the name: the attribute, and what stands around the name.
type naming struct{ attribute, before, after string }

// namingOf takes the filter apart at its {username}s.
func namingOf(filter string) []naming {
	var all []naming
	for part := range strings.SplitSeq(filter, "(") {
		part, _, _ = strings.Cut(part, ")")
		attribute, value, _ := strings.Cut(part, "=")
		if before, after, found := strings.Cut(value, namePlace); found {
			all = append(all, naming{attribute, before, after})
		}
	}
	return all
}

const (
	namePlace = "{username}"
	dnPlace   = "{dn}"
)
