package graphql

import (
	"encoding/binary"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// maxPlan bounds the selections that are put in place to make a plan. The largest document of Dagster's UI needs some
// hundreds; fragments that spread fragments could make any number.
const maxPlan = 20_000

// entry says what becomes of a value of an answer. No entry: it passes, and all that is in it.
type entry struct {
	kind entryKind
	rule *Rule
	// node is for the objects that the value is or that are in its lists.
	node *node
	// elements are the keys of the objects of a list of permissions, and the fields that they stand for.
	elements map[string]string
	// place is the field of the rule's place that the value is, as JSON text.
	place []byte
}

type entryKind int

const (
	entryInside  entryKind = iota // look into its objects
	entryBoolean                  // a Boolean with a rule
	entryList                     // a list of permissions
	entryRaw                      // raw JSON: look for flags
	entryFlag                     // a flag in raw JSON, if it is true; raw JSON else
	entryPlace                    // added: note it and take it out
	entryErrors                   // the errors of the answer
)

// whole reports whether the value has to be there as a whole.
func (k entryKind) whole() bool { return k != entryInside && k != entryRaw }

// node is what is known of an object of an answer: its keys that something is done with.
type node struct {
	entries map[string]*entry
	lengths uint64 // of the keys, a bit each
	// rest is for all other keys.
	rest *entry
	// drops says that keys may go.
	drops bool
}

func newNode() *node { return &node{entries: map[string]*entry{}} }

func (n *node) add(key string, e *entry) {
	n.entries[key] = e
	n.lengths |= lengthBit(len(key))
	n.drops = n.drops || e.kind == entryPlace || e.kind == entryErrors
}

// planner puts the fragments of the document in place. As the types of objects are not in the answer, a key stands for
// everything that it can stand for; nodes that are made of the same fields are one.
type planner struct {
	fragments map[string]*newFragment
	facts     map[*ast.Field]fieldFacts
	added     map[string]addedField
	nodes     map[string]*node
	steps     int
}

func newPlan(document *ast.QueryDocument, add *addition) (plan *entry, steps int, err error) {
	p := planner{fragments: add.fragments, facts: add.facts, added: add.added, nodes: map[string]*node{}}
	data, err := p.node([]ast.SelectionSet{document.Operations[0].SelectionSet})
	if err != nil {
		return nil, 0, err
	}
	answer := newNode()
	answer.add("data", &entry{node: data})
	if len(add.added) > 0 {
		answer.add("errors", &entry{kind: entryErrors})
	}
	return &entry{node: answer}, p.steps, nil
}

// members are the fields of an object by their keys.
type members map[string][]*ast.Field

func (p *planner) node(sets []ast.SelectionSet) (*node, error) {
	fields, seen := members{}, map[string]bool{}
	for _, set := range sets {
		if err := p.collect(set, fields, seen); err != nil {
			return nil, err
		}
	}
	n := newNode()
	for key, same := range fields {
		made, err := p.entry(key, same)
		if err != nil {
			return nil, err
		}
		if made != nil {
			n.add(key, made)
		}
	}
	return n, nil
}

func (p *planner) collect(set ast.SelectionSet, into members, seen map[string]bool) error {
	for _, selection := range set {
		if p.steps++; p.steps > maxPlan {
			return badRequest("the document puts too many fragments into one another")
		}
		var err error
		switch s := selection.(type) {
		case *ast.Field:
			into[s.Alias] = append(into[s.Alias], s)
		case *ast.InlineFragment:
			err = p.collect(s.SelectionSet, into, seen)
		case *ast.FragmentSpread:
			if !seen[s.Name] {
				seen[s.Name] = true
				err = p.collect(p.fragments[s.Name].definition.SelectionSet, into, seen)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) entry(key string, fields []*ast.Field) (*entry, error) {
	if added, ok := p.added[key]; ok {
		return &entry{kind: entryPlace, place: encodeJSON(added.name)}, nil
	}
	rule, reaches := p.facts[fields[0]].rule, false
	for _, f := range fields {
		facts := p.facts[f]
		if !rule.equal(facts.rule) {
			return nil, errAmbiguous(key)
		}
		reaches = reaches || facts.reaches
	}
	switch {
	case rule != nil:
		return p.ruled(rule, fields)
	case !reaches:
		return nil, nil
	}
	below, err := p.below(fields)
	return &entry{node: below}, err
}

func (p *planner) ruled(rule *Rule, fields []*ast.Field) (*entry, error) {
	switch {
	case rule.Flags != nil:
		raw := &entry{kind: entryRaw, rule: rule, node: newNode()}
		raw.node.rest = raw
		for key, permission := range rule.Flags {
			raw.node.add(key, &entry{kind: entryFlag, rule: &Rule{Permission: permission}, node: raw.node})
		}
		return raw, nil
	case rule.lists():
		elements, err := p.elements(fields)
		return &entry{kind: entryList, rule: rule, elements: elements}, err
	default:
		return &entry{kind: entryBoolean, rule: rule}, nil
	}
}

// below is the node of the objects that the fields are, merged.
func (p *planner) below(fields []*ast.Field) (*node, error) {
	name := p.nodeName(fields)
	if known := p.nodes[name]; known != nil {
		return known, nil
	}
	made, err := p.node(selectionSets(fields))
	p.nodes[name] = made
	return made, err
}

func selectionSets(fields []*ast.Field) []ast.SelectionSet {
	sets := make([]ast.SelectionSet, len(fields))
	for i, f := range fields {
		sets[i] = f.SelectionSet
	}
	return sets
}

func (p *planner) nodeName(fields []*ast.Field) string {
	ids := make([]uint32, len(fields))
	for i, f := range fields {
		ids[i] = p.facts[f].id
	}
	slices.Sort(ids)
	var name []byte
	for _, id := range slices.Compact(ids) {
		name = binary.LittleEndian.AppendUint32(name, id)
	}
	return string(name)
}

// elements are the keys of the objects in a list of permissions.
func (p *planner) elements(fields []*ast.Field) (map[string]string, error) {
	found, seen := members{}, map[string]bool{}
	for _, set := range selectionSets(fields) {
		if err := p.collect(set, found, seen); err != nil {
			return nil, err
		}
	}
	elements := make(map[string]string, len(found))
	for key, same := range found {
		for _, f := range same {
			if f.Name != same[0].Name {
				return nil, errAmbiguous(key)
			}
		}
		elements[key] = same[0].Name
	}
	return elements, nil
}
