package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// prepare makes what goes on to Dagster for an operation that is allowed: runs carry the name of whoever launches them, and
// what the answer says of permissions is to be rewritten for whoever asks.
func (s *Server) prepare(r *http.Request, j *judged, schema *graphql.Schema) error {
	id := identityFrom(r.Context())
	op := j.Operation
	if op.Type == "mutation" && s.RunUserTag != "" {
		parents, err := s.Places.Parents(r.Context(), op)
		if err != nil {
			return fmt.Errorf("%w: %w", errNotLocated, err)
		}
		request, err := parents.SignRuns(op, schema, s.RunUserTag, runUser(id))
		if err != nil {
			return err
		}
		if op, err = s.documents.Parse(request); err != nil {
			return fmt.Errorf("reading the signed request: %w", err)
		}
	}
	j.Request = op.Request
	var err error
	j.Rewriting, err = s.rewriting(id, op, schema)
	if j.Rewriting != nil {
		j.Request.Query = j.Rewriting.Query()
	}
	return err
}

// runUser is how Dagster's UI names who launched a run: it expects an email address.
func runUser(id identity.Identity) string {
	if id.Email != "" {
		return id.Email
	}
	return id.Username
}

// judgeOf answers for the person who asks, once for each answer of Dagster.
func (s *Server) judgeOf(ctx context.Context) graphql.Judge {
	assets := sync.OnceValue(func() func(path []string) []string {
		find, err := s.Places.AssetLocations(ctx)
		if err != nil {
			logFrom(ctx).Warn().Err(err).Msg("asking Dagster where its assets are failed: they count as deployment-wide")
			return func([]string) []string { return nil }
		}
		return find
	})
	return s.Policy.Judge(identityFrom(ctx), func(path []string) []string { return assets()(path) })
}

// rewriting is nil when the operation asks for nothing that depends on who asks. In report-only mode nothing is rewritten: a
// button that is greyed would keep people from finding out what they will miss.
func (s *Server) rewriting(id identity.Identity, op *graphql.Operation, schema *graphql.Schema) (*graphql.Rewriting, error) {
	if s.ReportOnly {
		return nil, nil
	}
	type key struct {
		schema *graphql.Schema
		rules  string
	}
	return graphql.Recall(op.Memo, key{schema, s.Policy.RulesOf(id)}, func() (*graphql.Rewriting, bool, error) {
		rewriting, err := graphql.NewRewriting(op, schema, s.Policy.Rules(id, schema))
		return rewriting, !rewriting.Swollen(), err
	})
}

// rewrittenAnswer passes an answer of Dagster through its rewriting.
type rewrittenAnswer struct {
	http.ResponseWriter
	rewriting *graphql.Rewriting
	judge     graphql.Judge
	body      io.WriteCloser // nil until the headers are written, and for answers that are not JSON
	started   bool
}

func (a *rewrittenAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *rewrittenAnswer) WriteHeader(code int) {
	if !a.started && code >= http.StatusOK {
		a.started = true
		if strings.HasPrefix(a.Header().Get("Content-Type"), "application/json") {
			a.Header().Del("Content-Length")
			a.body = a.rewriting.Writer(a.ResponseWriter, a.judge)
		}
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *rewrittenAnswer) Write(p []byte) (int, error) {
	if !a.started {
		a.WriteHeader(http.StatusOK)
	}
	if a.body == nil {
		return a.ResponseWriter.Write(p)
	}
	return a.body.Write(p)
}

// close checks that all of the answer was seen. One that ended early is cut off, so that nobody takes it for whole.
func (a *rewrittenAnswer) close(ctx context.Context) {
	if a.body == nil {
		return
	}
	if err := a.body.Close(); err != nil {
		logFrom(ctx).Warn().Err(err).Msg("an answer of Dagster could not be rewritten")
		panic(http.ErrAbortHandler)
	}
}
