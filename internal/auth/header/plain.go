package header

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

const (
	// maxText bounds a full name or a subject, in bytes.
	maxText = 254
	// maxGroupsText bounds the groups' header, in bytes.
	maxGroupsText = 16 << 10
)

// unclear is what people are told whatever it was: the log says more.
const unclear = "What the proxy in front of this Dagster says of who you are can't be taken. Tell whoever looks after it."

// plain reads headers that hold text.
type plain struct {
	names names
	split func(text string) ([]string, error)
	rules *auth.RoleRules
	// addressed says that the user's name is the email address.
	addressed bool
}

func newPlain(o Plain, rules *auth.RoleRules) *plain {
	addressed := o.Email == o.User
	if addressed {
		o.Email = ""
	}
	return &plain{
		names: newNames(o.User, o.Groups, o.Email, o.Name), split: splitter(o.Separator), rules: rules, addressed: addressed,
	}
}

// names are headers to look for, "" for those that are not, each at its place in said.
type names struct {
	exact [len(said{})]string // as net/http writes them
	keys  [len(said{})]string // as identity.HeaderKey does
}

func newNames(headers ...string) names {
	var n names
	for i, header := range headers {
		n.exact[i], n.keys[i] = http.CanonicalHeaderKey(header), identity.HeaderKey(header)
	}
	return n
}

// place is where a header that was sent stands in said, or -1.
func (n names) place(sent string) int {
	for i, key := range n.keys {
		if key != "" && len(key) == len(sent) && identity.HeaderKey(sent) == key {
			return i
		}
	}
	return -1
}

// find takes each header that was sent once, and refuses those that are there twice or in a spelling that a lax reader takes
// for the same: a proxy that writes the real one may have let the client's pass.
func (n names) find(h http.Header) (said, error) {
	var text said
	for sent, values := range h {
		i := n.place(sent)
		switch {
		case i < 0:
			continue
		case sent != n.exact[i]:
			return said{}, auth.Refuse("HEADER_SPELLED_OTHERWISE", unclear, fmt.Sprintf("%q was sent, which some take for %s", sent, n.exact[i]))
		case len(values) != 1:
			return said{}, auth.Refuse("HEADER_SENT_TWICE", unclear, fmt.Sprintf("%s was sent %d times", sent, len(values)))
		}
		text[i] = values[0]
		if i == 0 && strings.TrimSpace(values[0]) == "" {
			return said{}, auth.Refuse("HEADER_EMPTY", unclear, sent+" was sent and is empty")
		}
	}
	return text, nil
}

// find gives nothing unless the user is named: a proxy that lets somebody pass unknown may well send the other headers empty.
func (p *plain) find(h http.Header) (said, error) {
	text, err := p.names.find(h)
	if err != nil || text[0] == "" {
		return said{}, err
	}
	return text, nil
}

// read checks each value. The account's lasting name is the user's in small letters, as far as those are ASCII: a proxy that
// lets people write Alice or alice means one person, and disabling alice must not leave Alice. More is not taken for the same:
// whoever can choose a name that looks like somebody's must not become them.
func (p *plain) read(_ context.Context, text said) (identity.User, time.Time, error) {
	user := identity.User{
		Backend: Name, Subject: smallLetters(text[0]), Name: text[0],
		Email: strings.TrimSpace(text[2]), FullName: strings.TrimSpace(text[3]),
	}
	if p.addressed {
		user.Email = user.Name
	}
	if err := checkUser(user); err != nil {
		return identity.User{}, time.Time{}, err
	}
	var err error
	if user.Groups, err = p.split(text[1]); err != nil {
		return identity.User{}, time.Time{}, auth.Refuse("GROUPS_UNCLEAR", unclear, err.Error())
	}
	err = p.rules.Apply(&user)
	return user, time.Time{}, err
}

// smallLetters changes A to Z alone.
func smallLetters(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// checkUser refuses what is no name, or holds what is no text. A comma is what becomes of two headers that a proxy joined.
func checkUser(user identity.User) error {
	err := identity.CheckName(user.Name)
	if err == nil && strings.Contains(user.Name, ",") {
		err = fmt.Errorf("the name has a comma, as two headers have that were joined")
	}
	if err == nil && user.Email != "" {
		err = identity.CheckEmail(user.Email)
	}
	if err == nil {
		err = checkText("full name", user.FullName)
	}
	if err != nil {
		return auth.Refuse("NAME_NOT_TAKEN", unclear, err.Error())
	}
	return nil
}

func checkText(what, text string) error {
	if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("the %s is too long or no text", what)
	}
	return nil
}
