package graphql

import (
	"io"
	"testing"
)

const (
	assetGraphDocument = "LocationWorkspaceAssetsQuery"
	assetGraphSize     = 50 << 20
)

// assetGraph is an answer of 50 MB about assets, and how it is rewritten for a person with grants.
func assetGraph(tb testing.TB) (*Rewriting, []byte) {
	tb.Helper()
	schema := dagsterSchema(tb)
	document := uiDocuments(tb)[assetGraphDocument]
	r := newRewriting(tb, schema, document, dagsterRules())
	op, err := Parse(Request{Query: r.Query()}, roomier())
	if err != nil {
		tb.Fatal(err)
	}
	for seed := range uint32(100) { // until the seed does not make the location an error
		e := executor{seed: seed, lengths: map[string]int{
			"RepositoryLocation.repositories": 1, "Repository.assetNodes": 1000, "AssetNode.tags": 30, "AssetNode.dependencyKeys": 30, "AssetKey.path": 3, "AssetNode.kinds": 10,
		}}
		answer := e.execute(tb, op, schema)
		if len(answer) < 100_000 {
			continue
		}
		// The answer's nodes are repeated, which is quicker than making them all up.
		start, end := firstList(answer)
		nodes := answer[start:end]
		all := make([]byte, 0, assetGraphSize+len(answer))
		all = append(all, answer[:start]...)
		for len(all) < assetGraphSize {
			all = append(append(all, nodes...), ',')
		}
		return r, append(all, answer[start:]...)
	}
	tb.Fatal("no seed made assets")
	return nil, nil
}

// firstList is where the elements of the assets start and end.
func firstList(answer string) (start, end int) {
	const key = `"assetNodes":[`
	for start = range answer {
		if len(answer)-start > len(key) && answer[start:start+len(key)] == key {
			start += len(key)
			break
		}
	}
	depth := 0
	for end = start; depth > 0 || answer[end] != ']'; end++ {
		switch answer[end] {
		case '"':
			end += stringLength([]byte(answer[end:min(end+200, len(answer))])) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
	}
	return start, end
}

// writeInParts is how the proxy copies an answer.
func writeInParts(tb testing.TB, w io.WriteCloser, data []byte) {
	tb.Helper()
	const part = 32 << 10
	for len(data) > 0 {
		n := min(part, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			tb.Fatal(err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkRewriteAssetGraph(b *testing.B) {
	r, answer := assetGraph(b)
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	for b.Loop() {
		writeInParts(b, r.Writer(io.Discard, smallJudge), answer)
	}
}

// BenchmarkNewRewriting is the cost of the largest document of the UI without a permission, of the largest with one, and
// of a document larger than any of the UI.
func BenchmarkNewRewriting(b *testing.B) {
	schema, documents := dagsterSchema(b), uiDocuments(b)
	for name, document := range map[string]string{
		"Nothing/PipelineExplorerRootQuery": documents["PipelineExplorerRootQuery"], "Nothing/Large": largeDocument(),
		"Rules/AssetViewDefinitionQuery": documents["AssetViewDefinitionQuery"],
	} {
		b.Run(name, func(b *testing.B) {
			op, rules := mustParseDocument(b, document), dagsterRules()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := NewRewriting(op, schema, rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
