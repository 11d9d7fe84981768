package auth

import (
	_ "embed"
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"dagster-authkit/internal/identity"
)

// The length of a password in characters: NIST SP 800-63B-4 and OWASP ASVS 5.0 (6.2.1, 6.2.9) want at least 8 and that
// 64 are possible; 1024 keeps a form's body small.
const (
	minPassword = 8
	maxPassword = 1024
	// maxPasswordBytes is what that many characters can have. More is not looked at.
	maxPasswordBytes = maxPassword * utf8.UTFMax
)

// commonPasswords are the 3,000 most common ones that are long enough to be allowed otherwise, as ASVS 5.0 (6.2.4) asks:
// one a line, in lower case. common-passwords.LICENSE says where they are from.
//
//go:embed common-passwords.txt
var commonPasswords string

// CheckPassword says what is wrong with a new password for that user, or nil. There are no rules about sorts of
// characters: NIST SP 800-63B-4 forbids them, as they make passwords worse.
func CheckPassword(username, password string) error {
	normal := norm.NFKC.String(password)
	switch {
	case !utf8.ValidString(password):
		return errors.New("the password is not valid UTF-8")
	case utf8.RuneCountInString(normal) < minPassword:
		return errors.New("the password is too short: give 8 to 1024 characters")
	case utf8.RuneCountInString(password) > maxPassword:
		return errors.New("the password is too long: give 8 to 1024 characters")
	case identity.NameKey(password) == identity.NameKey(username):
		return errors.New("the password is the user's name: choose another one")
	case isCommon(normal):
		return errors.New("the password is one of the 3,000 most common ones: choose another one")
	}
	return nil
}

func isCommon(password string) bool {
	word := strings.ToLower(password)
	return !strings.Contains(word, "\n") && strings.Contains("\n"+commonPasswords, "\n"+word+"\n")
}
