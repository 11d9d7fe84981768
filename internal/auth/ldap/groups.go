package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// mostGroups is more than a Windows logon can have (1,015). Whoever is in more can't sign in, as a role by some of them would
// depend on which these are.
const mostGroups = 5000

// longestGroup is in bytes, as in the rules of the config file.
const longestGroup = 1024

// groups are what a directory tells of one person: DNs and roles as they are shown, and the names of the groups.
type groups struct{ shown, names []string }

// all are the groups in every form in which somebody may write them.
func (g groups) all() []string { return slices.Concat(g.shown, g.names) }

// add takes a group by its DN. Whatever is no DN is no group.
func (g *groups) add(dn string) {
	parsed, err := ldap.ParseDN(dn)
	if err != nil || len(parsed.RDNs) == 0 || len(dn) > longestGroup || !isText(dn) || slices.Contains(g.shown, dn) {
		return
	}
	g.shown = append(g.shown, dn)
	// A name with an equals sign could be taken for a DN, or for a role of the attribute.
	if name := nameOf(parsed); name != "" && isText(name) && !strings.Contains(name, "=") && !slices.Contains(g.names, name) {
		g.names = append(g.names, name)
	}
}

func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// nameOf is the value of the DN's first part, when that is a cn, as it is of every group.
func nameOf(dn *ldap.DN) string {
	for _, part := range dn.RDNs[0].Attributes {
		if strings.EqualFold(part.Type, "cn") {
			return strings.TrimSpace(part.Value)
		}
	}
	return ""
}

// groups reads the person's, and the roles of the role attribute, in an order that does not depend on the directory's.
func (b *Backend) groups(ctx context.Context, p person) (g groups, err error) {
	defer func() {
		slices.Sort(g.shown)
		slices.Sort(g.names)
	}()
	if b.RoleAttribute != "" {
		for _, value := range p.entry.GetEqualFoldAttributeValues(b.RoleAttribute) {
			if value = strings.ToLower(strings.TrimSpace(value)); value != "" && len(value) <= longestGroup && isText(value) {
				g.shown = append(g.shown, roleGroup(b.RoleAttribute, value))
			}
		}
	}
	sid, primary, err := b.primaryGroup(ctx, p)
	if err != nil {
		return g, err
	}
	if !b.MemberOf {
		err = b.searchGroups(ctx, p, &g, sid, primary)
		return g, err
	}
	g.add(primary)
	return g, b.memberOf(p, &g)
}

// memberOf takes the groups that stand in the person's entry.
func (b *Backend) memberOf(p person, g *groups) error {
	for _, attribute := range p.entry.Attributes {
		// Active Directory gives more than 1,500 values in pieces, the first as memberOf;range=0-1499.
		name, part, _ := strings.Cut(attribute.Name, ";")
		if !strings.EqualFold(name, "memberOf") {
			continue
		}
		if part != "" {
			return fmt.Errorf("%w: %s is in more groups than memberOf has at once: set DAGSTER_AUTH_LDAP_GROUPS=search", auth.ErrUnavailable, p.entry.DN)
		}
		for _, dn := range attribute.Values {
			g.add(dn)
		}
	}
	return nil
}

// searchGroups asks which groups name the person, and which is the primary one: that is found below the base for groups as any
// other, or not at all. The DN is escaped as a value: brackets and stars of a name are no filter.
func (b *Backend) searchGroups(ctx context.Context, p person, g *groups, sid []byte, primary string) error {
	of := func(dn string) string {
		return strings.NewReplacer(dnPlace, ldap.EscapeFilter(dn), namePlace, ldap.EscapeFilter(p.user.Name)).Replace(b.GroupFilter)
	}
	filter := of(p.entry.DN)
	if sid != nil {
		filter = "(|" + filter + "(&(objectClass=group)(objectSid=" + escapeOctets(sid) + ")))"
	}
	if primary != "" {
		filter = "(|" + filter + of(primary) + ")"
	}
	var found []string
	err := b.asSearcher(ctx, func(c *conn) (err error) {
		found, err = c.searchDNs(ctx, b.GroupBaseDN, mostGroups, filter)
		return err
	})
	_, said := errors.AsType[*ldap.Error](err)
	switch {
	case errors.Is(err, errTooMany):
		return fmt.Errorf("%w: %s is in more than %d groups: narrow DAGSTER_AUTH_LDAP_GROUP_BASE_DN or _GROUP_FILTER", auth.ErrUnavailable, p.entry.DN, mostGroups)
	case said && !errors.Is(err, auth.ErrUnavailable):
		return fmt.Errorf("%w: searching groups of %s in DAGSTER_AUTH_LDAP_GROUP_BASE_DN: %w", auth.ErrUnavailable, p.entry.DN, explained(err))
	}
	for _, dn := range found {
		g.add(dn)
	}
	return err
}

// normalGroup is the one form of a group's DN or name in which two spellings of it are equal: case and blanks around the
// parts of a DN do not matter, as in the directory (RFC 4517, section 4.2.15).
func normalGroup(text string) string {
	if !strings.Contains(text, "=") {
		return identity.NameKey(text)
	}
	parsed, err := ldap.ParseDN(text)
	if err != nil {
		return identity.NameKey(text)
	}
	parts := make([]string, len(parsed.RDNs))
	for i, rdn := range parsed.RDNs {
		pairs := make([]string, len(rdn.Attributes))
		for j, pair := range rdn.Attributes {
			pairs[j] = strings.ToLower(pair.Type) + "=" + ldap.EscapeDN(identity.NameKey(pair.Value))
		}
		slices.Sort(pairs)
		parts[i] = strings.Join(pairs, "+")
	}
	return strings.Join(parts, ",")
}
