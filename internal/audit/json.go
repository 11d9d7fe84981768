package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// signInShape is the original's LOGIN_ATTEMPT, keys in its order, and serves every type but the accesses.
type signInShape struct {
	EventType string   `json:"event_type"`
	Username  string   `json:"username"`
	Status    string   `json:"status,omitempty"`
	IP        string   `json:"ip,omitempty"`
	Timestamp string   `json:"timestamp,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Action    string   `json:"action,omitempty"`
	Resource  string   `json:"resource,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	RequestID string   `json:"request_id,omitempty"`
	added
}

// accessShape is the original's ACCESS_CONTROL, keys in its order.
type accessShape struct {
	EventType string   `json:"event_type"`
	Username  string   `json:"username"`
	Action    string   `json:"action,omitempty"`
	Resource  string   `json:"resource,omitempty"`
	Status    string   `json:"status,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	RequestID string   `json:"request_id,omitempty"`
	IP        string   `json:"ip,omitempty"`
	Timestamp string   `json:"timestamp,omitempty"`
	added
}

// added are the keys that the original did not have, in both shapes.
type added struct {
	PerformedBy   string   `json:"performed_by,omitempty"`
	Identity      string   `json:"identity,omitempty"`
	Session       string   `json:"session,omitempty"`
	Token         string   `json:"token,omitempty"`
	TokenName     string   `json:"token_name,omitempty"`
	Mutations     []string `json:"mutations,omitempty"`
	OperationName string   `json:"operation_name,omitempty"`
	Outcome       string   `json:"outcome,omitempty"`
}

// MarshalJSON writes the event in the original's key order, the added keys after, the targets last and in the order of
// their names. The timestamp is UTC in RFC 3339 to the second, as the original's documentation shows it; order within a
// second is the order of the lines. No character that a terminal or a log collector would act on (controls, line
// separators, marks that turn the direction of text) leaves unescaped, and decoding gives them all back.
func (e Event) MarshalJSON() ([]byte, error) {
	e = e.Clean()
	head, err := encode(e.shape())
	if err != nil {
		return nil, fmt.Errorf("encode audit event: %w", err)
	}
	if len(e.Targets) > 0 {
		targets, err := encode(e.Targets) // encoding/json sorts the keys of a map
		if err != nil {
			return nil, fmt.Errorf("encode targets of audit event: %w", err)
		}
		head = append(head[:len(head)-1], ',')
		head = append(head, targets[1:]...)
	}
	return escapeInvisible(head), nil
}

func (e Event) shape() any {
	more := added{
		PerformedBy: e.PerformedBy, Identity: e.Identity, Session: e.Session, Token: e.Token, TokenName: e.TokenName,
		Mutations: e.Mutations, OperationName: e.OperationName, Outcome: e.Outcome,
	}
	timestamp := ""
	if !e.Timestamp.IsZero() {
		timestamp = e.Timestamp.UTC().Format(time.RFC3339)
	}
	if e.Type == EventAccessControl || e.Type == EventAccessOutcome {
		return accessShape{
			EventType: e.Type, Username: e.Username, Action: e.Action, Resource: e.Resource, Status: e.Status, Roles: e.Roles,
			Reason: e.Reason, RequestID: e.RequestID, IP: e.IP, Timestamp: timestamp, added: more,
		}
	}
	return signInShape{
		EventType: e.Type, Username: e.Username, Status: e.Status, IP: e.IP, Timestamp: timestamp, Reason: e.Reason,
		Action: e.Action, Resource: e.Resource, Roles: e.Roles, RequestID: e.RequestID, added: more,
	}
}

// encode leaves <, > and & as they are, which json.Marshal would not: people search these lines for paths and queries.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte{'\n'}), nil
}

// escapeInvisible escapes what encoding/json leaves as it is: DEL, the C1 controls (U+0085 is a line break to some,
// U+009B starts a terminal's command) and format characters. Outside strings, JSON has none of them.
func escapeInvisible(text []byte) []byte {
	if !bytes.ContainsFunc(text, invisible) {
		return text
	}
	escaped := make([]byte, 0, len(text)+32)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case !invisible(r):
			escaped = append(escaped, text[:size]...)
		case r > 0xFFFF:
			r -= 0x10000
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, 0xD800+(r>>10), 0xDC00+(r&0x3FF)) // RFC 8259, section 7
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
		text = text[size:]
	}
	return escaped
}

func invisible(r rune) bool {
	return r >= 0x7F && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}
