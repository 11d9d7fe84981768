package oidc

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// longestEmail is RFC 5321's, in bytes.
const longestEmail = 254

// email is the address as the provider wrote it, "" when it is no text.
func (c claims) email() string {
	address, _ := c["email"].(string)
	return address
}

// emailDomain is what stands after the only @ of an address, in lower case. Two of them, or a quoted one, are refused: programs
// don't agree on which of them ends the name, so that attacker@evil.com@company.com could be of either domain. So is an address
// with something that can't be seen, which is never left out first: it would be another address than the provider verified.
func emailDomain(address string) (domain string, ok bool) {
	bad := func(r rune) bool { return invisible(r) || strings.ContainsRune(`"<>()[],;:\`, r) }
	if len(address) > longestEmail || !utf8.ValidString(address) || strings.ContainsFunc(address, bad) || strings.Count(address, "@") != 1 {
		return "", false
	}
	name, domain, _ := strings.Cut(address, "@")
	if name == "" || domain == "" || strings.HasPrefix(domain, ".") || strings.HasSuffix(domain, ".") {
		return "", false
	}
	return strings.ToLower(domain), true
}

// brailleBlank looks like a space, but is of no class that says so.
const brailleBlank = '\u2800'

// invisible are spaces, control and format characters, what stands for no character, and letters and marks that show nothing.
func invisible(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == utf8.RuneError || r == brailleBlank ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// verifications say that the address beside them is the person's.
var verifications = []string{"email_verified", "xms_edov"}

// emailOfOneSource keeps a verification from being joined with an address that it was not said of: one stays with the token
// only if the address stands there, and comes from the answer only with the same address or where the token has none.
func emailOfOneSource(token, answer claims) {
	if token["email"] == nil {
		delete(token, "email")
		for _, name := range verifications {
			delete(token, name)
		}
		return
	}
	if token.email() == "" || token["email"] != answer["email"] {
		for _, name := range verifications {
			delete(answer, name)
		}
	}
}
