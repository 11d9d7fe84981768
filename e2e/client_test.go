package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// client is one person's or program's way to a kit.
type client struct {
	t    testing.TB
	kit  *kit
	http *http.Client
}

// anonymous is somebody who has not signed in. Redirects are answers here, not followed.
func (k *kit) anonymous() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	return &client{t: k.t, kit: k, http: &http.Client{
		Jar: jar, Timeout: 2 * time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signIn is one of the four people, signed in.
func (k *kit) signIn(name string) *client {
	k.t.Helper()
	c := k.anonymous()
	resp, body := c.login(name, passwords[name])
	if resp.StatusCode != http.StatusSeeOther {
		k.t.Fatalf("signing in as %s: got %d, want 303\n%s", name, resp.StatusCode, body)
	}
	return c
}

func (c *client) login(name, password string) (*http.Response, string) {
	c.t.Helper()
	form := url.Values{"username": {name}, "password": {password}}
	return c.do("POST", "/auth/login", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

// do sends a request below the kit's address, with headers as name, value, name, value.
func (c *client) do(method, path, body string, headers ...string) (*http.Response, string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.kit.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return resp, string(answer)
}

// page asks as a browser does for a document.
func (c *client) page(path string) (*http.Response, string) {
	c.t.Helper()
	return c.do("GET", path, "", "Accept", "text/html,application/xhtml+xml", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "none")
}

// answer is a GraphQL answer.
type answer struct {
	Status int
	Data   map[string]json.RawMessage `json:"data"`
	Errors []struct {
		Message    string         `json:"message"`
		Path       []any          `json:"path"`
		Extensions map[string]any `json:"extensions"`
	} `json:"errors"`
	Body string `json:"-"`
}

// typename of one field of the answer; empty when it has none.
func (a answer) typename(key string) string {
	var object struct {
		Typename string `json:"__typename"`
	}
	_ = json.Unmarshal(a.Data[key], &object)
	return object.Typename
}

func (c *client) graphql(document string, variables any) answer {
	c.t.Helper()
	request := map[string]any{"query": document}
	if variables != nil {
		request["variables"] = variables
	}
	body, err := json.Marshal(request)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, text := c.do("POST", "/graphql", string(body), "Content-Type", "application/json")
	a := answer{Status: resp.StatusCode, Body: text}
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&a); err != nil {
		c.t.Fatalf("answer %d is not JSON: %v\n%s", resp.StatusCode, err, text)
	}
	return a
}

const addPartition = `mutation Add($key: String!) {
  addDynamicPartition(
    repositorySelector: {repositoryLocationName: "defs.py", repositoryName: "__repository__"}
    partitionsDefName: "dyn"
    partitionKey: $key
  ) { __typename ... on UnauthorizedError { message } }
}`

func (c *client) addPartition(key string) answer {
	c.t.Helper()
	return c.graphql(addPartition, map[string]any{"key": key})
}

// cookie is the client's Cookie header.
func (c *client) cookie() string {
	c.t.Helper()
	u, err := url.Parse(c.kit.url + "/")
	if err != nil {
		c.t.Fatal(err)
	}
	var pairs []string
	for _, cookie := range c.http.Jar.Cookies(u) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(pairs, "; ")
}
