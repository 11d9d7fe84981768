package server

import (
	"errors"
	"net/http"
	"runtime/debug"
	"strings"

	"dagster-authkit/internal/dagster"
)

// recover turns a panic into one logged 500. http.ErrAbortHandler is how the proxy says that the client left; it goes on.
func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			problem := recover()
			if problem == nil {
				return
			}
			if err, ok := problem.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(problem)
			}
			logFrom(r.Context()).Error().Interface("panic", problem).Bytes("stack", debug.Stack()).Msg("request handler panicked")
			if recorder, ok := w.(*recorder); ok && recorder.code != 0 {
				panic(http.ErrAbortHandler) // half an answer is out: cut it, so that it does not look whole
			}
			s.refuse(w, r, refusal{status: http.StatusInternalServerError, code: "INTERNAL", message: "Something went wrong here."})
		}()
		next.ServeHTTP(w, r)
	})
}

// route reads the path as Dagster reads it. Below a prefix, the site's root and the prefix itself lead to the prefix with
// its slash before anything else is asked, since the session cookie's path begins there.
func (s *Server) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, err := dagster.ReadPath(r.URL, s.prefix)
		switch {
		case errors.Is(err, dagster.ErrOutsidePrefix) && (r.URL.Path == "/" || r.URL.Path == s.prefix) && safeMethod(r.Method):
			http.Redirect(w, r, s.prefix+"/", http.StatusTemporaryRedirect)
			return
		case errors.Is(err, dagster.ErrOutsidePrefix):
			s.refuse(w, r, refusal{status: http.StatusNotFound, code: "NOT_FOUND", message: "Nothing is here: this Dagster is served below " + s.prefix + "/."})
			return
		case err != nil:
			s.refuse(w, r, refusal{status: http.StatusBadRequest, code: "BAD_REQUEST", message: "This address can't be read: " + err.Error() + "."})
			return
		}
		next.ServeHTTP(w, r.WithContext(with(r.Context(), pathKey, path)))
	})
}

// split parts AuthKit's own pages from Dagster's.
func (s *Server) split(ours, theirs http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := pathFrom(r.Context())
		mine := path.Decoded == "/auth" || strings.HasPrefix(path.Decoded, "/auth/")
		if recorder, ok := w.(*recorder); ok {
			recorder.routeName = path.Name
			if mine {
				recorder.routeName = "auth"
			}
		}
		if mine {
			ours.ServeHTTP(w, r)
			return
		}
		theirs.ServeHTTP(w, r)
	})
}

// ours are the routes below {prefix}/auth/. No Dagster route begins so in any version.
func (s *Server) ours() http.Handler {
	routes := map[string]map[string]http.HandlerFunc{
		"/auth/login":   {http.MethodGet: s.showLogin, http.MethodPost: s.login},
		"/auth/logout":  {http.MethodGet: s.showLogout, http.MethodPost: s.logout},
		"/auth/me":      {http.MethodGet: s.me},
		"/auth/beat":    {http.MethodPost: s.beat},
		"/auth/health":  {http.MethodGet: s.health},
		"/auth/metrics": {http.MethodGet: s.serveMetrics},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		decoded := pathFrom(r.Context()).Decoded
		if strings.HasPrefix(decoded, "/auth/static/") {
			s.assets.ServeHTTP(w, r)
			return
		}
		methods := routes[decoded]
		if strings.HasPrefix(decoded, providerPath) {
			methods = s.providerRoutes(decoded)
		}
		if methods == nil {
			s.notFound(w, r)
			return
		}
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		handler, allowed := methods[method]
		if !allowed {
			w.Header().Set("Allow", allow(methods))
			s.refuse(w, r, refusal{status: http.StatusMethodNotAllowed, code: "METHOD_NOT_ALLOWED", message: "This address does not take " + r.Method + "."})
			return
		}
		handler(w, r)
	})
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	if wantsDocument(r) {
		s.pages.NotFound(w)
		return
	}
	s.refuse(w, r, refusal{status: http.StatusNotFound, code: "NOT_FOUND", message: "There is no such page."})
}

func allow(methods map[string]http.HandlerFunc) string {
	var names []string
	for _, name := range []string{http.MethodGet, http.MethodPost} {
		if methods[name] != nil {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func safeMethod(method string) bool { return method == http.MethodGet || method == http.MethodHead }
