package graphql

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentsAreKept: what is kept gives the same operation, each request with its own variables.
func TestDocumentsAreKept(t *testing.T) {
	t.Parallel()
	d := NewDocuments(DefaultLimits(), 1<<20)
	query := `query A($x: Int) { version(a: $x) } query B { other }`
	for _, req := range []Request{
		{Query: query, OperationName: "A", Variables: []byte(`{"x":1}`)},
		{Query: query, OperationName: "A", Variables: []byte(`{"x":2}`)},
		{Query: query, OperationName: "B"},
		{Query: query, OperationName: "A"},
	} {
		got, err := d.Parse(req)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Parse(req, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Request, got.Request); diff != "" || got.Fields[0].Name != want.Fields[0].Name || got.Name != want.Name {
			t.Errorf("%+v (-want +got):\n%s", req, diff)
		}
		arguments, err := got.Arguments(got.Fields[0])
		if err != nil {
			t.Fatal(err)
		}
		wanted, _ := want.Arguments(want.Fields[0])
		if diff := cmp.Diff(wanted, arguments); diff != "" {
			t.Errorf("arguments of %s (-want +got):\n%s", req.Variables, diff)
		}
	}
	if len(d.kept) != 2 {
		t.Errorf("%d documents are kept, want 2", len(d.kept))
	}
	if _, err := d.Parse(Request{Query: "{"}); err == nil || len(d.kept) != 2 {
		t.Errorf("a broken document: error %v, %d kept", err, len(d.kept))
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	t.Parallel()
	const most = 4096
	d := NewDocuments(DefaultLimits(), most)
	for i := range 200 {
		if _, err := d.Parse(Request{Query: fmt.Sprintf("{ a%d version %s }", i, strings.Repeat(" ", 100))}); err != nil {
			t.Fatal(err)
		}
	}
	if d.bytes > most || len(d.kept) != d.recent.Len() || len(d.kept) < 20 {
		t.Errorf("%d bytes in %d documents, %d in the list", d.bytes, len(d.kept), d.recent.Len())
	}
	before := len(d.kept)
	if _, err := d.Parse(Request{Query: "{ version }" + strings.Repeat(" ", most/keptShare)}); err != nil || len(d.kept) != before {
		t.Errorf("a large document: error %v, %d kept, want %d", err, len(d.kept), before)
	}
}

func TestRecall(t *testing.T) {
	t.Parallel()
	made := 0
	fact := func() (int, bool, error) { made++; return made, true, nil }
	m := &Memo{}
	for range 3 {
		if got, err := Recall(m, "key", fact); got != 1 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	}
	if got, _ := Recall(m, "other", fact); got != 2 {
		t.Errorf("another key: got %d", got)
	}
	if _, err := Recall(m, "failing", func() (int, bool, error) { return 0, true, errors.New("no") }); err == nil {
		t.Error("no error")
	}
	if got, err := Recall(m, "failing", fact); got != 3 || err != nil {
		t.Errorf("after an error: got %d, %v", got, err)
	}
	if got, _ := Recall(nil, "key", fact); got != 4 {
		t.Errorf("without a memo: got %d", got)
	}
	passing := func() (int, bool, error) { made++; return made, false, nil }
	if first, _ := Recall(m, "passing", passing); first != 5 {
		t.Errorf("got %d", first)
	}
	if again, _ := Recall(m, "passing", passing); again != 6 {
		t.Errorf("what is not worth keeping was kept: got %d", again)
	}
	for i := range 10 * maxFacts {
		_, _ = Recall(m, i, fact)
	}
	if len(m.facts) > maxFacts {
		t.Errorf("%d facts are kept", len(m.facts))
	}
}

func TestDocumentsAtOnce(t *testing.T) {
	t.Parallel()
	d := NewDocuments(DefaultLimits(), 1<<10)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				op, err := d.Parse(Request{Query: fmt.Sprintf("{ a%d }", (i+j)%50), Variables: []byte(`{"x":1}`)})
				if err != nil || len(op.Fields) != 1 {
					t.Errorf("%v", err)
					return
				}
				if _, err := op.Arguments(op.Fields[0]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
