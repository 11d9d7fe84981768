package graphql

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// maxHeld bounds what of an answer is held back until it is whole: a list of permissions, a place, the errors.
	maxHeld = 4 << 20
	// maxAnswerDepth is what encoding/json reads. Raw JSON in an answer can be deeper than any selection.
	maxAnswerDepth = 10_000
	// maxVerdicts bounds the answers of the judge that are kept: an asset graph asks the same for each of its assets.
	maxVerdicts = 1024
)

var (
	errAnswerSyntax = errors.New("the answer is not valid JSON")
	errAnswerShape  = errors.New("the answer is not what the document asks for")
)

// denied is what true becomes.
var denied = []byte("false")

// expectation is what may come next between two tokens.
type expectation int

const (
	expectValue expectation = iota
	expectElementOrEnd
	expectKeyOrEnd
	expectKey
	expectColon
	expectCommaOrEnd
	expectNothing
)

// token is what the last Write may have ended in.
type token int

const (
	noToken token = iota
	keyToken
	stringToken
	literalToken
)

// answerWriter is a JSON reader that is pushed. It passes on what it reads byte for byte, but for the values that the plan
// names. What can't be passed on yet is undecided: it is held while more of it has to come.
type answerWriter struct {
	out   *bufio.Writer
	judge Judge
	added map[string]addedField
	err   error

	in        []byte // what Write was given
	start     int    // in[start:] was not passed on
	undecided bool
	mark      int    // in[mark:] is undecided, after what is held
	held      []byte // undecided, from earlier Writes

	expect  expectation
	token   token
	escaped bool // the string's next byte stands after a backslash
	stack   []container

	next    *entry // for the value after the key that was read
	keyAt   int    // where the key starts in what is undecided
	whole   *entry // for the value that is being taken in as a whole
	depth   int    // where that value stands
	valueAt int    // where it starts in what is undecided

	verdicts map[string]verdict
	question []byte
}

type verdict struct {
	allowed bool
	reason  string
}

// container is an object or a list that is open.
type container struct {
	object bool
	kept   bool   // a key was passed on
	node   *node  // of an object
	entry  *entry // for the elements of a list
	place  []byte // what was noted of the object's place, an object that is not closed
	owner  int    // the place of raw JSON is that of the object around it
}

func newAnswerWriter(w io.Writer, r *Rewriting, judge Judge) *answerWriter {
	return &answerWriter{
		out: bufio.NewWriterSize(w, 32<<10), judge: judge, added: r.added, next: r.plan, verdicts: map[string]verdict{},
	}
}

// Write takes the next part of the answer.
func (w *answerWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		w.err = w.read(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// Close reports an answer that is not whole.
func (w *answerWriter) Close() error {
	if w.err == nil && (w.expect != expectNothing || w.token != noToken) {
		w.err = fmt.Errorf("the answer ends too early: %w", io.ErrUnexpectedEOF)
	}
	return w.err
}

func (w *answerWriter) read(p []byte) error {
	w.in, w.start, w.mark = p, 0, 0
	for i := 0; i < len(p); {
		var err error
		switch w.token {
		case keyToken, stringToken:
			i, err = w.readString(i)
		case literalToken:
			i, err = w.readLiteral(i)
		case noToken:
			i, err = w.readToken(i)
		}
		if err != nil {
			return err
		}
	}
	err := w.pass()
	w.in = nil
	return err
}

// pass hands on all that is decided.
func (w *answerWriter) pass() error {
	if w.undecided {
		w.emit(w.in[w.start:w.mark])
		w.held = append(w.held, w.in[w.mark:]...)
		if len(w.held) > maxHeld {
			return fmt.Errorf("a value of the answer is larger than %d bytes", maxHeld)
		}
	} else {
		w.emit(w.in[w.start:])
	}
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("pass on the answer: %w", err)
	}
	return nil
}

// emit leaves errors to the Flush that follows.
func (w *answerWriter) emit(b []byte) { _, _ = w.out.Write(b) }

// hold makes what comes from i on undecided, if it is not, and returns where that is in what is undecided.
func (w *answerWriter) hold(i int) int {
	if !w.undecided {
		w.undecided, w.mark = true, i
	}
	return len(w.held) + i - w.mark
}

// holding is all that is undecided, up to i.
func (w *answerWriter) holding(i int) []byte {
	if len(w.held) == 0 {
		return w.in[w.mark:i]
	}
	w.held = append(w.held, w.in[w.mark:i]...)
	w.mark, w.start = i, i
	return w.held
}

// keep passes on what is undecided, after holding.
func (w *answerWriter) keep() {
	if len(w.held) > 0 {
		w.emit(w.held)
	}
	w.undecided, w.held = false, w.held[:0]
}

// replace passes on something else, after holding.
func (w *answerWriter) replace(i int, by []byte) {
	w.emit(w.in[w.start:w.mark])
	w.emit(by)
	w.start, w.undecided, w.held = i, false, w.held[:0]
}

// readToken reads what starts at i.
func (w *answerWriter) readToken(i int) (int, error) {
	switch c := w.in[i]; c {
	case ' ', '\n', '\r', '\t':
		return i + 1, nil
	case '"':
		return i + 1, w.quote(i)
	case ':':
		if w.expect != expectColon {
			return i, errAnswerSyntax
		}
		w.expect = expectValue
		return i + 1, nil
	case ',':
		if end := w.skim(i); end > i {
			return end, nil
		}
		return i + 1, w.comma(i)
	case '{', '[':
		return w.open(i, c == '{')
	case '}', ']':
		return i + 1, w.close(i+1, c == '}')
	default:
		if !literalByte[c] {
			return i, errAnswerSyntax
		}
		w.token = literalToken
		_, err := w.value(i)
		return i + 1, err
	}
}

func (w *answerWriter) top() *container { return &w.stack[len(w.stack)-1] }

func (w *answerWriter) quote(i int) error {
	if w.expect == expectKey || w.expect == expectKeyOrEnd {
		w.token = keyToken
		if w.top().node != nil {
			w.keyAt = w.hold(i)
		}
		return nil
	}
	w.token = stringToken
	_, err := w.value(i)
	return err
}

// skim passes over what follows an earlier member, where nothing is in the way.
func (w *answerWriter) skim(i int) int {
	if w.expect != expectCommaOrEnd || w.undecided {
		return i
	}
	if top := w.top(); top.node != nil && top.kept {
		return top.node.skim(w.in, i)
	}
	return i
}

func (w *answerWriter) comma(i int) error {
	if w.expect != expectCommaOrEnd {
		return errAnswerSyntax
	}
	top := w.top()
	w.expect = expectValue
	if top.object {
		w.expect = expectKey
		if top.node != nil && top.node.drops {
			w.hold(i) // the key after it may go, and then the comma does
		}
	}
	return nil
}

// value starts the value at i and returns what becomes of what is in it.
func (w *answerWriter) value(i int) (*entry, error) {
	if w.expect != expectValue && w.expect != expectElementOrEnd {
		return nil, errAnswerSyntax
	}
	w.expect = expectCommaOrEnd
	e := w.next
	w.next = nil
	if len(w.stack) == 0 {
		w.expect = expectNothing
	} else if top := w.top(); !top.object {
		e = top.entry
	}
	if e == nil {
		return nil, nil
	}
	if e.kind == entryFlag && w.in[i] != 't' {
		e = e.node.rest
	}
	if e.kind.whole() {
		w.whole, w.depth, w.valueAt = e, len(w.stack), w.hold(i)
		return nil, nil
	}
	return e, nil
}

func (w *answerWriter) open(i int, object bool) (int, error) {
	if len(w.stack) == 0 && !object {
		return i, errAnswerShape
	}
	e, err := w.value(i)
	if err != nil {
		return i, err
	}
	if e == nil {
		if end := skimContainer(w.in, i); end > 0 {
			return end, w.end(end)
		}
	}
	if len(w.stack) == maxAnswerDepth {
		return i, fmt.Errorf("the answer is nested more than %d levels deep", maxAnswerDepth)
	}
	w.push(object, e)
	w.expect = expectElementOrEnd
	if object {
		w.expect = expectKeyOrEnd
	}
	return i + 1, nil
}

// push uses again what an earlier container of the same depth had for its place.
func (w *answerWriter) push(object bool, e *entry) {
	depth := len(w.stack)
	owner := depth
	if e != nil && e.kind == entryRaw {
		owner = w.top().owner
	}
	if depth == cap(w.stack) {
		w.stack = append(w.stack, container{})
	} else {
		w.stack = w.stack[:depth+1]
	}
	top := &w.stack[depth]
	*top = container{object: object, place: top.place[:0], owner: owner}
	if e == nil {
		return
	}
	if object {
		top.node = e.node
	} else {
		top.entry = e
	}
}

// close ends the container before i.
func (w *answerWriter) close(i int, object bool) error {
	if len(w.stack) == 0 || w.top().object != object {
		return errAnswerSyntax
	}
	first := expectElementOrEnd
	if object {
		first = expectKeyOrEnd
	}
	if w.expect != expectCommaOrEnd && w.expect != first {
		return errAnswerSyntax
	}
	w.stack = w.stack[:len(w.stack)-1]
	return w.end(i)
}

// end is after each value, which stands before i.
func (w *answerWriter) end(i int) error {
	w.expect = expectCommaOrEnd
	if len(w.stack) == 0 {
		w.expect = expectNothing
	}
	if w.whole != nil && w.depth == len(w.stack) {
		e := w.whole
		w.whole = nil
		return w.taken(e, i)
	}
	return nil
}

func (w *answerWriter) readString(i int) (int, error) {
	i, closed := w.skipString(i)
	if !closed {
		return i, nil
	}
	isKey := w.token == keyToken
	w.token = noToken
	if !isKey {
		return i, w.end(i)
	}
	w.expect = expectColon
	if w.top().node != nil {
		return i, w.key(i)
	}
	return i, nil
}

// skipString returns where the string ends, or where what was read does.
func (w *answerWriter) skipString(i int) (int, bool) {
	if w.escaped {
		i, w.escaped = i+1, false
	}
	end, escaped := stringEnd(w.in, i)
	if end < 0 {
		w.escaped = escaped
		return len(w.in), false
	}
	return end, true
}

// readLiteral reads a number, true, false or null. What it is shows only where it matters.
func (w *answerWriter) readLiteral(i int) (int, error) {
	for i < len(w.in) && literalByte[w.in[i]] {
		i++
	}
	if i == len(w.in) {
		return i, nil
	}
	w.token = noToken
	if len(w.stack) == 0 {
		return i, errAnswerShape
	}
	return i, w.end(i)
}

// key looks up the key before i, which is the end of what is undecided.
func (w *answerWriter) key(i int) error {
	top := w.top()
	held := w.holding(i)
	e, err := top.node.lookup(held[w.keyAt:])
	if err != nil {
		return err
	}
	w.next = e
	switch {
	case e != nil && (e.kind == entryPlace || e.kind == entryErrors):
		return nil // the value decides
	case top.kept || !top.node.drops:
		w.keep()
	default:
		w.replace(i, held[w.keyAt:])
	}
	top.kept = true
	return nil
}

// lookup takes a key as JSON text.
func (n *node) lookup(text []byte) (*entry, error) {
	key := text[1 : len(text)-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		plain, ok := jsonString(text)
		if !ok {
			return nil, errAnswerSyntax
		}
		key = []byte(plain)
	}
	if n.lengths&lengthBit(len(key)) != 0 {
		if e := n.entries[string(key)]; e != nil {
			return e, nil
		}
	}
	return n.rest, nil
}

// taken decides on a value that is there as a whole, before i.
func (w *answerWriter) taken(e *entry, i int) error {
	held := w.holding(i)
	value := held[w.valueAt:]
	switch e.kind {
	case entryPlace:
		top := w.top()
		top.place = appendMember(top.place, e.place, value)
		w.replace(i, nil)
		return nil
	case entryErrors:
		return w.errors(i, held[w.keyAt:w.valueAt], value)
	case entryList:
		list, err := w.list(e, value)
		if err != nil {
			return err
		}
		w.replace(i, list)
		return nil
	case entryBoolean, entryFlag:
		return w.boolean(e, i, value)
	case entryInside, entryRaw:
	}
	return errAnswerShape // never: these are not taken whole
}

func (w *answerWriter) boolean(e *entry, i int, value []byte) error {
	switch string(value) {
	case "false", "null":
	case "true":
		if !w.ask(e.rule.Permission).allowed {
			w.replace(i, denied)
			return nil
		}
	default:
		return errAnswerShape
	}
	w.keep()
	return nil
}

// ask asks the judge about the object that is open, once for each place.
func (w *answerWriter) ask(permission string) verdict {
	place := w.stack[w.top().owner].place
	w.question = append(append(append(w.question[:0], permission...), 0), place...)
	if known, ok := w.verdicts[string(w.question)]; ok {
		return known
	}
	var v verdict
	if len(place) == 0 {
		v.allowed, v.reason = w.judge(permission, nil)
	} else {
		v.allowed, v.reason = w.judge(permission, json.RawMessage(append(w.question[len(permission)+1:], '}')))
	}
	if len(w.verdicts) == maxVerdicts {
		clear(w.verdicts)
	}
	w.verdicts[string(w.question)] = v
	return v
}
