package graphql

import (
	"container/list"
	"sync"
)

// Documents parses requests and keeps what it parsed lately: a page of Dagster's UI sends the same documents again and again.
// It is safe for concurrent use.
type Documents struct {
	limits Limits
	most   int // bytes of text

	mu     sync.Mutex
	kept   map[documentKey]*list.Element
	recent *list.List // of *keptDocument, the least recently used last
	bytes  int
}

type documentKey struct{ query, operationName string }

type keptDocument struct {
	key       documentKey
	operation *Operation // without variables
}

// keptShare bounds one document to that part of all that may be kept, so that no client can push out everybody else's.
const keptShare = 16

// NewDocuments keeps documents of up to so many bytes of text. What is made of them takes about 30 times as much.
func NewDocuments(l Limits, bytes int) *Documents {
	return &Documents{limits: l, most: bytes, kept: map[documentKey]*list.Element{}, recent: list.New()}
}

// Parse is the function Parse, with the limits of the Documents. Operations of one document share its syntax tree, which
// nobody may change, and their Memo.
func (d *Documents) Parse(req Request) (*Operation, error) {
	key := documentKey{req.Query, req.OperationName}
	if known := d.find(key); known != nil {
		return known.with(req), nil
	}
	op, err := Parse(req, d.limits)
	if err != nil {
		return nil, err
	}
	bare := *op
	bare.Request.Variables, bare.variables, bare.Memo = nil, nil, &Memo{}
	d.keep(key, &bare)
	return bare.with(req), nil
}

// with is the operation with the variables of one request.
func (op *Operation) with(req Request) *Operation {
	own := *op
	own.Request.Variables = req.Variables
	own.variables = sync.OnceValues(own.decodeVariables)
	return &own
}

func (d *Documents) find(key documentKey) *Operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	element := d.kept[key]
	if element == nil {
		return nil
	}
	d.recent.MoveToFront(element)
	return element.Value.(*keptDocument).operation //nolint:forcetypeassert // nothing else is put there
}

func (d *Documents) keep(key documentKey, op *Operation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept[key] != nil || key.size() > d.most/keptShare {
		return
	}
	d.kept[key] = d.recent.PushFront(&keptDocument{key, op})
	for d.bytes += key.size(); d.bytes > d.most; {
		oldest := d.recent.Remove(d.recent.Back()).(*keptDocument) //nolint:forcetypeassert // nothing else is put there
		delete(d.kept, oldest.key)
		d.bytes -= oldest.key.size()
	}
}

func (k documentKey) size() int { return len(k.query) + len(k.operationName) }

// Memo keeps what was found out about a document, for as long as the document is kept.
type Memo struct {
	mu    sync.Mutex
	facts map[any]any
}

// maxFacts bounds a Memo: facts that depend on who asks are as many as there are kinds of people, and on the schema.
const maxFacts = 32

// Recall returns the fact of that key, and finds it out when it is not known: find says whether the fact is worth keeping. Keys are
// compared as map keys. With a nil Memo, of an operation that nobody keeps, it is found out each time.
func Recall[T any](m *Memo, key any, find func() (fact T, keep bool, err error)) (T, error) {
	if m != nil {
		m.mu.Lock()
		known, found := m.facts[key].(T)
		m.mu.Unlock()
		if found {
			return known, nil
		}
	}
	fact, keep, err := find()
	if m == nil || err != nil || !keep {
		return fact, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.facts == nil || len(m.facts) >= maxFacts {
		m.facts = map[any]any{}
	}
	m.facts[key] = fact
	return fact, nil
}
