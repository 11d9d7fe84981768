package ldap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// The longest name and password that a directory is asked about, in bytes: an email address has at most 254, and passwords
// 1,024 characters here as in auth.Local.
const (
	longestName     = 256
	longestPassword = 1024 * utf8.UTFMax
)

// Authenticate searches the person, binds as the person, and reads the groups. Whether the name is unknown, has two entries
// or the password is wrong, the directory is asked the same two questions in the same order.
func (b *Backend) Authenticate(ctx context.Context, c auth.Credentials) (identity.User, error) {
	if !mayBeAsked(c) {
		return identity.User{}, auth.ErrInvalid // nobody's: this tells nothing about any entry
	}
	p, err := b.find(ctx, c.Username)
	unknown := errors.Is(err, errNobody)
	if err != nil && !unknown {
		return identity.User{}, err
	}
	if unknown {
		// The directory needs some time for a bind, and a connection for it: a stranger must not see that it was left out.
		if _, err := b.asPerson(ctx, b.nobody(), rand.Text()); isDown(err) || errors.Is(err, auth.ErrBusy) {
			return identity.User{}, err
		}
		return identity.User{}, auth.ErrInvalid
	}
	result, err := b.asPerson(ctx, p.entry.DN, c.Password)
	if err := b.judge(p, result, err); err != nil {
		return identity.User{}, err
	}
	return b.user(ctx, p)
}

// mayBeAsked refuses above all the empty password, with which a bind would succeed as nobody (RFC 4513, section 5.1.2).
func mayBeAsked(c auth.Credentials) bool {
	return c.Password != "" && len(c.Password) <= longestPassword && utf8.ValidString(c.Password) &&
		strings.TrimSpace(c.Username) != "" && len(c.Username) <= longestName && utf8.ValidString(c.Username) &&
		!strings.ContainsFunc(c.Username, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}

// nobody is a DN below the base that no entry has.
func (b *Backend) nobody() string { return "cn=nobody-" + rand.Text() + "," + b.BaseDN }

// errNobody says that no entry has the name, or more than one.
var errNobody = errors.New("no entry has this name")

// find gives the one entry of that name.
func (b *Backend) find(ctx context.Context, name string) (person, error) {
	filter := strings.ReplaceAll(b.UserFilter, namePlace, ldap.EscapeFilter(name))
	found, err := b.people(ctx, filter)
	if err != nil {
		return person{}, err
	}
	switch {
	case len(found) == 0:
		return person{}, errNobody
	case len(found) > 1:
		b.Log.Warn().Str("name", name).Str("first", found[0].DN).Str("second", found[1].DN).
			Msg("a sign-in was refused, as two entries have the name: make DAGSTER_AUTH_LDAP_USER_FILTER or _BASE_DN find one")
		return person{}, errNobody
	case !b.isNamed(found[0], name):
		// Directories take more for equal than we do (accents, invisible characters), and the limit on guesses counts by name.
		b.Log.Debug().Str("dn", found[0].DN).Msg("an entry was found whose name is not spelt as it was typed")
		return person{}, errNobody
	}
	return b.read(found[0])
}

// isNamed reports whether the entry has the name, in the sense in which two names are one account here, where the filter looked.
func (b *Backend) isNamed(entry *ldap.Entry, name string) bool {
	for _, n := range b.naming {
		wanted := identity.NameKey(n.before + name + n.after)
		for _, value := range entry.GetEqualFoldAttributeValues(n.attribute) {
			if identity.NameKey(value) == wanted {
				return true
			}
		}
	}
	return false
}

// people searches entries of people: one, or two when there are more.
func (b *Backend) people(ctx context.Context, filter string) (found []*ldap.Entry, err error) {
	err = b.asSearcher(ctx, func(c *conn) error {
		found, err = c.search(ctx, b.BaseDN, 2, filter, b.attributes()...)
		return err
	})
	if _, said := errors.AsType[*ldap.Error](err); said && !errors.Is(err, auth.ErrUnavailable) {
		err = fmt.Errorf("%w: searching in DAGSTER_AUTH_LDAP_BASE_DN: %w", auth.ErrUnavailable, explained(err))
	}
	return found, err
}

// judge turns the directory's answer to a bind into ours.
func (b *Backend) judge(p person, result *ldap.SimpleBindResult, err error) error {
	switch said, ok := errors.AsType[*ldap.Error](err); {
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, auth.ErrBusy):
		return err
	case err == nil:
		return b.admitted(p, result)
	case !ok:
		return fmt.Errorf("bind as the person: %w", err)
	case said.ResultCode == ldap.LDAPResultInvalidCredentials:
		return b.refused(p, result, said)
	case refusesPerson(said.ResultCode):
		b.Log.Info().Str("dn", p.entry.DN).Err(explained(said)).Msg("a sign-in was refused by the directory")
		return auth.ErrInvalid
	default:
		return fmt.Errorf("%w: bind as the person: %w", auth.ErrUnavailable, explained(said))
	}
}

// refusesPerson are the results of a bind that are about the entry, not about the server: it has no password, is gone since it
// was found, or may not sign in. 389 Directory Server says 53 of inactivated accounts and 19 of locked ones, before it looks at the
// password: another answer than to a wrong one would tell that the account is there, and would not count as an attempt.
func refusesPerson(code uint16) bool {
	switch code {
	case ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultNoSuchObject, ldap.LDAPResultConstraintViolation,
		ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultUnwillingToPerform:
		return true
	}
	return false
}

// admitted looks at what a directory lets pass with a right password and we do not.
func (b *Backend) admitted(p person, result *ldap.SimpleBindResult) error {
	if policyError(result) == changeAfterReset {
		b.Log.Info().Str("dn", p.entry.DN).Msg("a sign-in was refused, as the password must be changed first")
		return errMustChange
	}
	if why := b.barred(p.entry); why != "" {
		b.Log.Info().Str("dn", p.entry.DN).Str("why", why).Msg("a sign-in was refused")
		return auth.ErrInvalid
	}
	return nil
}

// Refresh finds the person by what never changes in an entry, so that a new name, or another place in the directory, does not matter.
func (b *Backend) Refresh(ctx context.Context, user identity.User, _ identity.Voucher) (identity.User, []byte, error) {
	filter, err := b.subjectFilter(user.Subject)
	if err != nil {
		return identity.User{}, nil, fmt.Errorf("%w: %w", auth.ErrGone, err)
	}
	// Whoever no longer matches the filter for people, whatever their name, may no longer sign in either.
	found, err := b.people(ctx, "(&"+filter+strings.ReplaceAll(b.UserFilter, namePlace, "*")+")")
	switch {
	case err != nil:
		return identity.User{}, nil, err
	case len(found) == 0:
		return identity.User{}, nil, fmt.Errorf("%w: the directory has no such entry", auth.ErrGone)
	case len(found) > 1:
		return identity.User{}, nil, fmt.Errorf("two entries have the same %s: %s and %s", b.SubjectAttribute, found[0].DN, found[1].DN)
	}
	if why := b.barred(found[0]); why != "" {
		return identity.User{}, nil, fmt.Errorf("%w: %s", auth.ErrGone, why)
	}
	p, err := b.read(found[0])
	if err != nil {
		return identity.User{}, nil, err
	}
	now, err := b.user(ctx, p)
	return now, nil, err
}
