package graphql

import (
	"bytes"
	"encoding/json"
	"strings"
)

// member is a key of an object and its value, as they came.
type member struct {
	key   string
	value json.RawMessage
}

// readMembers reads an object, in its order and with keys that are there twice.
func readMembers(raw []byte) ([]member, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errAnswerShape
	}
	var all []member
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, errAnswerSyntax
		}
		m := member{key: key.(string)} // the decoder takes nothing else for a key
		if err := decoder.Decode(&m.value); err != nil {
			return nil, errAnswerSyntax
		}
		all = append(all, m)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errAnswerSyntax
	}
	return all, nil
}

func writeMembers(all []member) []byte {
	var object []byte
	for _, m := range all {
		object = appendMember(object, encodeJSON(m.key), m.value)
	}
	if object == nil {
		return []byte("{}")
	}
	return append(object, '}')
}

// appendMember adds to an object that is not closed. The key is JSON text.
func appendMember(object, key, value []byte) []byte {
	if len(object) == 0 {
		object = append(object, '{')
	} else {
		object = append(object, ',')
	}
	object = append(object, key...)
	object = append(object, ':')
	return append(object, value...)
}

// readElements is nil for null, which stands for a list that Dagster could not make.
func readElements(raw []byte) ([]json.RawMessage, error) {
	if !json.Valid(raw) {
		return nil, errAnswerSyntax
	}
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		return nil, errAnswerShape
	}
	return elements, nil
}

func writeElements(elements []json.RawMessage) []byte {
	out := append([]byte{'['}, bytes.Join(asBytes(elements), []byte{','})...)
	return append(out, ']')
}

func asBytes(elements []json.RawMessage) [][]byte {
	all := make([][]byte, len(elements))
	for i, e := range elements {
		all[i] = e
	}
	return all
}

func isNull(raw []byte) bool { return string(raw) == "null" }

// list rewrites a list of permissions.
func (w *answerWriter) list(e *entry, raw []byte) ([]byte, error) {
	elements, err := readElements(raw)
	if err != nil || elements == nil {
		return raw, err
	}
	for i, element := range elements {
		if isNull(element) {
			continue
		}
		if elements[i], err = w.permission(e, element); err != nil {
			return nil, err
		}
	}
	return writeElements(elements), nil
}

// permission rewrites a Permission object. What Dagster itself denies stays as Dagster put it.
func (w *answerWriter) permission(e *entry, raw []byte) ([]byte, error) {
	all, err := readMembers(raw)
	if err != nil {
		return nil, err
	}
	name, named, already := "", e.rule.Unnamed, false
	kept := make([]member, 0, len(all))
	for _, m := range all {
		switch e.elements[m.key] {
		case permissionName:
			if text, ok := jsonString(m.value); ok {
				name, named = text, true
			}
		case permissionValue:
			already = already || string(m.value) == "false"
		}
		if _, ours := w.added[m.key]; !ours {
			kept = append(kept, m)
		}
	}
	if !named {
		return nil, errAnswerShape
	}
	if v := w.ask(name); !v.allowed && !already {
		return w.deny(e, kept, v.reason)
	}
	return writeMembers(kept), nil
}

func (w *answerWriter) deny(e *entry, all []member, reason string) ([]byte, error) {
	for i, m := range all {
		switch e.elements[m.key] {
		case permissionValue:
			if string(m.value) != "true" && !isNull(m.value) {
				return nil, errAnswerShape
			}
			if !isNull(m.value) {
				all[i].value = denied
			}
		case permissionReason:
			if isNull(m.value) && reason != "" {
				all[i].value = encodeJSON(reason)
			}
		}
	}
	return writeMembers(all), nil
}

// errors takes what AuthKit asked for out of the paths of errors. An error that can't have touched what the client asked
// for goes; of others the path ends before ours. The key, which stands before, goes with the last error.
func (w *answerWriter) errors(i int, key, raw []byte) error {
	top := w.top()
	before := w.holding(i)
	before = before[:len(before)-len(raw)]
	if top.kept {
		key = before
	}
	elements, err := readElements(raw)
	if err != nil {
		return err
	}
	var kept []json.RawMessage
	for _, element := range elements {
		clean, err := w.cleanError(element)
		if err != nil {
			return err
		}
		if clean != nil {
			kept = append(kept, clean)
		}
	}
	switch {
	case len(kept) == 0 && len(elements) > 0:
		w.replace(i, nil)
		return nil
	case elements == nil:
		w.replace(i, append(bytes.Clone(key), raw...))
	default:
		w.replace(i, append(bytes.Clone(key), writeElements(kept)...))
	}
	top.kept = true
	return nil
}

// cleanError is nil for an error that goes.
func (w *answerWriter) cleanError(raw json.RawMessage) (json.RawMessage, error) {
	all, err := readMembers(raw)
	if err != nil {
		return nil, err
	}
	for i, m := range all {
		var path []json.RawMessage
		if m.key != "path" || json.Unmarshal(m.value, &path) != nil {
			continue
		}
		for at, step := range path {
			name, _ := jsonString(step)
			added, ours := w.added[name]
			if !ours || !strings.HasPrefix(name, addedPrefix) {
				continue
			}
			if added.contained {
				return nil, nil
			}
			all[i].value = writeElements(path[:at])
			return writeMembers(all), nil
		}
	}
	return raw, nil
}
