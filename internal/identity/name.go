package identity

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxNameLength is in characters, after normalisation; it leaves room for an email address in most organisations.
const maxNameLength = 64

// NameKey is the form in which names are compared: NFKC and without case, so that "Ａlice" and "alice" are one account
// (NIST SP 800-63B, 3.1.1.2 asks for NFKC or NFKD; Unicode TR 15 for folding before the last normalisation).
func NameKey(name string) string {
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(strings.TrimSpace(name))))
}

// CheckName says what is wrong with a new account's name, or nil.
func CheckName(name string) error {
	key := NameKey(name)
	switch {
	case !utf8.ValidString(name):
		return errors.New("the name is not valid UTF-8")
	case key == "":
		return errors.New("the name is empty: give 1 to 64 characters")
	case utf8.RuneCountInString(key) > maxNameLength || utf8.RuneCountInString(name) > maxNameLength:
		return errors.New("the name is too long: give 1 to 64 characters")
	case strings.ContainsFunc(name, notPrintable):
		return errors.New("the name has control or invisible characters: use visible ones only")
	}
	return nil
}

// notPrintable also refuses format characters, such as those that turn the direction of text: two names that look the
// same must be the same.
func notPrintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
}
