package oidc

import (
	"strings"

	"dagster-authkit/internal/identity"
)

// email is the address as the provider wrote it, "" when it is no text.
func (c claims) email() string {
	address, _ := c["email"].(string)
	return address
}

// emailDomain is what stands after the only @ of an address, in lower case. Two of them, or a quoted one, are refused: programs
// don't agree on which of them ends the name, so that attacker@evil.com@company.com could be of either domain.
func emailDomain(address string) (domain string, ok bool) {
	if identity.CheckEmail(address) != nil || strings.ContainsAny(address, `"<>()[],;:\`) || strings.Count(address, "@") != 1 {
		return "", false
	}
	name, domain, _ := strings.Cut(address, "@")
	if name == "" || domain == "" || strings.HasPrefix(domain, ".") || strings.HasSuffix(domain, ".") {
		return "", false
	}
	return strings.ToLower(domain), true
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
