package ldap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/google/go-cmp/cmp"
)

func TestNormalGroup(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"cn=data admins,ou=groups,dc=example", "CN=Data Admins,OU=Groups,DC=Example", "cn = data admins , ou=groups, dc=example"},
		{`cn=a\,b,dc=x`, `CN=A\2CB,DC=X`, `cn=a\2cb,dc=x`},
		{`cn=x\2By,dc=x`, `cn=x\+y,dc=x`},
		{"cn=é,dc=x", `cn=\c3\a9,dc=x`, "CN=É,dc=x"},
		{"cn=a+uid=b,dc=x", "UID=B+CN=A,dc=x"},
		{"Data Admins", "data admins", " DATA ADMINS "},
	} {
		for _, other := range same[1:] {
			if got, want := normalGroup(other), normalGroup(same[0]); got != want {
				t.Errorf("%q is %q, want that of %q, %q", other, got, same[0], want)
			}
		}
	}
	for _, differ := range [][2]string{
		{"cn=admins,ou=groups,dc=x", "cn=admins,ou=other,dc=x"},
		{`cn=admins\,ou\=groups,dc=x`, "cn=admins,ou=groups,dc=x"},
		{"cn=admins,dc=x", "cn=admins"},
		{"admins", "cn=admins"},
		{`cn=a\+uid\=b,dc=x`, "cn=a+uid=b,dc=x"},
	} {
		if normalGroup(differ[0]) == normalGroup(differ[1]) {
			t.Errorf("%q and %q are one group", differ[0], differ[1])
		}
	}
}

// TestGroupNames: a name that could be taken for something else is none.
func TestGroupNames(t *testing.T) {
	t.Parallel()
	for dn, want := range map[string][]string{
		"cn=admins,dc=x":               {"cn=admins,dc=x", "admins"},
		"CN=Admins ,DC=x":              {"CN=Admins ,DC=x", "Admins"},
		"ou=admins,dc=x":               {"ou=admins,dc=x"},
		`cn=dagsterRole\=admin,dc=x`:   {`cn=dagsterRole\=admin,dc=x`},
		`cn=cn\=admins\,dc\=x,ou=evil`: {`cn=cn\=admins\,dc\=x,ou=evil`},
		"no DN":                        nil,
		"":                             nil,
		"cn=a\nb,dc=x":                 nil,
		"cn=\xff,dc=x":                 nil,
		"cn=" + strings.Repeat("x", longestGroup) + ",dc=x": nil,
	} {
		var g groups
		g.add(dn)
		g.add(dn)
		if got := g.all(); !cmp.Equal(got, want) && len(got)+len(want) > 0 {
			t.Errorf("%.60q: got %q, want %q", dn, got, want)
		}
	}
}

// TestGUID uses the example of Microsoft's "[MS-DTYP] 2.3.4.3": the curly braced form and the bytes.
func TestGUID(t *testing.T) {
	t.Parallel()
	raw := []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	text, err := guidText(raw)
	if err != nil || text != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("got %q, %v", text, err)
	}
	if back, err := guidBytes(text); err != nil || !bytes.Equal(back, raw) {
		t.Errorf("got %x, %v, want %x", back, err, raw)
	}
	for _, bad := range []string{"", "*", "00112233-4455-6677-8899-aabbccddee", "00112233-4455-6677-8899-aabbccddeefg", strings.Repeat("00", 17)} {
		if _, err := guidBytes(bad); err == nil {
			t.Errorf("%q is taken for a GUID", bad)
		}
	}
	if _, err := guidText(raw[:15]); err == nil {
		t.Error("15 bytes are taken for a GUID")
	}
}

func TestDataOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 773, v1db1": "773",
		"80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52E, v1db1": "52e",
		"AcceptSecurityContext error, data 0533, v1db1":                                           "533",
		"metadata 773": "", "data xyz": "", "": "",
	} {
		if got := dataOf(textError(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

type textError string

func (e textError) Error() string { return string(e) }

// FuzzFrames: what is let through is a whole message that go-ldap's parser reads to its end, without a panic.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Add([]byte(startTLS))
	f.Add([]byte("\x30\x84\x7f\xff\xff\xff"))
	f.Add([]byte("\x30\x80\x00\x00"))
	f.Add([]byte("\x30\x06\x04\x84\x7f\xff\xff\xff"))
	f.Add([]byte("\x30\x04\x30\x02\x1f\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		message, err := readMessage(r)
		if err != nil {
			return
		}
		if len(message)+r.Len() != len(data) || !bytes.HasPrefix(data, message) {
			t.Fatalf("read %d bytes and left %d of %d", len(message), r.Len(), len(data))
		}
		elements, err := countElements(message, 0)
		if err != nil {
			return
		}
		rest := bytes.NewReader(message)
		packet, err := ber.ReadPacket(rest)
		if err != nil {
			return // a value of a type that has rules of its own
		}
		if rest.Len() > 0 {
			t.Fatalf("the parser left %d bytes of a message", rest.Len())
		}
		if got := packets(packet); got != elements {
			t.Fatalf("counted %d elements, the parser made %d", elements, got)
		}
	})
}

func packets(p *ber.Packet) int {
	n := 1
	for _, child := range p.Children {
		n += packets(child)
	}
	return n
}

// TestReadMessageTakesNoMore: what follows the answer to StartTLS stays for the handshake, which fails on it.
func TestReadMessageTakesNoMore(t *testing.T) {
	t.Parallel()
	r := strings.NewReader(startTLS + "rest")
	if message, err := readMessage(r); err != nil || string(message) != startTLS {
		t.Fatalf("got %q, %v, want the message", message, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("left %q, want the rest", rest)
	}
}

// wire is a connection that has some text to read, again and again.
type wire struct {
	net.Conn
	text string
	at   int
	read int // bytes in all
}

func (w *wire) Read(p []byte) (int, error) {
	n := copy(p, w.text[w.at:])
	w.at = (w.at + n) % len(w.text)
	w.read += n
	return n, nil
}

// TestWhatIsReadOfOneAnswer: neither long messages nor many are read without end, and the next question begins anew.
func TestWhatIsReadOfOneAnswer(t *testing.T) {
	t.Parallel()
	entry := func(content string) string {
		return "\x30\x84" + string(binary.BigEndian.AppendUint32(nil, uint32(len(content)))) + content //nolint:gosec // It is short.
	}
	for name, tc := range map[string]struct {
		text  string
		bytes int // that may be read at most
	}{
		"short messages":          {"\x30\x03\x02\x01\x01", 5 * mostElements},
		"long messages":           {entry("\x04\x83\x0f\xff\xfa" + strings.Repeat("x", 0xffffa)), largestAnswer + 1<<20 + 16},
		"many elements":           {entry(strings.Repeat("\x04\x00", 100_000)), 3 * 200_006},
		"a message that is giant": {"\x30\x84\x7f\xff\xff\xff", 6},
		"a length that overflows": {"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff", 2},
		"deep":                    {entry(nest(100)), 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{text: tc.text}
			f := newFrames(w)
			n, err := io.Copy(io.Discard, f)
			if err == nil || w.read > tc.bytes || int(n) > w.read {
				t.Errorf("got %v after %d bytes, want an error after %d at most", err, w.read, tc.bytes)
			}
			if !errors.Is(err, errTooMuch) {
				return
			}
			*w = wire{text: tc.text}
			if _, err := io.ReadFull(f, make([]byte, 1)); err == nil {
				t.Error("another message is read after too much")
			}
			*w = wire{text: tc.text}
			f.allow()
			if _, err := io.ReadFull(f, make([]byte, 1)); err != nil {
				t.Errorf("after the next question: got %v, want to read", err)
			}
		})
	}
}

func nest(depth int) string {
	text := ""
	for range depth {
		text = "\x30\x82" + string(binary.BigEndian.AppendUint16(nil, uint16(len(text)))) + text //nolint:gosec // It is short.
	}
	return text
}
