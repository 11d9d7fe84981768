package server

import (
	"errors"
	"fmt"
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
			if err := s.touch(r.Context()); err != nil {
				logFrom(r.Context()).Warn().Err(err).Msg("noting the session's activity failed")
			}
		}
		next.ServeHTTP(w, r.WithContext(with(r.Context(), judgedKey, j)))
	})
}

func isMutation(j judged) bool { return j.Operation != nil && j.Operation.Type == "mutation" }

func (s *Server) judge(r *http.Request) (judged, error) {
	path := pathFrom(r.Context())
	switch {
	case isUpgrade(r) && path.Route != dagster.GraphQL:
		return judged{}, &graphql.Error{Status: http.StatusNotFound, Message: "There is no WebSocket here: Dagster's is at " + s.prefix + "/graphql."}
	case path.Route == dagster.GraphQL && isUpgrade(r), path.Route == dagster.GraphQL && wantsGraphiQL(r):
		return s.decide(r, judged{}, policy.Read())
	case path.Route == dagster.GraphQL:
		return s.judgeGraphQL(r)
	case path.Route == dagster.ReportAsset && r.Method == http.MethodPost:
		key := reportedAsset(path)
		j := judged{Audited: true, Targets: map[string][]string{"assets": nil}}
		if key != "" {
			j.Targets["assets"] = []string{key}
		} else if key := r.URL.Query().Get("asset_key"); key != "" {
			j.Targets["assets"] = []string{key}
		}
		return s.decide(r, j, policy.ReportAsset(path.Name, assetPath(key)))
	case safeMethod(r.Method):
		return s.decide(r, judged{Audited: slices.Contains([]dagster.Route{dagster.DownloadDebug, dagster.Logs}, path.Route)}, policy.Read())
	default:
		return s.decide(r, judged{Audited: true}, policy.UnknownWrite(r.Method+" "+path.Decoded))
	}
}

// decide judges the actions, and has Dagster asked first where that can make a difference. In report-only mode a Dagster that
// does not answer keeps nobody from going on.
func (s *Server) decide(r *http.Request, j judged, actions ...policy.Action) (judged, error) {
	id := identityFrom(r.Context())
	decision, located, err := s.Policy.Settle(r.Context(), id, actions, s.Places)
	switch {
	case errors.Is(err, policy.ErrTooMany):
		return judged{}, &graphql.Error{Status: http.StatusRequestEntityTooLarge, Message: "The request names too many things at once: send it in parts."}
	case err != nil && s.ReportOnly:
		decision = s.Policy.Decide(id, actions, nil)
	case err != nil:
		return judged{}, fmt.Errorf("%w: %w", errNotLocated, err)
	}
	j.Decision = decision
	j.addLocations(located)
	if j.Operation != nil && j.Operation.Type != "mutation" {
		for _, verdict := range j.Decision.Refused() {
			j.addTarget("fields", verdict.Action.Name)
		}
	}
	return j, nil
}

// errNotLocated says that Dagster did not tell where something lives or comes from, so that nothing could be decided.
var errNotLocated = errors.New("asking Dagster what the request is about failed")

// addLocations tells the trail what Dagster was asked for.
func (j *judged) addLocations(located policy.Located) {
	for _, locations := range located {
		for _, location := range locations {
			j.addTarget("code_location", location)
		}
	}
	slices.Sort(j.Targets["code_location"])
}

func (j *judged) addTarget(kind, value string) {
	if slices.Contains(j.Targets[kind], value) {
		return
	}
	if j.Targets == nil {
		j.Targets = map[string][]string{}
	}
	j.Targets[kind] = append(j.Targets[kind], value)
}

// reportedAsset is the asset that a report names in its path, which counts before all else. One in the body or in ?asset_key=
// is not looked at when deciding: such a report counts as deployment-wide.
func reportedAsset(path dagster.Path) string {
	_, key, _ := strings.Cut(path.Decoded[1:], "/")
	return key
}

// assetPath splits a key as Dagster does (AssetKey.from_user_string).
func assetPath(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, "/")
}

// wantsGraphiQL is Dagster's own test for answering GET /graphql with the GraphiQL page instead of running the query.
func wantsGraphiQL(r *http.Request) bool {
	return safeMethod(r.Method) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func (s *Server) judgeGraphQL(r *http.Request) (judged, error) {
	schema := s.Upstream.Schema()
	var op *graphql.Operation
	var actions []policy.Action
	err := s.inTurn(r, func() (err error) {
		if op, err = s.readGraphQL(r); err == nil {
			actions = s.Policy.Actions(op, schema)
		}
		return err
	})
	if err != nil {
		return judged{}, err
	}
	if r.ContentLength > heavyBody {
		op.Forget()
	}
	j, err := s.decide(r, judged{Operation: op, Audited: op.Type == "mutation" && len(actions) > 0, Targets: targets(op)}, actions...)
	if err != nil || !s.runs(j.Decision) {
		return j, err
	}
	err = s.inTurn(r, func() error { return s.prepare(r, &j, schema) })
	if r.ContentLength > heavyBody {
		op.Forget()
	}
	return j, err
}

// inTurn lets large bodies be worked on one after the other: decoded they take many times their size for a moment.
func (s *Server) inTurn(r *http.Request, work func() error) error {
	if r.ContentLength > heavyBody {
		s.heavy.Lock()
		defer s.heavy.Unlock()
	}
	return work()
}

func (s *Server) readGraphQL(r *http.Request) (*graphql.Operation, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil, &graphql.Error{Status: http.StatusMethodNotAllowed, Message: "GraphQL takes GET and POST."}
	}
	request, err := graphql.ReadHTTP(r, s.Limits)
	if err != nil {
		return nil, err
	}
	op, err := s.documents.Parse(request)
	if err != nil {
		return nil, err
	}
	switch {
	case op.Type == "subscription":
		return nil, &graphql.Error{Status: http.StatusBadRequest, Message: "Subscriptions are served over the WebSocket only."}
	case op.Type == "mutation" && r.Method == http.MethodGet:
		s.recordMisplaced(r, op, "POST_REQUIRED_FOR_MUTATIONS")
		return nil, &graphql.Error{Status: http.StatusMethodNotAllowed, Message: "Mutations need POST."}
	}
	return op, nil
}

// runs reports whether a request is sent on: in report-only mode also what was refused, if somebody is signed in.
func (s *Server) runs(d policy.Decision) bool { return d.Allowed || s.ReportOnly }

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
	if errors.Is(err, errNotLocated) {
		logFrom(r.Context()).Warn().Err(err).Msg("the request could not be judged")
		s.refuse(w, r, refusal{
			status: http.StatusServiceUnavailable, code: "UNAVAILABLE", retryAfter: readyRetry,
			message: "Dagster did not say what this request is about, so nothing was done. Try again in a moment.",
		})
		return
	}
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
