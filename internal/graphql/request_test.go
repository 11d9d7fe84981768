package graphql

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wantStatus fails the test unless err is an *Error of the given status.
func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != status || refused.Message == "" {
		t.Errorf("got error %#v, want one of status %d with a message", err, status)
	}
}

func newRequest(method, target, body string) *http.Request {
	return httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
}

func post(target, contentType, body string) *http.Request {
	r := newRequest(http.MethodPost, target, body)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestReadHTTPOpenDoors(t *testing.T) {
	t.Parallel()
	get := func(query string) *http.Request { return newRequest(http.MethodGet, "/graphql?"+query, "") }
	tests := map[string]struct {
		in   *http.Request
		want Request
	}{
		"GET":                     {get("query=%7Bversion%7D"), Request{Query: "{version}"}},
		"GET with é":              {get("query={a}%23%C3%A9"), Request{Query: "{a}#é"}},
		"GET with plus":           {get("query=query+A{a}"), Request{Query: "query A{a}"}},
		"GET with all":            {get("query={a}&variables=%7B%22x%22%3A%201%7D&operationName=A&op=B&raw"), Request{"{a}", "A", json.RawMessage(`{"x":1}`)}},
		"GET with null variables": {get("query={a}&variables=null"), Request{Query: "{a}"}},
		"JSON":                    {post("/graphql", "application/json", `{"query":"{a}"}`), Request{Query: "{a}"}},
		"JSON with all": {
			post("/graphql?op=A", "application/json", ` {"operationName":"A","query":"{a}","variables":{"x" : 1.50e400}} `),
			Request{"{a}", "A", json.RawMessage(`{"x":1.50e400}`)},
		},
		"JSON with nulls":      {post("/graphql", "application/json", `{"query":"{a}","operationName":null,"variables":null}`), Request{Query: "{a}"}},
		"unknown keys dropped": {post("/graphql", "application/json", `{"query":"{a}","extensions":{"persistedQuery":{}},"id":1}`), Request{Query: "{a}"}},
		"escaped key":          {post("/graphql", "application/json", `{"\u0071uery":"{a}"}`), Request{Query: "{a}"}},
		"surrogate pair":       {post("/graphql", "application/json", `{"query":"#\ud83d\ude00"}`), Request{Query: "#😀"}},
		"variables in a string": {
			post("/graphql", "application/json", `{"query":"{a}","variables":"{\"x\": 1}"}`),
			Request{Query: "{a}", Variables: json.RawMessage(`{"x":1}`)},
		},
		"media type in another case": {post("/graphql", "Application/JSON", `{"query":"{a}"}`), Request{Query: "{a}"}},
		"charset utf-8":              {post("/graphql", `application/json; charset="UTF-8"`, `{"query":"{a}"}`), Request{Query: "{a}"}},
		"application/graphql":        {post("/graphql", "application/graphql", "{a}"), Request{Query: "{a}"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ReadHTTP(tt.in, DefaultLimits())
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("request differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadHTTPClosedDoors(t *testing.T) {
	t.Parallel()
	const ok = `{"query":"{a}"}`
	asJSON := func(body string) *http.Request { return post("/graphql", "application/json", body) }
	get := func(query string) *http.Request {
		r := newRequest(http.MethodGet, "/graphql", "")
		r.URL.RawQuery = query
		return r
	}
	with := func(header, value string) *http.Request {
		r := asJSON(ok)
		r.Header.Add(header, value)
		return r
	}
	deep := strings.Repeat("[", 199) + strings.Repeat("]", 199)
	tests := map[string]struct {
		in   *http.Request
		want int
	}{
		"other method":                     {newRequest(http.MethodPut, "/graphql?query={a}", ""), 405},
		"HEAD":                             {newRequest(http.MethodHead, "/graphql?query={a}", ""), 405},
		"GET without a query":              {get("op=A"), 400},
		"GET with two queries":             {get("query={a}&query=mutation{m}"), 400},
		"GET with an escaped second query": {get("query={a}&%71uery=mutation{m}"), 400},
		"GET with Query":                   {get("query={a}&Query=mutation{m}"), 400},
		"GET with two variables":           {get("query={a}&variables={}&variables={}"), 400},
		"GET with semicolon":               {get("query={a};query=mutation{m}"), 400},
		"GET with broken escape":           {get("query={a}&x=%zz"), 400},
		"GET with broken UTF-8":            {get("query=%FF"), 400},
		"GET with é as it is":              {get("query={a}%23é"), 400},
		"GET with é in what is dropped":    {get("query={a}&op=é"), 400},
		"GET with an empty name":           {get("query={a}&operationName="), 400},
		"GET with empty variables":         {get("query={a}&variables="), 400},
		"GET with a list of variables":     {get("query={a}&variables=[]"), 400},
		"GET with duplicate variable":      {get(`query={a}&variables={"x":1,"x":2}`), 400},
		"POST with query in the URL":       {post("/graphql?query=mutation{m}", "application/json", ok), 400},
		"POST with QUERY in the URL":       {post("/graphql?QUERY=mutation{m}", "application/json", ok), 400},
		"POST with variables in the URL":   {post("/graphql?variables={}", "application/json", ok), 400},
		"no content type":                  {post("/graphql", "", ok), 415},
		"text":                             {post("/graphql", "text/plain", ok), 415},
		"JSON as a parameter":              {post("/graphql", "text/plain; x=application/json", ok), 415},
		"form":                             {post("/graphql", "application/x-www-form-urlencoded", "query={a}"), 415},
		"graphql+json":                     {post("/graphql", "application/graphql+json", ok), 415},
		"other charset":                    {post("/graphql", "application/json; charset=utf-16", ok), 415},
		"other parameter":                  {post("/graphql", "application/json; x=y", ok), 415},
		"list of types":                    {post("/graphql", "application/json, text/plain", ok), 415},
		"two content types":                {with("Content-Type", "application/json"), 415},
		"gzip":                             {with("Content-Encoding", "gzip"), 415},
		"empty body":                       {asJSON(""), 400},
		"broken JSON":                      {asJSON(`{"query":"{a}"`), 400},
		"trailing data":                    {asJSON(ok + ok), 400},
		"array":                            {asJSON("[" + ok + "]"), 400},
		"string":                           {asJSON(`"{a}"`), 400},
		"null":                             {asJSON("null"), 400},
		"no query":                         {asJSON(`{"variables":{}}`), 400},
		"query is null":                    {asJSON(`{"query":null}`), 400},
		"query is a list":                  {asJSON(`{"query":["{a}"]}`), 400},
		"name is empty":                    {asJSON(`{"query":"{a}","operationName":""}`), 400},
		"name is a number":                 {asJSON(`{"query":"{a}","operationName":1}`), 400},
		"variables are a list":             {asJSON(`{"query":"{a}","variables":[]}`), 400},
		"variables are text":               {asJSON(`{"query":"{a}","variables":"x"}`), 400},
		"variables are an empty string":    {asJSON(`{"query":"{a}","variables":"\"{}\""}`), 400},
		"duplicate key":                    {asJSON(`{"query":"{a}","query":"mutation{m}"}`), 400},
		"duplicate escaped key":            {asJSON(`{"query":"{a}","\u0071uery":"mutation{m}"}`), 400},
		"duplicate key deep down":          {asJSON(`{"query":"{a}","variables":{"a":[{"b":1,"c":{"d":2,"\u0064":2}}]}}`), 400},
		"duplicate key in extensions":      {asJSON(`{"query":"{a}","extensions":{"a":1,"a":1}}`), 400},
		"Query":                            {asJSON(`{"query":"{a}","Query":"mutation{m}"}`), 400},
		"OPERATIONNAME":                    {asJSON(`{"query":"{a}","OPERATIONNAME":"B"}`), 400},
		"long s":                           {asJSON(`{"query":"{a}","variableſ":{}}`), 400},
		"byte order mark":                  {asJSON("\ufeff" + ok), 400},
		"UTF-16":                           {asJSON("{\x00\"\x00q\x00"), 400},
		"broken UTF-8":                     {asJSON("{\"query\":\"{a}#\xff\"}"), 400},
		"broken UTF-8 in a document":       {post("/graphql", "application/graphql", "{a}#\xff"), 400},
		"lone surrogate":                   {asJSON(`{"query":"{a}#\ud800"}`), 400},
		"reversed surrogates":              {asJSON(`{"query":"{a}#\ude00\ud83d"}`), 400},
		"lone surrogate in a key":          {asJSON(`{"query":"{a}","variables":{"\ud800x":1}}`), 400},
		"NaN":                              {asJSON(`{"query":"{a}","variables":{"x":NaN}}`), 400},
		"Infinity":                         {asJSON(`{"query":"{a}","variables":{"x":-Infinity}}`), 400},
		"too deep":                         {asJSON(`{"query":"{a}","variables":{"x":` + deep + `}}`), 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadHTTP(tt.in, DefaultLimits())
			wantStatus(t, err, tt.want)
		})
	}
}

func TestReadHTTPDepthAtTheLimit(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 198) + strings.Repeat("]", 198)
	if _, err := ReadHTTP(post("/", "application/json", `{"query":"{a}","variables":{"x":`+deep+`}}`), DefaultLimits()); err != nil {
		t.Errorf("got %v at 200 levels, want none", err)
	}
}

func TestReadHTTPBodyLimit(t *testing.T) {
	t.Parallel()
	const body = `{"query":"{a}"}`
	limits := DefaultLimits()
	limits.Body = int64(len(body))
	if _, err := ReadHTTP(post("/", "application/json", body), limits); err != nil {
		t.Errorf("got %v for a body at the limit, want none", err)
	}
	_, err := ReadHTTP(post("/", "application/json", body+" "), limits)
	wantStatus(t, err, 413)
	chunked := post("/", "application/json", body+" ")
	chunked.ContentLength = -1
	_, err = ReadHTTP(chunked, limits)
	wantStatus(t, err, 413)
	capped := post("/", "application/json", body)
	capped.Body = http.MaxBytesReader(httptest.NewRecorder(), capped.Body, 3)
	_, err = ReadHTTP(capped, limits)
	wantStatus(t, err, 413)
}

func TestReadHTTPManyValues(t *testing.T) {
	t.Parallel()
	for count, want := range map[int]bool{999_000: true, 1_001_000: false} {
		body := `{"query":"{a}","variables":{"x":[` + strings.Repeat("1,", count-1) + `1]}}`
		if _, err := ReadHTTP(post("/", "application/json", body), DefaultLimits()); (err == nil) != want {
			t.Errorf("%d values: got error %v, want accepted %t", count, err, want)
		}
	}
}

// TestManyKeys is about an object with more keys than are compared one by one.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	for last, want := range map[string]bool{"k99": true, "k0": false, `\u006b7`: false} {
		var text strings.Builder
		for i := range 50 {
			text.WriteString(`"k` + strconv.Itoa(i) + `":{"x":1},`)
		}
		err := checkJSON([]byte("{"+text.String()+`"`+last+`":1}`), 10)
		if (err == nil) != want {
			t.Errorf("key %s: got error %v, want accepted %t", last, err, want)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   Request
		want string
	}{
		"all":     {Request{"{a(x:\"<\u2028é😀\\\\\")}", "A", json.RawMessage(`{"n":12345678901234567890.10}`)}, `{"query":"{a(x:\"<\u2028é😀\\\\\")}","operationName":"A","variables":{"n":12345678901234567890.10}}`},
		"minimal": {Request{Query: "{a}"}, `{"query":"{a}"}`},
	}
	for name, tt := range tests {
		if got := string(tt.in.Encode()); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
		back, err := ReadHTTP(post("/", "application/json", string(tt.in.Encode())), DefaultLimits())
		if diff := cmp.Diff(tt.in, back); err != nil || diff != "" {
			t.Errorf("%s: read back with error %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestReadURLDropsWhatDagsterDoesNotRead(t *testing.T) {
	t.Parallel()
	got, err := readURL(url.Values{"op": {"A", "B"}, "query": {"{a}"}}.Encode())
	if diff := cmp.Diff(map[string]string{"query": "{a}"}, got); err != nil || diff != "" {
		t.Errorf("got error %v (-want +got):\n%s", err, diff)
	}
}

// TestDefaultLimits has the figures of the issue, and keeps room for the largest document of Dagster's UI.
func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	want := Limits{Body: 10_485_760, Document: 1_048_576, Tokens: 15_000, Depth: 200, RootFields: 100}
	if diff := cmp.Diff(want, DefaultLimits()); diff != "" {
		t.Errorf("limits differ (-want +got):\n%s", diff)
	}
	mustParse(t, Request{Query: largeDocument(), OperationName: "LargeQuery"})
}
