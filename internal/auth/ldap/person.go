package ldap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// person is an entry, and what of it makes a user.
type person struct {
	entry *ldap.Entry
	user  identity.User // without role and groups
}

// attributes are those that are read of a person's entry, and no others.
func (b *Backend) attributes() []string {
	names := append([]string{b.SubjectAttribute, b.NameAttribute, b.EmailAttribute, "pwdAccountLockedTime", "nsAccountLock"}, b.FullNameAttributes...)
	for _, n := range b.naming {
		names = append(names, n.attribute)
	}
	if b.MemberOf {
		names = append(names, "memberOf")
	}
	if b.RoleAttribute != "" {
		names = append(names, b.RoleAttribute)
	}
	if b.ActiveDirectory {
		names = append(names, "userAccountControl", "accountExpires", "objectSid", "primaryGroupID")
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(names, func(name string) bool {
		key := strings.ToLower(name)
		defer func() { seen[key] = true }()
		return seen[key]
	})
}

// The longest texts that are taken over from an entry, in characters. Names are those of audit lines and run tags.
const (
	longestShown   = 256
	longestSubject = 256
)

// read makes a user of an entry. The errors are of the settings, not of the person.
func (b *Backend) read(entry *ldap.Entry) (person, error) {
	subject, err := b.subject(entry)
	if err != nil {
		return person{}, err
	}
	name := first(entry, b.NameAttribute)
	if err := identity.CheckName(name); err != nil {
		return person{}, fmt.Errorf("the attribute %s of %s: %w: see DAGSTER_AUTH_LDAP_NAME_ATTRIBUTE", b.NameAttribute, entry.DN, err)
	}
	return person{entry: entry, user: identity.User{
		Backend: backendName, Subject: subject, Name: name,
		Email: b.email(entry), FullName: first(entry, b.FullNameAttributes...),
	}}, nil
}

// first is the first value of the first of the attributes that has one; values that are no text for people count as none.
func first(entry *ldap.Entry, attributes ...string) string {
	for _, attribute := range attributes {
		for _, value := range entry.GetEqualFoldAttributeValues(attribute) {
			if value = strings.TrimSpace(value); value != "" && utf8.ValidString(value) && utf8.RuneCountInString(value) <= longestShown &&
				!strings.ContainsAny(value, "\x00\r\n") {
				return value
			}
		}
	}
	return ""
}

// email is the first address of the entry that is taken, or "".
func (b *Backend) email(entry *ldap.Entry) string {
	for _, value := range entry.GetEqualFoldAttributeValues(b.EmailAttribute) {
		if value = strings.TrimSpace(value); identity.CheckEmail(value) == nil {
			return value
		}
	}
	return ""
}

// subject is the entry's lasting name.
func (b *Backend) subject(entry *ldap.Entry) (string, error) {
	raw := entry.GetEqualFoldRawAttributeValues(b.SubjectAttribute)
	if len(raw) != 1 {
		return "", fmt.Errorf("%s has %d values of the attribute %s, which makes the identity: "+
			"see DAGSTER_AUTH_LDAP_SUBJECT_ATTRIBUTE, or DAGSTER_AUTH_LDAP_PRESET=ad for Active Directory", entry.DN, len(raw), b.SubjectAttribute)
	}
	if b.isGUID() {
		return guidText(raw[0])
	}
	text := strings.ToLower(string(raw[0]))
	if text == "" || len(text) > longestSubject || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the attribute %s of %s is empty, too long or no text", b.SubjectAttribute, entry.DN)
	}
	return text, nil
}

func (b *Backend) isGUID() bool { return strings.EqualFold(b.SubjectAttribute, "objectGUID") }

// subjectFilter finds the entry of that subject.
func (b *Backend) subjectFilter(subject string) (string, error) {
	if !b.isGUID() {
		return "(" + b.SubjectAttribute + "=" + ldap.EscapeFilter(subject) + ")", nil
	}
	raw, err := guidBytes(subject)
	if err != nil {
		return "", err
	}
	return "(" + b.SubjectAttribute + "=" + escapeOctets(raw) + ")", nil
}

// escapeOctets writes a value that is no text for a filter (RFC 4515, section 3).
func escapeOctets(raw []byte) string {
	var value strings.Builder
	for _, octet := range raw {
		fmt.Fprintf(&value, `\%02x`, octet)
	}
	return value.String()
}

// guidText writes a GUID as Microsoft's tools do. Its first three fields are little-endian in the directory (MS-DTYP, 2.3.4.2).
func guidText(raw []byte) (string, error) {
	if len(raw) != 16 {
		return "", fmt.Errorf("an objectGUID of %d bytes is none", len(raw))
	}
	turned := turn(raw)
	text := hex.EncodeToString(turned)
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-"), nil
}

func guidBytes(text string) ([]byte, error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != 16 {
		return nil, errors.New("the subject is no GUID: was DAGSTER_AUTH_LDAP_SUBJECT_ATTRIBUTE changed?")
	}
	return turn(raw), nil
}

// turn reverses the first three fields of a GUID, there and back.
func turn(raw []byte) []byte {
	turned := slices.Clone(raw)
	slices.Reverse(turned[0:4])
	slices.Reverse(turned[4:6])
	slices.Reverse(turned[6:8])
	return turned
}

const (
	// lockedByAdmin is a pwdAccountLockedTime that only an administrator ends (draft-behera-ldap-password-policy-10, 5.3.3).
	lockedByAdmin = "000001010000Z"
	// accountDisable is a bit of userAccountControl (MS-ADTS, 2.2.16).
	accountDisable = 2
	// accountExpires counts 100 ns from the year 1601, and is 0 or its greatest value for never (MS-ADA1, 2.1).
	neverExpires    = math.MaxInt64
	ticksPerSecond  = 10_000_000
	secondsFrom1601 = 11_644_473_600 // to 1970
)

// barred says why an entry's person may not be here whatever their password, or "". A lock that guesses of others can bring
// about is not among the reasons.
func (b *Backend) barred(entry *ldap.Entry) string {
	switch {
	case first(entry, "pwdAccountLockedTime") == lockedByAdmin, strings.EqualFold(first(entry, "nsAccountLock"), "true"):
		return "the account is locked in the directory"
	case !b.ActiveDirectory:
		return ""
	}
	control, err := strconv.ParseInt(first(entry, "userAccountControl"), 10, 64)
	if err != nil {
		return "the account's userAccountControl can't be read"
	}
	if control&accountDisable != 0 {
		return "the account is disabled in the directory"
	}
	expires, _ := strconv.ParseInt(first(entry, "accountExpires"), 10, 64)
	if expires > 0 && expires != neverExpires && time.Unix(expires/ticksPerSecond-secondsFrom1601, 0).Before(time.Now()) {
		return "the account has expired in the directory"
	}
	return ""
}

// user adds groups, role and grants. The error may be an auth.NoRoleError with the groups as the directory spells them.
func (b *Backend) user(ctx context.Context, p person) (identity.User, error) {
	groups, err := b.groups(ctx, p)
	if err != nil {
		return identity.User{}, err
	}
	user := p.user
	user.Groups = groups.all()
	err = b.rules.Apply(&user)
	if none, is := errors.AsType[*auth.NoRoleError](err); is {
		none.Groups = groups.shown
	}
	if err != nil {
		return identity.User{}, err
	}
	return user, nil
}
