package ldap

import (
	"context"
	"errors"

	"github.com/go-ldap/ldap/v3"
)

// request is a search that never follows referrals or aliases: only the servers of the settings are asked, and only about what
// is below the base. A most of 0 leaves it to the server how many entries it gives.
func (c *conn) request(base string, most int, filter string, attributes ...string) *ldap.SearchRequest {
	request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, most, int(c.timeout.Seconds()), false, filter, attributes, nil)
	request.EnforceSizeLimit = true
	return request
}

// search reads at most that many entries, whether or not there are more.
func (c *conn) search(ctx context.Context, base string, most int, filter string, attributes ...string) (entries []*ldap.Entry, err error) {
	err = c.do(ctx, func() error {
		found, err := c.Search(c.request(base, most, filter, attributes...))
		switch {
		case errors.Is(err, ldap.ErrSizeLimitExceeded):
			c.broken = true // the rest of the answer is still to come
		case err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
			return err
		}
		entries = found.Entries
		return nil
	})
	return entries, err
}

// pageSize is how many entries are asked for at once. Active Directory gives 1,000 (MaxPageSize).
const pageSize = 500

// errTooMany says that there are more entries than are read.
var errTooMany = errors.New("too many entries")

// searchDNs reads the DNs of all entries, or fails: with errTooMany when they are more than most, and with the directory's error
// when it doesn't give all. All pages together are one question, with one deadline and the bounds of one answer.
func (c *conn) searchDNs(ctx context.Context, base string, most int, filter string) (dns []string, err error) {
	paging := ldap.NewControlPaging(pageSize)
	// The server's own limit on all pages holds; asking for more than it is an error of its own in OpenLDAP.
	request := c.request(base, 0, filter, "1.1") // no attributes (RFC 4511, section 4.5.1.8)
	request.Controls = []ldap.Control{paging}
	var tooMany bool
	err = c.do(ctx, func() error {
		for {
			found, err := c.Search(request)
			if len(dns) == 0 && refusesPages(err) {
				request = c.request(base, most, filter, "1.1")
				found, err = c.Search(request)
			}
			if tooMany = c.hasMore(found, most, err); tooMany {
				return nil
			}
			if err != nil {
				return err
			}
			for _, entry := range found.Entries {
				dns = append(dns, entry.DN)
			}
			answer, _ := ldap.FindControl(found.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
			last := answer == nil || len(answer.Cookie) == 0
			if len(dns) > most {
				c.broken, tooMany = !last, true // the server holds the rest as long as there is a connection
				return nil
			}
			if last {
				return nil
			}
			paging.SetCookie(answer.Cookie)
		}
	})
	if err == nil && tooMany {
		err = errTooMany
	}
	return dns, err
}

// hasMore recognizes a server that gave as many as it was asked for and has more, or gives them unasked. That is no fault of
// the server, for which do would take go-ldap's own error, nor of its limit.
func (c *conn) hasMore(found *ldap.SearchResult, most int, err error) bool {
	if errors.Is(err, ldap.ErrSizeLimitExceeded) {
		c.broken = true // the rest of the answer is still to come
		return true
	}
	return ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) && len(found.Entries) >= most
}

// refusesPages recognizes servers that give entries in no pages, or in none of this size (OpenLDAP's size.prtotal and size.pr),
// where others do without when they know of no pages (RFC 2696, section 3).
func refusesPages(err error) bool {
	return ldap.IsErrorAnyOf(err, ldap.LDAPResultAdminLimitExceeded, ldap.LDAPResultUnavailableCriticalExtension, ldap.LDAPResultUnwillingToPerform)
}
