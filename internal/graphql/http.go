package graphql

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ReadHTTP reads the request from the doors that stay open of those that Dagster has (measured on 1.10.0 and 1.13.27):
//
//	GET  with one query=, and at most one variables= and operationName=
//	POST application/json     an object; variables may also be a string that holds the object, as Dagster takes it
//	POST application/graphql  the body is the document
//
// Dagster would read several more, each in its own way: the URL of a POST with another content type, the last of two
// equal keys, UTF-16. All of those are refused. That a mutation may not come by GET is for the caller, who sees the
// operation's type after Parse. Accept is not looked at. Errors are of type *Error.
func ReadHTTP(r *http.Request, l Limits) (Request, error) {
	query, err := readURL(r.URL.RawQuery)
	if err != nil {
		return Request{}, err
	}
	switch r.Method {
	case http.MethodGet:
		return requestFromURL(query, l)
	case http.MethodPost:
		for name := range query {
			return Request{}, badRequest("%s belongs in the body of a POST, not in its URL", name)
		}
		return requestFromBody(r, l)
	default:
		return Request{}, &Error{Status: http.StatusMethodNotAllowed, Message: "use GET or POST"}
	}
}

// readURL takes the parameters that Dagster reads out of a query string and drops all others, such as the op= that the
// UI adds for its own logs. url.ParseQuery refuses what other parsers read differently: semicolons and broken escapes.
// Bytes beyond ASCII that are not escaped are refused as well: they are UTF-8 to Go and Latin-1 to Dagster.
func readURL(raw string) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil || strings.ContainsFunc(raw, func(r rune) bool { return r > unicode.MaxASCII }) {
		return nil, badRequest("the URL's query string can't be read")
	}
	known := make(map[string]string, 3)
	for name, all := range values {
		i := slices.IndexFunc(parameters(), func(p string) bool { return strings.EqualFold(p, name) })
		if i < 0 {
			continue
		}
		if name != parameters()[i] || len(all) != 1 {
			return nil, badRequest("%s must be given once and in this spelling", parameters()[i])
		}
		if !utf8.ValidString(all[0]) {
			return nil, badRequest("%s is not valid UTF-8", name)
		}
		known[name] = all[0]
	}
	return known, nil
}

// parameters are the names that Dagster reads from a URL.
func parameters() []string { return []string{"query", "operationName", "variables"} }

func requestFromURL(query map[string]string, l Limits) (Request, error) {
	document, given := query["query"]
	if !given {
		return Request{}, badRequest("no GraphQL query found in the request")
	}
	name, given := query["operationName"]
	if given && name == "" {
		return Request{}, badRequest("the operation name must not be empty")
	}
	req := Request{Query: document, OperationName: name}
	text, given := query["variables"]
	if !given {
		return req, nil
	}
	variables, err := variablesFromText(text, l)
	req.Variables = variables
	return req, err
}

func requestFromBody(r *http.Request, l Limits) (Request, error) {
	kind, err := contentType(r.Header)
	if err != nil {
		return Request{}, err
	}
	body, err := readBody(r, l.Body)
	if err != nil {
		return Request{}, err
	}
	if kind != "application/graphql" {
		return requestFromJSON(body, l)
	}
	if !utf8.Valid(body) {
		return Request{}, badRequest("the document is not valid UTF-8")
	}
	return Request{Query: string(body)}, nil
}

// contentType is the one media type of the request, or an error when there is any doubt about how to read the body.
func contentType(h http.Header) (string, error) {
	for _, coding := range h.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return "", unsupported("Content-Encoding is not supported, send the body as it is")
		}
	}
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return "", unsupported("send exactly one Content-Type: application/json or application/graphql")
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if err != nil || kind != "application/json" && kind != "application/graphql" {
		return "", unsupported("Content-Type must be application/json or application/graphql")
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return "", unsupported("Content-Type may only have charset=utf-8 as its parameter")
		}
	}
	return kind, nil
}

// readBody reads one byte more than allowed, to tell a body at the limit from one beyond it.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge("the body", limit)
	}
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if _, over := errors.AsType[*http.MaxBytesError](err); over || int64(len(body)) > limit {
		return nil, tooLarge("the body", limit)
	}
	if err != nil {
		return nil, badRequest("the body could not be read to its end")
	}
	return body, nil
}
