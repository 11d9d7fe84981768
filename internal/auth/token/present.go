package token

import (
	"crypto/subtle"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"dagster-authkit/internal/identity"
)

// CloudHeader is the header in which Dagster's own clients send a token.
const CloudHeader = "Dagster-Cloud-Api-Token"

// bearer is the scheme of RFC 6750; schemes have no case (RFC 9110, section 11.1).
const bearer = "bearer"

// presented finds the token of ours that a request carries, in Authorization: Bearer or in Dagster-Cloud-Api-Token. found is
// false when there is none: other credentials in these headers are not for us. A word that begins as our tokens do is meant to
// be one, so that what can't be read as exactly one is no good, and never somebody else's or nobody's: the text is empty then.
func presented(h http.Header) (text string, found bool) {
	good := true
	take := func(value string, readable bool) {
		if found && value != text {
			good = false // two tokens are nobody's: which one counts is nothing to guess
		}
		found, text, good = true, value, good && readable
	}
	for _, value := range h["Authorization"] {
		if ours.MatchString(value) {
			scheme, rest, _ := strings.Cut(value, " ")
			take(rest, strings.EqualFold(scheme, bearer))
		}
	}
	for _, value := range h[CloudHeader] {
		if ours.MatchString(value) {
			take(value, true)
		}
	}
	if !good {
		return "", found
	}
	return text, found
}

// ours finds a word with our prefix, and not the middle of one: other people's tokens may have these letters in them.
var ours = regexp.MustCompile(`(^|[^0-9A-Za-z_.~+/-])` + Prefix)

// Static is the one token that the environment may hold, as the Python AuthKit knows it. The zero Static is none.
type Static struct {
	Token string
	// Header is where it is presented, as the whole value.
	Header string
	// User is the name that the trail has for it, and Role what it may do.
	User string
	Role identity.Role
}

// EnvironmentBackend is the backend of the Static token's identity, which has no account.
const EnvironmentBackend = "environment"

// presented reports whether the request brings something in the token's header, and whether it is the token. What begins as
// tokens of New is left to them.
func (s Static) presented(h http.Header) (found, right bool) {
	values := slices.DeleteFunc(slices.Clone(h[http.CanonicalHeaderKey(s.Header)]), ours.MatchString)
	if s.Token == "" || len(values) == 0 {
		return false, false
	}
	given, want := Sum(values[0]), Sum(s.Token) // of one length, so that the comparison says nothing of the token's
	return true, len(values) == 1 && subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

func (s Static) user() identity.User {
	return identity.User{Backend: EnvironmentBackend, Subject: s.User, Name: s.User, Role: s.Role}
}
