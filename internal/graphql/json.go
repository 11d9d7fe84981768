package graphql

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxValues bounds how often a value may begin in one JSON text. A value takes a byte or two on the wire and some forty
// in memory once arguments are decoded; ten bytes a value, as a body of 10 MiB with that many has, are few for a real one.
// An object is a map then, of about 400 bytes: it counts as objectValues more.
const (
	maxValues    = 1_000_000
	objectValues = 9
)

// checkJSON accepts only text that every JSON reader understands alike. encoding/json alone does not: it takes the last
// of two equal keys, and puts U+FFFD in the place of broken UTF-8 and of lone surrogates, which Python keeps.
func checkJSON(data []byte, maxDepth int) error {
	if !utf8.Valid(data) {
		return badRequest("the request is not valid UTF-8")
	}
	// A byte order mark, NaN, comments and anything after the value are not valid either.
	if !json.Valid(data) {
		return badRequest("the request is not valid JSON")
	}
	return checkTokens(data, maxDepth)
}

// checkTokens reads JSON that is known to be valid, so that brackets and strings can be taken for closed.
func checkTokens(data []byte, maxDepth int) error {
	var open []jsonContainer
	atKey, values := false, 1
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '{', '[':
			if len(open) == maxDepth {
				return badRequest("the JSON is nested more than %d levels deep", maxDepth)
			}
			atKey = c == '{'
			open = push(open, atKey)
			values++
			if atKey {
				values += objectValues
			}
		case '}', ']':
			open, atKey = open[:len(open)-1], false
		case ',':
			atKey = open[len(open)-1].object
			values++
		case '"':
			text := data[i : i+stringLength(data[i:])]
			i += len(text) - 1
			if loneSurrogate(text) {
				return badRequest("a string holds half of a surrogate pair")
			}
			if atKey && !open[len(open)-1].add(text) {
				return badRequest("an object has the same key twice")
			}
			atKey = false
		}
	}
	if values > maxValues {
		return badRequest("the JSON has more than %d values", maxValues)
	}
	return nil
}

// jsonContainer is an object or array that is open where checkJSON reads. keys is made when an object has grown past
// the few keys for which a list is quicker.
type jsonContainer struct {
	object bool
	few    [][]byte
	keys   map[string]struct{}
}

const fewKeys = 8

// push opens a container in the place that an earlier one left, whose list of keys is used again.
func push(open []jsonContainer, object bool) []jsonContainer {
	if len(open) == cap(open) {
		return append(open, jsonContainer{object: object})
	}
	open = open[:len(open)+1]
	top := &open[len(open)-1]
	top.object, top.few, top.keys = object, top.few[:0], nil
	return open
}

// add notes a key, given as its JSON text, and reports whether it is new. Spellings such as "\u0071uery" are one key.
func (c *jsonContainer) add(text []byte) bool {
	key := plainKey(text)
	if c.keys != nil {
		before := len(c.keys)
		c.keys[string(key)] = struct{}{}
		return len(c.keys) > before
	}
	if slices.ContainsFunc(c.few, func(k []byte) bool { return bytes.Equal(k, key) }) {
		return false
	}
	if c.few = append(c.few, key); len(c.few) == fewKeys {
		c.keys = make(map[string]struct{}, 2*fewKeys)
		for _, k := range c.few {
			c.keys[string(k)] = struct{}{}
		}
	}
	return true
}

// plainKey is what the JSON text of a key says.
func plainKey(text []byte) []byte {
	key := text[1 : len(text)-1]
	if bytes.IndexByte(key, '\\') < 0 {
		return key
	}
	plain, _ := jsonString(text)
	return []byte(plain)
}

// stringLength is the length of the string literal, quotes included, at the start of text that is known to be whole.
func stringLength(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// loneSurrogate reports whether a string literal, of JSON or GraphQL, has a \uD800 to \uDFFF that is not half of a pair.
func loneSurrogate[T []byte | string](literal T) bool {
	for i := 0; i < len(literal); i++ {
		if literal[i] != '\\' {
			continue
		}
		first, ok := escapedUnit(literal[i:])
		if !ok || !utf16.IsSurrogate(first) {
			i++ // whatever was escaped, it is not the start of another escape
			continue
		}
		second, ok := escapedUnit(literal[i+6:])
		if !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		i += 11
	}
	return false
}

// escapedUnit reads the \uXXXX at the start of text.
func escapedUnit[T []byte | string](text T) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(unit), err == nil
}

// readObject reads a JSON object whose keys are those of Dagster, compared as Python compares them. A key that differs
// from one of them in case only is refused: no honest client sends it, and readers without case would take it.
func readObject(data []byte, maxDepth int, known ...string) (map[string]json.RawMessage, error) {
	if err := checkJSON(data, maxDepth); err != nil {
		return nil, err
	}
	fields := fieldsOf(data)
	if fields == nil {
		return nil, badRequest("the request must be a JSON object")
	}
	for key := range fields {
		for _, name := range known {
			if key != name && strings.EqualFold(key, name) {
				return nil, badRequest("write the key as %s", name)
			}
		}
	}
	return fields, nil
}

// fieldsOf are the parts of an object whose text went through checkJSON, so that it need not be read a third and a fourth time;
// nil: it is no object.
func fieldsOf(data []byte) map[string]json.RawMessage {
	const space = " \t\r\n"
	rest := bytes.TrimLeft(data, space)
	if rest[0] != '{' {
		return nil
	}
	fields := make(map[string]json.RawMessage, 3) // a query has no more
	rest = bytes.TrimLeft(rest[1:], space)
	for rest[0] != '}' {
		name := rest[:stringLength(rest)]
		key := string(plainKey(name))
		rest = bytes.TrimLeft(rest[len(name):], space)
		rest = bytes.TrimLeft(rest[1:], space) // the colon
		value := rest[:valueLength(rest)]
		fields[key] = value
		rest = bytes.TrimLeft(rest[len(value):], space)
		if rest[0] == ',' {
			rest = bytes.TrimLeft(rest[1:], space)
		}
	}
	return fields
}

// valueLength is the length of the value at the start of text that is known to be whole.
func valueLength(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringLength(text[i:]) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth == 0 {
				return i + scalarLength(text[i:])
			}
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(text)
}

// scalarLength is the length of a number, true, false or null.
func scalarLength(text []byte) int {
	if end := bytes.IndexAny(text, ",]} \t\r\n"); end >= 0 {
		return end
	}
	return len(text)
}

// jsonString is the value of a JSON string, and false for every other kind of value.
func jsonString(raw []byte) (string, bool) {
	var text string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

// encodeJSON writes a value of ours. Its parts are strings and checked JSON, so that it can't fail.
func encodeJSON(v any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return []byte("null")
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
