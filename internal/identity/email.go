package identity

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxEmail is the longest address that SMTP can carry, in bytes (RFC 5321, 4.5.3.1.3, less the angle brackets).
const maxEmail = 254

// CheckEmail says why an address that somebody else wrote is not taken, or nil: it is empty or too long, is no text, or has
// something that can't be seen. That is never left out first, as it would be another address than the one that was checked or
// verified. Whether mail can reach it is not looked at.
func CheckEmail(address string) error {
	switch {
	case address == "":
		return errors.New("the email address is empty")
	case len(address) > maxEmail:
		return errors.New("the email address is too long: 254 bytes are the most")
	case !utf8.ValidString(address) || strings.ContainsFunc(address, invisible):
		return errors.New("the email address has spaces, or control or invisible characters")
	}
	return nil
}

// brailleBlank looks like a space, but is of no class that says so.
const brailleBlank = '\u2800'

// invisible are spaces, control and format characters, what stands for no character, and letters and marks that show nothing.
func invisible(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == utf8.RuneError || r == brailleBlank ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
