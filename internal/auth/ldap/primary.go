package ldap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-ldap/ldap/v3"

	"dagster-authkit/internal/auth"
)

// primaryGroup finds the one group of Active Directory that does not name the person, and that memberOf does not name: mostly
// Domain Users, but an administrator may make any other of a person's groups the primary one, which then loses them as a member.
// The DN is asked for where it is needed, and empty elsewhere. Without a primary group all is empty.
func (b *Backend) primaryGroup(ctx context.Context, p person) (sid []byte, dn string, err error) {
	if !b.ActiveDirectory {
		return nil, "", nil
	}
	sid = primarySID(p.entry)
	if sid == nil || !b.MemberOf && !b.Nested {
		return sid, "", nil
	}
	var found []*ldap.Entry
	err = b.asSearcher(ctx, func(c *conn) error {
		// In place of a base: this entry, wherever it is (MS-ADTS, 3.1.1.3.1.2.4).
		found, err = c.search(ctx, fmt.Sprintf("<SID=%x>", sid), 1, "(objectClass=group)", "1.1")
		return err
	})
	said, ok := errors.AsType[*ldap.Error](err)
	switch {
	case ok && said.ResultCode == ldap.LDAPResultNoSuchObject:
		return sid, "", nil // the searching account may not see it, or another domain has it
	case ok && !errors.Is(err, auth.ErrUnavailable):
		return nil, "", fmt.Errorf("%w: searching the primary group of %s: %w", auth.ErrUnavailable, p.entry.DN, explained(err))
	case err != nil:
		return nil, "", err
	case len(found) == 1:
		dn = found[0].DN
	}
	return sid, dn, nil
}

// The lengths of a SID's parts in bytes (MS-DTYP, 2.4.2.2): revision, number of sub-authorities and authority, then each
// sub-authority. An account has at least that of its domain and its own.
const (
	sidHead         = 8
	subAuthority    = 4
	leastAccountSID = sidHead + 2*subAuthority
)

// primarySID is the primary group's: that of the person, with the group's last part. It is nil where there is none.
func primarySID(entry *ldap.Entry) []byte {
	of, raw := first(entry, "primaryGroupID"), entry.GetEqualFoldRawAttributeValues("objectSid")
	group, err := strconv.ParseUint(of, 10, 32)
	if err != nil || len(raw) != 1 || len(raw[0]) < leastAccountSID || len(raw[0]) != sidHead+subAuthority*int(raw[0][1]) {
		return nil
	}
	sid := slices.Clone(raw[0])
	binary.LittleEndian.PutUint32(sid[len(sid)-subAuthority:], uint32(group))
	return sid
}
