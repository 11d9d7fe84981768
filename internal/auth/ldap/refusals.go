package ldap

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
)

// The errors of a password policy (draft-behera-ldap-password-policy-10, section 6.2) that a right password alone brings about.
const (
	passwordExpired  = 0
	changeAfterReset = 2
)

// errMustChange is said to whoever has the right password and may not use it.
var errMustChange = &auth.ExplainedError{
	Message: "Your password has to be changed before you can sign in. Change it where your organisation lets you, and come back.",
}

// policyError is what the directory's password policy has against the sign-in, or -1.
func policyError(result *ldap.SimpleBindResult) int8 {
	if result == nil {
		return -1
	}
	for _, control := range result.Controls {
		if policy, ok := control.(*ldap.ControlBeheraPasswordPolicy); ok {
			return policy.Error
		}
	}
	return -1
}

// dataCode finds Active Directory's reason in "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 773, v1db1".
var dataCode = regexp.MustCompile(`\bdata ([0-9a-fA-F]{1,8})\b`)

// reasons are Active Directory's, by their Windows error code in hexadecimal (MS-ERREF, 2.2).
func reasons(code string) string {
	return map[string]string{
		"525": "there is no such account", "52e": "the password is wrong", "530": "the account may not sign in at this time",
		"531": "the account may not sign in from here", "532": "the password has expired", "533": "the account is disabled",
		"701": "the account has expired", "773": "the password must be changed before the next sign-in", "775": "the account is locked",
	}[code]
}

func dataOf(err error) string {
	if found := dataCode.FindStringSubmatch(err.Error()); found != nil {
		return strings.ToLower(strings.TrimLeft(found[1], "0"))
	}
	return ""
}

// refused says in the log why the directory refused, and to the person only what a guesser without the right password is
// never told: Active Directory looks at 532 and 773 after the password, as policies of others do.
func (b *Backend) refused(p person, result *ldap.SimpleBindResult, said *ldap.Error) error {
	code, policy := dataOf(said), policyError(result)
	mustChange := code == "532" || code == "773" || policy == changeAfterReset || policy == passwordExpired
	if why := reasons(code); (why != "" && code != "52e") || mustChange {
		b.Log.Info().Str("dn", p.entry.DN).Str("why", why).Err(explained(said)).Msg("a sign-in was refused by the directory")
	}
	if mustChange {
		return errMustChange
	}
	return auth.ErrInvalid
}

// explained says what a directory's error means for the settings. What the directory says itself is cut: it may be long, and
// may have control characters.
func explained(err error) error {
	said, ok := errors.AsType[*ldap.Error](err)
	if !ok {
		return err
	}
	hint := map[uint16]string{
		ldap.LDAPResultInvalidCredentials:          "wrong DN or password",
		ldap.LDAPResultStrongAuthRequired:          "the server wants TLS: use ldaps://, or DAGSTER_AUTH_LDAP_USE_TLS=true",
		ldap.LDAPResultConfidentialityRequired:     "the server wants TLS: use ldaps://, or DAGSTER_AUTH_LDAP_USE_TLS=true",
		ldap.LDAPResultNoSuchObject:                "there is no such entry, or the account may not see it",
		ldap.LDAPResultInsufficientAccessRights:    "the account may not do this",
		ldap.LDAPResultReferral:                    "the server refers to another one, which is not followed: name that one in the settings",
		ldap.LDAPResultOperationsError:             "the server wants an account: set DAGSTER_AUTH_LDAP_BIND_DN",
		ldap.LDAPResultInappropriateAuthentication: "the entry has no password",
		ldap.LDAPResultUnwillingToPerform:          "the server does not want to",
		ldap.LDAPResultSizeLimitExceeded:           "the server gives this account no more entries: raise its limit, or narrow the base or the filter",
	}[said.ResultCode]
	if why := reasons(dataOf(said)); why != "" {
		hint = why
	}
	if hint != "" {
		hint += "; "
	}
	return fmt.Errorf("%sLDAP result code %d, %.300q", hint, said.ResultCode, said.Err.Error())
}
