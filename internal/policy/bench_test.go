package policy

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"testing"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

func unpacked(b *testing.B, path string) []byte {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	reader, err := gzip.NewReader(file)
	if err != nil {
		b.Fatal(err)
	}
	data, err := io.ReadAll(reader)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// BenchmarkJudge is what the largest document of Dagster's UI costs before it is forwarded: read for the first time, and once
// it is kept. The person has a grant, so that places are asked for besides.
func BenchmarkJudge(b *testing.B) {
	schema, err := graphql.ParseIntrospection(unpacked(b, "../graphql/testdata/schema-1.13.27.json.gz"))
	if err != nil {
		b.Fatal(err)
	}
	var documents map[string]string
	if err := json.Unmarshal(unpacked(b, "../graphql/testdata/ui-documents-1.13.27.json.gz"), &documents); err != nil {
		b.Fatal(err)
	}
	largest := ""
	for _, document := range documents {
		if len(document) > len(largest) {
			largest = document
		}
	}
	p, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	id := identity.Identity{ID: "local:vic", Username: "vic", Role: identity.Viewer, Grants: []identity.Grant{{Location: "a", Role: identity.Editor}}}
	judge := func(b *testing.B, kept *graphql.Documents) {
		b.Helper()
		op, err := kept.Parse(graphql.Request{Query: largest})
		if err != nil {
			b.Fatal(err)
		}
		if decision := p.Decide(id, p.Actions(op, schema), nil); !decision.Allowed {
			b.Fatal("the document is refused")
		}
		if _, err := graphql.Recall(op.Memo, p.RulesOf(id), func() (*graphql.Rewriting, bool, error) {
			rewriting, err := graphql.NewRewriting(op, schema, p.Rules(id, schema))
			return rewriting, !rewriting.Swollen(), err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("new", func(b *testing.B) {
		b.ReportMetric(float64(len(largest)), "bytes")
		b.ReportAllocs()
		for b.Loop() {
			judge(b, graphql.NewDocuments(graphql.DefaultLimits(), 1<<20))
		}
	})
	b.Run("kept", func(b *testing.B) {
		kept := graphql.NewDocuments(graphql.DefaultLimits(), 1<<20)
		b.ReportAllocs()
		for b.Loop() {
			judge(b, kept)
		}
	})
}
