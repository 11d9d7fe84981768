package e2e

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

var tokenText = regexp.MustCompile(`(?m)^dak_[0-9A-Za-z]{49}$`)

// token makes one by the command line.
func (k *kit) token(owner, name string, flags ...string) string {
	k.t.Helper()
	out := k.cli("", append([]string{"create-token", "--user", owner, "--name", name}, flags...)...)
	text := tokenText.FindString(out)
	if text == "" {
		k.t.Fatalf("create-token printed no token:\n%s", out)
	}
	return text
}

// program is a client that sends the same header with each request, and takes no cookies.
func (k *kit) program(name, value string) *client {
	return &client{t: k.t, kit: k, http: &http.Client{
		Transport: withHeader{name, value, http.DefaultTransport}, Timeout: 2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// bearer is a program with a token.
func (k *kit) bearer(token string) *client { return k.program("Authorization", "Bearer "+token) }

type withHeader struct {
	name, value string
	by          http.RoundTripper
}

// RoundTrip adds the header.
func (h withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Add(h.name, h.value)
	return h.by.RoundTrip(r)
}

// may reports whether the client's mutation has an effect.
func (c *client) may(key string) bool {
	c.t.Helper()
	c.do("POST", "/graphql", `{"query":"mutation{addDynamicPartition(repositorySelector:{repositoryLocationName:\"defs.py\",repositoryName:\"__repository__\"},partitionsDefName:\"dyn\",partitionKey:\"`+key+`\"){__typename}}"}`,
		"Content-Type", "application/json")
	return c.kit.hasPartition(key)
}

// secretless fails when a token, or most of one, is anywhere that AuthKit writes to.
func (k *kit) secretless(tokens ...string) {
	k.t.Helper()
	places := map[string]string{"stdout": k.stdout.String(), "stderr": k.stderr.String()}
	for _, file := range []string{k.db, k.db + "-wal"} {
		content, err := os.ReadFile(file)
		if err != nil {
			k.t.Fatal(err)
		}
		places["the database"] += string(content)
	}
	for _, token := range tokens {
		for place, text := range places {
			if strings.Contains(text, token[4:30]) {
				k.t.Errorf("a token is in %s", place)
			}
		}
	}
	if !strings.Contains(places["the database"], "TOKEN_CREATED") || !strings.Contains(places["stderr"], "/graphql") || !strings.Contains(places["stdout"], "TOKEN_REFUSED") {
		k.t.Error("the control: the places that are searched have nothing in them")
	}
}
