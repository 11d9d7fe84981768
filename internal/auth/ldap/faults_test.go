package ldap_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/ldap"
	"dagster-authkit/internal/identity"
)

// misbehaving is a server that does what no real one does on demand: it answers each request with what reply gives for the
// request's operation, and goes silent or away as reply wants.
func misbehaving(t *testing.T, reply func(conn net.Conn, id int64, operation ber.Tag)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				for {
					packet, err := ber.ReadPacket(in)
					if err != nil || len(packet.Children) < 2 {
						return
					}
					id, _ := packet.Children[0].Value.(int64)
					reply(conn, id, packet.Children[1].Tag)
				}
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); running.Wait() })
	return "ldap://" + listener.Addr().String()
}

// The operations of RFC 4511, section 4.2 and following.
const (
	bindRequest, bindResponse                        = 0, 1
	searchRequest, searchEntry, searchDone           = 3, 4, 5
	extendedRequest, extendedResponse                = 23, 24
	tagSequence, tagOctets, tagInteger, tagEnum      = 0x30, 0x04, 0x02, 0x0a
	classApplicationConstructed                 byte = 0x60
)

// tlv writes one element with a length of four bytes.
func tlv(tag byte, parts ...[]byte) []byte {
	var content []byte
	for _, part := range parts {
		content = append(content, part...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{tag, 0x84}, uint32(len(content))), content...)
}

func message(id int64, operation byte, parts ...[]byte) []byte {
	return tlv(tagSequence, tlv(tagInteger, binary.BigEndian.AppendUint32(nil, uint32(id))), tlv(classApplicationConstructed|operation, parts...))
}

func result(id int64, operation byte) []byte {
	return message(id, operation, tlv(tagEnum, []byte{0}), tlv(tagOctets), tlv(tagOctets))
}

// entryOf is a search's entry, with further attributes as name, value, name, value.
func entryOf(id int64, dn, uid string, more ...string) []byte {
	var attributes [][]byte
	more = append(more, "uid", uid, "entryUUID", "u-1")
	for i := 0; i+1 < len(more); i += 2 {
		attributes = append(attributes, tlv(tagSequence, tlv(tagOctets, []byte(more[i])), tlv(0x31, tlv(tagOctets, []byte(more[i+1])))))
	}
	return message(id, searchEntry, tlv(tagOctets, []byte(dn)), tlv(tagSequence, attributes...))
}

// impatient are options that give up after a second, for servers that must not be believed in any case.
func impatient(t *testing.T, server string) ldap.Options {
	o := patient(t, server)
	o.Timeout = time.Second
	return o
}

// patient are options for servers whose answers count.
func patient(t *testing.T, server string) ldap.Options {
	return ldap.Options{
		Servers: []string{server}, Timeout: time.Minute, BindDN: "cn=reader", BindPassword: "x", BaseDN: "dc=x",
		UserFilter: "(uid={username})", SubjectAttribute: "entryUUID", NameAttribute: "uid", GroupBaseDN: "dc=x", GroupFilter: "(member={dn})",
		Default: identity.Viewer, Roles: roles(t),
	}
}

// wellBehaved answers as a directory in which everybody is ada and in no group; special takes the searches for people.
func wellBehaved(special func(conn net.Conn, id int64)) func(net.Conn, int64, ber.Tag) {
	return func(conn net.Conn, id int64, operation ber.Tag) {
		if operation == bindRequest {
			_, _ = conn.Write(result(id, bindResponse))
		}
		if operation == searchRequest {
			special(conn, id)
		}
	}
}

// TestFaults: whatever a server does, a sign-in ends as one that could not be asked about, and nothing is believed.
func TestFaults(t *testing.T) {
	t.Parallel()
	credentials := auth.Credentials{Username: "ada", Password: "x"}
	control := backend(t, patient(t, misbehaving(t, wellBehaved(func(conn net.Conn, id int64) {
		_, _ = conn.Write(append(entryOf(id, "uid=ada,dc=x", "ada"), result(id, searchDone)...))
	}))))
	if user, err := control.Authenticate(t.Context(), credentials); err != nil || user.Name != "ada" {
		t.Fatalf("the control: got %+v, %v, want ada", user, err)
	}
	flood := func(conn net.Conn, data []byte) {
		// It ends when the client closes the connection.
		for {
			if _, err := conn.Write(data); err != nil {
				return
			}
		}
	}
	search := func(special func(conn net.Conn, id int64)) func(net.Conn, int64, ber.Tag) {
		return wellBehaved(special)
	}
	for name, tc := range map[string]struct {
		reply    func(net.Conn, int64, ber.Tag)
		startTLS bool
	}{
		"silent":                {reply: func(net.Conn, int64, ber.Tag) {}},
		"silent after the bind": {reply: search(func(net.Conn, int64) {})},
		"goes away":             {reply: func(conn net.Conn, _ int64, _ ber.Tag) { _ = conn.Close() }},
		"goes away in a search": {reply: search(func(conn net.Conn, _ int64) { _ = conn.Close() })},
		"no LDAP":               {reply: func(conn net.Conn, _ int64, _ ber.Tag) { _, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }},
		"silent StartTLS":       {reply: func(net.Conn, int64, ber.Tag) {}, startTLS: true},
		"silent handshake": {startTLS: true, reply: func(conn net.Conn, id int64, operation ber.Tag) {
			if operation == extendedRequest {
				_, _ = conn.Write(result(id, extendedResponse))
			}
		}},
		"no StartTLS": {startTLS: true, reply: func(conn net.Conn, id int64, _ ber.Tag) {
			_, _ = conn.Write(message(id, extendedResponse, tlv(tagEnum, []byte{2}), tlv(tagOctets), tlv(tagOctets, []byte("no"))))
		}},
		"a bind's answer in clear after StartTLS": {startTLS: true, reply: func(conn net.Conn, id int64, _ ber.Tag) {
			_, _ = conn.Write(append(result(id, extendedResponse), result(id+1, bindResponse)...))
		}},
		"answers to another question, endlessly": {reply: search(func(conn net.Conn, id int64) { flood(conn, entryOf(id+100, "uid=ada,dc=x", "ada")) })},
		"drops":                                  {reply: search(func(conn net.Conn, _ int64) { trickle(conn) })},
		"a giant message": {reply: search(func(conn net.Conn, _ int64) {
			_, _ = conn.Write([]byte{tagSequence, 0x84, 0x7f, 0xff, 0xff, 0xff})
			flood(conn, make([]byte, 1<<16))
		})},
		"a giant element": {reply: search(func(conn net.Conn, id int64) {
			// Its length is beyond the message that it is in.
			text := message(id, searchEntry, []byte{tagOctets, 0x84, 0x7f, 0xff, 0xff, 0xff, 'x'})
			_, _ = conn.Write(text)
			flood(conn, make([]byte, 1<<16))
		})},
		"indefinite lengths": {reply: search(func(conn net.Conn, _ int64) { flood(conn, []byte{tagSequence, 0x80}) })},
		"nested deeply": {reply: search(func(conn net.Conn, id int64) {
			text := tlv(tagOctets)
			for range 10_000 {
				text = tlv(tagSequence, text)
			}
			_, _ = conn.Write(message(id, searchEntry, text))
		})},
		"a million elements": {reply: search(func(conn net.Conn, id int64) {
			_, _ = conn.Write(message(id, searchEntry, tlv(tagOctets), []byte(strings.Repeat("\x04\x00", 1_000_000))))
		})},
		"an entry that is none":  {reply: search(func(conn net.Conn, id int64) { _, _ = conn.Write(message(id, searchEntry)) })},
		"a result that is none":  {reply: search(func(conn net.Conn, id int64) { _, _ = conn.Write(message(id, searchDone)) })},
		"a control that is none": {reply: func(conn net.Conn, id int64, _ ber.Tag) { _, _ = conn.Write(withControl(id)) }},
		"refers to another": {reply: search(func(conn net.Conn, id int64) {
			_, _ = conn.Write(message(id, searchDone, tlv(tagEnum, []byte{10}), tlv(tagOctets), tlv(tagOctets), tlv(0xa3, tlv(tagOctets, []byte("ldap://127.0.0.1:1/")))))
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := impatient(t, misbehaving(t, tc.reply))
			o.StartTLS = tc.startTLS
			user, err := backend(t, o).Authenticate(t.Context(), credentials)
			if !errors.Is(err, auth.ErrUnavailable) || user.Name != "" {
				t.Errorf("got %q, %v, want ErrUnavailable", user.Name, err)
			}
		})
	}
}

// TestBindsThatAreRefused: a result that is about the person is a refusal as a wrong password is; one about the server is none.
func TestBindsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code byte
		want error
	}{
		"success (the control)":             {0, nil},
		"invalid credentials":               {49, auth.ErrInvalid},
		"constraint violation: locked":      {19, auth.ErrInvalid},
		"insufficient access":               {50, auth.ErrInvalid},
		"unwilling to perform: inactivated": {53, auth.ErrInvalid},
		"no such object":                    {32, auth.ErrInvalid},
		"inappropriate authentication":      {48, auth.ErrInvalid},
		"busy":                              {51, auth.ErrUnavailable},
		"unavailable":                       {52, auth.ErrUnavailable},
		"confidentiality required: no TLS":  {13, auth.ErrUnavailable},
		"other":                             {80, auth.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found atomic.Bool // the bind after the search is the person's
			server := misbehaving(t, func(conn net.Conn, id int64, operation ber.Tag) {
				switch {
				case operation == searchRequest && !found.Swap(true):
					_, _ = conn.Write(append(entryOf(id, "uid=ada,dc=x", "ada"), result(id, searchDone)...))
				case operation == searchRequest: // for groups
					_, _ = conn.Write(result(id, searchDone))
				case operation == bindRequest && found.Load():
					_, _ = conn.Write(message(id, bindResponse, tlv(tagEnum, []byte{tc.code}), tlv(tagOctets), tlv(tagOctets)))
				case operation == bindRequest:
					_, _ = conn.Write(result(id, bindResponse))
				}
			})
			user, err := backend(t, patient(t, server)).Authenticate(t.Context(), auth.Credentials{Username: "ada", Password: "x"})
			if !errors.Is(err, tc.want) || (err == nil) != (user.Name == "ada") {
				t.Errorf("got %q, %v, want %v", user.Name, err, tc.want)
			}
		})
	}
}

// TestMoreEntriesThanAskedFor: a server that gives entries without end is cut off, and the person is not one of several.
func TestMoreEntriesThanAskedFor(t *testing.T) {
	t.Parallel()
	server := misbehaving(t, wellBehaved(func(conn net.Conn, id int64) {
		for {
			if _, err := conn.Write(entryOf(id, "uid=ada,dc=x", "ada")); err != nil {
				return
			}
		}
	}))
	if user, err := backend(t, patient(t, server)).Authenticate(t.Context(), auth.Credentials{Username: "ada", Password: "x"}); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("got %q, %v, want ErrInvalid", user.Name, err)
	}
}

// TestAnEntryOfAnotherName: an entry that the directory gives for a name that it does not have is nobody's.
func TestAnEntryOfAnotherName(t *testing.T) {
	t.Parallel()
	server := misbehaving(t, wellBehaved(func(conn net.Conn, id int64) {
		_, _ = conn.Write(append(entryOf(id, "uid=root,dc=x", "root"), result(id, searchDone)...))
	}))
	b := backend(t, patient(t, server))
	if user, err := b.Authenticate(t.Context(), auth.Credentials{Username: "ada", Password: "x"}); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("got %q, %v, want ErrInvalid", user.Name, err)
	}
	if user, err := b.Authenticate(t.Context(), auth.Credentials{Username: "root", Password: "x"}); err != nil || user.Name != "root" {
		t.Errorf("by its own name: got %q, %v, want root", user.Name, err)
	}
}

// TestCallersWhoLeave: nothing is waited for in the name of somebody who left.
func TestCallersWhoLeave(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	o := patient(t, misbehaving(t, wellBehaved(func(net.Conn, int64) { asked <- struct{}{} })))
	o.Timeout = time.Hour
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-asked
		leave()
	}()
	if _, err := backend(t, o).Authenticate(ctx, auth.Credentials{Username: "ada", Password: "x"}); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

// withControl is a bind's answer with a password policy control whose value is cut short.
func withControl(id int64) []byte {
	return tlv(tagSequence, tlv(tagInteger, binary.BigEndian.AppendUint32(nil, uint32(id))),
		tlv(classApplicationConstructed|bindResponse, tlv(tagEnum, []byte{0}), tlv(tagOctets), tlv(tagOctets)),
		tlv(0xa0, tlv(tagSequence, tlv(tagOctets, []byte("1.3.6.1.4.1.42.2.27.8.5.1")), tlv(tagOctets, []byte{0x30, 0x50}))))
}

// trickle sends a byte of an answer now and then, so that no read ever waits for long.
func trickle(conn net.Conn) {
	head := append([]byte{tagSequence, 0x83, 0x0f, 0xff, 0xff}, make([]byte, 1000)...)
	for i := range head {
		if _, err := conn.Write(head[i : i+1]); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
