package server

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"dagster-authkit/internal/dagster"
	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/policy"
)

// authorize reads what the request asks for and decides. What can't be read is refused here, with 4xx; what can be read but
// is not allowed is refused by enforce, after the audit trail has it.
func (s *Server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		j, err := s.judge(r)
		if err != nil {
			s.refuseUnreadable(w, r, err)
			return
		}
		s.metrics.decision(j.Decision)
		if isMutation(j) {
			if err := s.Activity.Touch(r.Context(), sessionFrom(r.Context())); err != nil {
				logFrom(r.Context()).Warn().Err(err).Msg("noting the session's activity failed")
			}
		}
		next.ServeHTTP(w, r.WithContext(with(r.Context(), judgedKey, j)))
	})
}

func isMutation(j judged) bool { return j.Operation != nil && j.Operation.Type == "mutation" }

func (s *Server) judge(r *http.Request) (judged, error) {
	path, id := pathFrom(r.Context()), identityFrom(r.Context())
	decide := func(audited bool, actions ...policy.Action) judged {
		return judged{Decision: policy.Decide(id, actions), Audited: audited}
	}
	switch {
	case isUpgrade(r) && path.Route != dagster.GraphQL:
		return judged{}, &graphql.Error{Status: http.StatusNotFound, Message: "There is no WebSocket here: Dagster's is at " + s.prefix + "/graphql."}
	case path.Route == dagster.GraphQL && isUpgrade(r), path.Route == dagster.GraphQL && wantsGraphiQL(r):
		return decide(false, policy.Read()), nil
	case path.Route == dagster.GraphQL:
		return s.judgeGraphQL(r)
	case path.Route == dagster.ReportAsset && r.Method == http.MethodPost:
		j := decide(true, policy.ReportAsset(path.Name))
		j.Targets = map[string][]string{"assets": reportedAsset(r, path)}
		return j, nil
	case safeMethod(r.Method):
		return decide(slices.Contains([]dagster.Route{dagster.DownloadDebug, dagster.Logs}, path.Route), policy.Read()), nil
	default:
		return decide(true, policy.UnknownWrite(r.Method+" "+path.Decoded)), nil
	}
}

// reportedAsset is the asset that a report names in its address: the path counts before ?asset_key=. One that stands only in
// the body is not read.
func reportedAsset(r *http.Request, path dagster.Path) []string {
	_, key, _ := strings.Cut(path.Decoded[1:], "/")
	if key == "" {
		key = r.URL.Query().Get("asset_key")
	}
	if key == "" {
		return nil
	}
	return []string{key}
}

// wantsGraphiQL is Dagster's own test for answering GET /graphql with the GraphiQL page instead of running the query.
func wantsGraphiQL(r *http.Request) bool {
	return safeMethod(r.Method) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func (s *Server) judgeGraphQL(r *http.Request) (judged, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return judged{}, &graphql.Error{Status: http.StatusMethodNotAllowed, Message: "GraphQL takes GET and POST."}
	}
	if r.ContentLength > heavyBody {
		// What is read takes many times its size for a moment: large bodies are read one after the other.
		s.heavy.Lock()
		defer s.heavy.Unlock()
	}
	request, err := graphql.ReadHTTP(r, s.Limits)
	if err != nil {
		return judged{}, err
	}
	op, err := graphql.Parse(request, s.Limits)
	if err != nil {
		return judged{}, err
	}
	switch {
	case op.Type == "subscription":
		return judged{}, &graphql.Error{Status: http.StatusBadRequest, Message: "Subscriptions are served over the WebSocket only."}
	case op.Type == "mutation" && r.Method == http.MethodGet:
		s.recordMisplaced(r, op, "POST_REQUIRED_FOR_MUTATIONS")
		return judged{}, &graphql.Error{Status: http.StatusMethodNotAllowed, Message: "Mutations need POST."}
	}
	actions := policy.Mutations(op)
	return judged{
		Operation: op, Decision: policy.Decide(identityFrom(r.Context()), actions),
		Audited: len(actions) > 0, Targets: targets(op),
	}, nil
}

// heavyBody is the size in bytes from which a body's reading is worth a queue, and its arguments are not described.
const heavyBody = 1 << 20

func targets(op *graphql.Operation) map[string][]string {
	if op.Type != "mutation" || len(op.Request.Variables) > heavyBody {
		return nil
	}
	all := map[string]any{}
	for _, field := range op.Fields {
		// What can't be evaluated is described by nothing; Dagster will refuse it with its own words.
		if arguments, err := op.Arguments(field); err == nil {
			all[field.ResponseKey] = arguments
		}
	}
	return policy.Targets(all)
}

func (s *Server) refuseUnreadable(w http.ResponseWriter, r *http.Request, err error) {
	problem, ok := errors.AsType[*graphql.Error](err)
	if !ok {
		logFrom(r.Context()).Warn().Err(err).Msg("reading a GraphQL request failed")
		problem = &graphql.Error{Status: http.StatusBadRequest, Message: "The request could not be read."}
	}
	if problem.Status == http.StatusMethodNotAllowed {
		allowed := "GET, POST"
		if r.Method == http.MethodGet {
			allowed = "POST"
		}
		w.Header().Set("Allow", allowed)
	}
	code := "BAD_REQUEST"
	if problem.Status == http.StatusNotFound {
		code = "NOT_FOUND"
	}
	writeJSON(w, problem.Status, graphql.ErrorBody(problem.Message, code))
}
