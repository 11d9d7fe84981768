package server

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"dagster-authkit/internal/session"
)

// TestStoreFault: what people read blames nothing that may be well, and has no insides.
func TestStoreFault(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"a backend's settings": {errors.New("the entry cn=ada has no entryUUID"), "Something that AuthKit needs does not work"},
		"overdue":              {fmt.Errorf("load: %w", session.ErrUnconfirmed), "The server that knows your account has not answered"},
	} {
		w := httptest.NewRecorder()
		(&Server{}).storeFault(w, httptest.NewRequest("GET", "/graphql", nil), tc.err, "finding out who asks")
		body := w.Body.String()
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(body, tc.want) || strings.Contains(body, "database") || strings.Contains(body, "cn=ada") {
			t.Errorf("%s: got %d, %s", name, w.Code, body)
		}
	}
}
