package main

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"
)

// fastServer answers as a Dagster that takes no time: the bench's own queries from here, and everything else, such as
// what AuthKit asks when it starts, as a real Dagster answered it the first time.
type fastServer struct {
	upstream string
	client   *http.Client

	mu       sync.Mutex
	recorded map[string]recording
}

type recording struct {
	status int
	header http.Header
	body   []byte
}

const (
	// fastQuery is the name of the operation in distinctQuery, which AuthKit carries along.
	fastQuery   = "BenchDistinct"
	fastAnswer  = `{"data":{"version":"1.0.0","workspaceLocationEntryOrError":null}}`
	maxFastBody = 16 << 20
)

func serveFast(listen, upstream string) error {
	f := &fastServer{upstream: upstream, client: plainClient(), recorded: map[string]recording{}}
	server := &http.Server{Addr: listen, Handler: f, ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

func (f *fastServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFastBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/graphql" && bytes.Contains(body, []byte(fastQuery)) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, fastAnswer)
		return
	}
	answer, err := f.replay(r, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
}

// replay answers what was asked before, and asks Dagster what was not.
func (f *fastServer) replay(r *http.Request, body []byte) (recording, error) {
	key := r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Accept-Encoding") + "\n" + string(body)
	f.mu.Lock()
	answer, found := f.recorded[key]
	f.mu.Unlock()
	if found {
		return answer, nil
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, f.upstream+r.URL.RequestURI(), bytes.NewReader(body)) //nolint:gosec // The bench's own clients ask.
	if err != nil {
		return recording{}, err
	}
	req.Header = r.Header.Clone()
	resp, err := f.client.Do(req) //nolint:gosec // As above.
	if err != nil {
		return recording{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // Read only.
	answer = recording{status: resp.StatusCode, header: resp.Header}
	if answer.body, err = io.ReadAll(resp.Body); err != nil {
		return recording{}, err
	}
	answer.header.Del("Connection") // the client's business with Dagster, not ours with others
	answer.header.Del("Transfer-Encoding")
	f.mu.Lock()
	f.recorded[key] = answer
	f.mu.Unlock()
	return answer, nil
}
