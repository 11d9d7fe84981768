package graphql

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
)

// surfaceCase is a request that was sent to a bare Dagster 1.13.27, and whether a partition of the name Key existed
// afterwards (surface-requests.json of the project's facts).
type surfaceCase struct {
	Test, Key, Method, Target string
	Headers                   []string
	Body                      []byte `json:"body_base64"`
	Executed                  bool   `json:"bare_executed"`
}

func (c surfaceCase) request(t *testing.T) (*http.Request, error) {
	t.Helper()
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "%s %s HTTP/1.1\r\nHost: localhost\r\n", c.Method, strings.ReplaceAll(c.Target, "PORT", "3000"))
	sized := false
	for _, h := range c.Headers {
		sized = sized || strings.HasPrefix(strings.ToLower(h), "transfer-encoding") || strings.HasPrefix(strings.ToLower(h), "content-length")
		fmt.Fprintf(&raw, "%s\r\n", h)
	}
	if len(c.Body) > 0 && !sized {
		fmt.Fprintf(&raw, "Content-Length: %d\r\n", len(c.Body))
	}
	raw.WriteString("\r\n")
	raw.Write(c.Body)
	return http.ReadRequest(bufio.NewReader(&raw))
}

// TestSurface holds every request form that was tried on Dagster against this package: what Dagster executed must be
// refused, or be read as that mutation, so that it can be judged; nothing that Dagster did not execute is read as more.
func TestSurface(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/surface-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []surfaceCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	read := map[string]bool{}
	for _, c := range cases {
		r, err := c.request(t)
		if err != nil || r.URL.Path != "/graphql" {
			continue
		}
		req, err := ReadHTTP(r, DefaultLimits())
		if err != nil {
			continue
		}
		op, err := Parse(req, DefaultLimits())
		if err != nil {
			continue
		}
		read[c.Test] = true
		if !c.Executed {
			continue
		}
		if op.Type != ast.Mutation {
			t.Errorf("%s: read as %s, Dagster ran a mutation", c.Test, op.Type)
			continue
		}
		if !createsPartition(t, op, c.Key) {
			t.Errorf("%s: no addDynamicPartition of %s in %s", c.Test, c.Key, op.Request.Query)
		}
	}
	for _, open := range []string{
		"GET ?query=mutation (no Accept)", "GET ?query=&variables=JSON", "POST json", "POST application/graphql",
		"POST application/graphql;charset", "POST Application/JSON (case) json body", "POST variables as JSON string",
		"POST operationName selects mutation in multi-op doc", "POST alias two mutations", "POST mutation via fragment",
		"POST chunked", "POST multi-op doc, operationName=A (query)",
	} {
		if !read[open] {
			t.Errorf("%s: refused, want it read", open)
		}
	}
}

func createsPartition(t *testing.T, op *Operation, key string) bool {
	t.Helper()
	for _, f := range op.Fields {
		arguments, err := op.Arguments(f)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == "addDynamicPartition" && strings.HasPrefix(fmt.Sprint(arguments["partitionKey"]), key) {
			return true
		}
	}
	return false
}
