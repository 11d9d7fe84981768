package ldap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

// The most that a directory may send. go-ldap's reader believes every length that it is told and keeps some hundred bytes
// for each element, so that messages are looked at here before it sees them. 5,000 groups with long names are within.
const (
	largestMessage   = 2 << 20 // bytes
	largestAnswer    = 8 << 20 // bytes of all messages that answer one question
	mostElements     = 200_000 // of all messages that answer one question
	deepestNesting   = 16      // a search result has 7 levels, with controls
	universalSeq     = 0x30    // the tag of every LDAP message, RFC 4511, section 4.1.1
	longestLengthLen = 4       // bytes of a length in its long form
)

var errTooMuch = errors.New("the server sent more than is read of one answer")

// frames lets whole and well-formed LDAP messages through, and no more of them than one answer may have.
type frames struct {
	net.Conn
	message []byte // what is left of the message that is being read
	// bytes and elements are what may still come before the next allow.
	bytes, elements atomic.Int64
}

func newFrames(conn net.Conn) *frames {
	f := &frames{Conn: conn}
	f.allow()
	return f
}

// allow begins a new question.
func (f *frames) allow() {
	f.bytes.Store(largestAnswer)
	f.elements.Store(mostElements)
}

// Read gives bytes of messages that were checked as a whole. It is called by go-ldap's one reader.
func (f *frames) Read(p []byte) (int, error) {
	if len(f.message) == 0 {
		message, err := readMessage(f.Conn)
		if err != nil {
			return 0, err
		}
		elements, err := countElements(message, 0)
		if err != nil {
			return 0, err
		}
		if f.bytes.Add(-int64(len(message))) < 0 || f.elements.Add(-int64(elements)) < 0 {
			return 0, errTooMuch
		}
		f.message = message
	}
	n := copy(p, f.message)
	f.message = f.message[n:]
	return n, nil
}

// readMessage reads one message and not a byte of what follows.
func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, 2, 2+longestLengthLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if head[0] != universalSeq {
		return nil, fmt.Errorf("the server's answer begins with byte 0x%02x: it is no LDAP message", head[0])
	}
	if more := int(head[1] & 0x7f); head[1] > 0x80 && more <= longestLengthLen {
		head = head[:2+more]
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, err
		}
	}
	length, _, err := lengthOf(head[1:])
	if err != nil {
		return nil, err
	}
	if length > largestMessage {
		return nil, fmt.Errorf("the server announced a message of %d bytes: %d are read", length, largestMessage)
	}
	message := make([]byte, len(head)+length)
	copy(message, head)
	_, err = io.ReadFull(r, message[len(head):])
	return message, err
}

// lengthOf reads a length in its definite forms (RFC 4511, section 5.1 allows no other) and says how many bytes it took.
func lengthOf(data []byte) (length, size int, err error) {
	if len(data) == 0 {
		return 0, 0, errMalformed
	}
	if data[0] < 0x80 {
		return int(data[0]), 1, nil
	}
	more := int(data[0] & 0x7f)
	if more == 0 || more > longestLengthLen || len(data) < 1+more {
		return 0, 0, errMalformed
	}
	var wide [8]byte
	copy(wide[8-more:], data[1:1+more])
	value := binary.BigEndian.Uint64(wide[:])
	return int(value), 1 + more, nil //nolint:gosec // four bytes at most
}

var errMalformed = errors.New("the server's answer is no well-formed LDAP message")

// countElements walks through what the parser would build, and refuses lengths beyond what encloses them.
func countElements(data []byte, depth int) (int, error) {
	if depth > deepestNesting {
		return 0, errMalformed
	}
	count := 0
	for len(data) > 0 {
		tag := data[0]
		if tag&0x1f == 0x1f {
			return 0, errMalformed // a tag of several bytes, which LDAP has none of
		}
		length, size, err := lengthOf(data[1:])
		if err != nil {
			return 0, err
		}
		data = data[1+size:]
		if length > len(data) {
			return 0, errMalformed
		}
		count++
		if constructed := tag&0x20 != 0; constructed {
			inner, err := countElements(data[:length], depth+1)
			if err != nil {
				return 0, err
			}
			count += inner
		}
		data = data[length:]
	}
	return count, nil
}
