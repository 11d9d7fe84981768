package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// Step is one thing that Check tried. Detail says what was found, or what is wrong and what to do; it has no secret.
type Step struct {
	What   string
	OK     bool
	Detail string
}

// Question is what Check is to find out beside the servers. An empty Username asks about nobody. With a Password a sign-in
// is tried as well.
type Question struct{ Username, Password string }

// checking is a walk through the steps of a sign-in, with a report of each.
type checking struct {
	*Backend
	report func(Step)
	failed bool
}

// Check tries every server, and then what a sign-in of that person does, step by step. It reports whether all went well.
func (b *Backend) Check(ctx context.Context, q Question, report func(Step)) bool {
	c := &checking{Backend: b, report: report}
	for _, s := range b.servers {
		c.server(ctx, s)
	}
	if c.base(ctx) && q.Username != "" {
		c.person(ctx, q)
	}
	return !c.failed
}

// step reports, and says whether to go on.
func (c *checking) step(what string, err error, format string, args ...any) bool {
	detail := fmt.Sprintf(format, args...)
	if err != nil {
		c.failed, detail = true, err.Error()
	}
	c.report(Step{What: what, OK: err == nil, Detail: strings.ReplaceAll(detail, "\n", "; ")})
	return err == nil
}

// server resolves the name, connects, begins TLS and binds as the searching account.
func (c *checking) server(ctx context.Context, s *server) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.Timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, s.url.Hostname())
	if !c.step("resolve "+s.url.Hostname(), err, "%s", strings.Join(addresses, ", ")) {
		return
	}
	conn, err := c.connectTo(ctx, s)
	if !c.step("connect to "+s.url.String(), err, "%s", c.secured(conn)) {
		return
	}
	defer conn.close()
	if c.BindDN == "" {
		c.step("bind", nil, "left out, as there is no DAGSTER_AUTH_LDAP_BIND_DN: the search has no name")
		return
	}
	if _, err = conn.bind(ctx, c.BindDN, c.BindPassword); err != nil {
		err = explained(err)
	}
	c.step("bind as "+c.BindDN, err, "the account may sign in")
}

// secured describes the connection's TLS.
func (c *checking) secured(conn *conn) string {
	if conn == nil {
		return ""
	}
	secured, ok := conn.frames.Conn.(*tls.Conn)
	if !ok {
		return "without TLS: passwords go over the network in clear"
	}
	state := secured.ConnectionState()
	leaf := state.PeerCertificates[0]
	names := slices.Clone(leaf.DNSNames)
	for _, address := range leaf.IPAddresses {
		names = append(names, address.String())
	}
	return fmt.Sprintf("%s, certificate for %s, issued by %s, valid until %s", tls.VersionName(state.Version),
		strings.Join(names, ", "), leaf.Issuer, leaf.NotAfter.UTC().Format("2006-01-02"))
}

// base looks for people at all.
func (c *checking) base(ctx context.Context) bool {
	found, err := c.people(ctx, strings.ReplaceAll(c.UserFilter, namePlace, "*"))
	if err == nil && len(found) == 0 {
		err = errors.New("nobody was found: check DAGSTER_AUTH_LDAP_BASE_DN and _USER_FILTER, and what the account may read")
	}
	return c.step("search people in "+c.BaseDN, err, "with %s", c.UserFilter)
}

// person walks through the sign-in of one person.
func (c *checking) person(ctx context.Context, q Question) {
	if !mayBeAsked(auth.Credentials{Username: q.Username, Password: "x"}) {
		c.step("find the person", errors.New("the name is empty, too long or has control characters: no directory is asked about it"), "")
		return
	}
	p, err := c.find(ctx, q.Username)
	if errors.Is(err, errNobody) {
		err = fmt.Errorf("no entry, or more than one, matches %s (the log says which): check DAGSTER_AUTH_LDAP_USER_FILTER",
			strings.ReplaceAll(c.UserFilter, namePlace, ldap.EscapeFilter(q.Username)))
	}
	if !c.step("find the person", err, "%s", c.dnOf(p)) {
		return
	}
	c.step("read the entry", nil, "%s: name %q, email %q, full name %q", p.user.ID(), p.user.Name, p.user.Email, p.user.FullName)
	if why := c.barred(p.entry); why != "" {
		c.step("look at the account", errors.New(why), "")
	}
	if q.Password != "" {
		c.password(ctx, p, q.Password)
	}
	g, err := c.groups(ctx, p)
	if !c.step("read the groups", err, "%d: %s", len(g.shown), strings.Join(g.shown, " | ")) {
		return
	}
	c.role(p, g)
}

func (c *checking) dnOf(p person) string {
	if p.entry == nil {
		return ""
	}
	return p.entry.DN
}

func (c *checking) password(ctx context.Context, p person, password string) {
	result, err := c.asPerson(ctx, p.entry.DN, password)
	judged := c.judge(p, result, err)
	if said, ok := errors.AsType[*ldap.Error](err); ok && errors.Is(judged, auth.ErrInvalid) {
		judged = explained(said)
	}
	c.step("bind as the person", judged, "the password is right")
}

// role says what the person may do, and by which rules.
func (c *checking) role(p person, g groups) {
	user := p.user
	user.Groups = g.all()
	err := c.rules.Apply(&user)
	if _, is := errors.AsType[*auth.NoRoleError](err); is {
		err = errors.New("none of the groups gives a role: write a rule under groups in the config file, or set DAGSTER_AUTH_DEFAULT_ROLE")
	}
	if !c.step("find the role", err, "%s, %s", user.Role, c.why(user)) {
		return
	}
	for _, grant := range user.RuleGrants {
		c.step("find grants", nil, "%s in the code location %s", grant.Role, grant.Location)
	}
}

// why names the first rule that gives the user's role.
func (c *checking) why(user identity.User) string {
	normal := make([]string, len(user.Groups))
	for i, group := range user.Groups {
		normal[i] = normalGroup(group)
	}
	for _, rule := range c.Rules {
		if rule.Location == "" && rule.Role == user.Role && slices.Contains(normal, normalGroup(rule.Group)) {
			return "by the rule for the group " + rule.Group
		}
	}
	if c.RoleAttribute != "" && slices.Contains(normal, normalGroup(roleGroup(c.RoleAttribute, string(user.Role)))) {
		return "by the attribute " + c.RoleAttribute
	}
	if user.Role == c.Default {
		return "by DAGSTER_AUTH_DEFAULT_ROLE"
	}
	return "as a role in a code location alone makes a viewer elsewhere"
}
