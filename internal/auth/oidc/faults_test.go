package oidc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFaults: a provider that answers too much, too late, packed, or from elsewhere. Nobody gets in, and the secret goes to its
// token endpoint alone, once.
func TestFaults(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(make([]byte, 64<<20))
	_ = zip.Close()
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	stolen := make(chan string, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.URL.Path }))
	t.Cleanup(thief.Close)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else it is not noticed that the client left
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}
	at := func(path string, handle http.HandlerFunc) func(*standIn) {
		return func(s *standIn) { s.paths[path] = handle }
	}
	describes := func(name string, value any) func(*standIn) {
		return func(s *standIn) { s.described[name] = value }
	}
	const discovery = "/.well-known/openid-configuration"
	huge := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), 2<<20)) }
	gzipped := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}
	for name, tc := range map[string]struct {
		change func(s *standIn)
		want   string
	}{
		"control":                    {func(*standIn) {}, ""},
		"huge description":           {at(discovery, huge), "unavailable"},
		"packed description":         {at(discovery, gzipped), "unavailable"},
		"slow description":           {at(discovery, hang), "unavailable"},
		"redirected description":     {at(discovery, http.RedirectHandler(thief.URL+"/x", http.StatusFound).ServeHTTP), "unavailable"},
		"description of another":     {describes("issuer", thief.URL), "unavailable"},
		"no token endpoint":          {describes("token_endpoint", ""), "unavailable"},
		"token endpoint without TLS": {describes("token_endpoint", "http://id.example.com/token"), "unavailable"},
		"key address without TLS":    {describes("jwks_uri", "http://id.example.com/keys"), "unavailable"},
		"userinfo without TLS":       {describes("userinfo_endpoint", "http://id.example.com/me"), "unavailable"},
		"sign-out of another scheme": {describes("end_session_endpoint", "javascript:alert(1)"), "unavailable"},
		"a file for keys":            {describes("jwks_uri", "file:///etc/passwd"), "unavailable"},
		"HS256 alone":                {describes("id_token_signing_alg_values_supported", []string{"HS256", "none"}), "unavailable"},
		"plain challenges alone":     {describes("code_challenge_methods_supported", []string{"plain"}), "unavailable"},
		"secret by assertion alone":  {describes("token_endpoint_auth_methods_supported", []string{"private_key_jwt"}), "unavailable"},
		"huge keys":                  {at("/keys", huge), "unavailable"},
		"packed keys":                {at("/keys", gzipped), "unavailable"},
		"slow keys":                  {at("/keys", hang), "unavailable"},
		"redirected keys":            {at("/keys", http.RedirectHandler(thief.URL+"/x", http.StatusFound).ServeHTTP), "unavailable"},
		"huge token":                 {at("/token", huge), "PROVIDER_ANSWER"},
		"endless token": {at("/token", func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
					return
				}
			}
		}), "PROVIDER_ANSWER"},
		"packed token":                {at("/token", gzipped), "unavailable"},
		"slow token":                  {at("/token", hang), "unavailable"},
		"redirected token":            {at("/token", http.RedirectHandler(thief.URL+"/x", http.StatusTemporaryRedirect).ServeHTTP), "unavailable"},
		"redirected token, same host": {at("/token", http.RedirectHandler("/me", http.StatusTemporaryRedirect).ServeHTTP), "unavailable"},
		"refused secret": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.refuse(w, 401, "invalid_client") }
		}, "PROVIDER_REFUSED_US"},
		"token endpoint fails": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.refuse(w, 500, "server_error") }
		}, "unavailable"},
		"no ID token": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.write(w, map[string]any{"access_token": "access"}) }
		}, "PROVIDER_ANSWER"},
		"no token at all": {func(s *standIn) {
			s.answer = func(w http.ResponseWriter, _ *http.Request) { s.write(w, map[string]any{}) }
		}, "PROVIDER_ANSWER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			tc.change(s)
			patience := time.Minute
			if strings.HasPrefix(name, "slow") {
				patience = time.Second
			}
			_, err := signIn(t, patient(t, patience, s.options()), s)
			if reason(err) != tc.want {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "<script>")) {
				t.Errorf("the error has what is nobody's to see: %v", err)
			}
			if s.times("/token") > 1 {
				t.Errorf("the token endpoint was asked %d times, want once at most", s.times("/token"))
			}
		})
	}
	if len(stolen) > 0 {
		t.Errorf("another host was asked for %s", <-stolen)
	}
}

// TestDownAndUp: a provider that is down at first is asked again; nothing has to be restarted.
func TestDownAndUp(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	s.paths["/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	p := providers(t, s.options())
	if _, err := signIn(t, p, s); reason(err) != "unavailable" {
		t.Errorf("down: got %v", err)
	}
	s.change(func(s *standIn) { clear(s.paths) })
	if _, err := signIn(t, p, s); err != nil {
		t.Errorf("up again: got %v", err)
	}
	// A client that leaves meanwhile gets no answer, and does no harm.
	held := make(chan struct{})
	defer close(held)
	s.change(func(s *standIn) {
		s.paths["/.well-known/openid-configuration"] = func(http.ResponseWriter, *http.Request) { <-held }
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := providers(t, s.options()).Depart(ctx, "sso", ""); err == nil {
		t.Error("a client that left got an answer")
	}
}

// TestRotatedKeys: a new key is found at once, and a withdrawn one is worth nothing.
func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	if _, err := signIn(t, p, s); err != nil {
		t.Fatal(err)
	}
	next := rsaKey(2048)
	s.change(func(s *standIn) { s.key, s.keyID = next, "two"; s.publish(next.Public(), "two") })
	if _, err := signIn(t, p, s); err != nil {
		t.Errorf("the new key: %v", err)
	}
	before, begun := s.times("/keys"), time.Now()
	s.change(func(s *standIn) { s.keyID = "unknown" })
	var tries sync.WaitGroup
	for range 8 {
		tries.Go(func() {
			if _, err := signIn(t, p, s); reason(err) != "PROVIDER_ANSWER" {
				t.Errorf("an unknown key: got %v", err)
			}
		})
	}
	tries.Wait()
	if asked, seconds := s.times("/keys")-before, int(time.Since(begun)/time.Second); asked > seconds+1 {
		t.Errorf("8 tokens of an unknown key had the keys read %d times in %d s, want once a second at most", asked, seconds)
	}
}

// TestKeysThatFail: while the keys can't be read, whoever sends tokens of unknown keys has them asked for no more often than while
// they can. Nobody is told that such a token is bad, and who waits when they can be read again gets in.
func TestKeysThatFail(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	p := providers(t, s.options())
	if _, err := signIn(t, p, s); err != nil {
		t.Fatal(err)
	}
	next := rsaKey(2048)
	s.change(func(s *standIn) {
		s.key, s.keyID = next, "two"
		s.publish(next.Public(), "two")
		s.paths["/keys"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	})
	before, begun := s.times("/keys"), time.Now()
	for range 3 {
		if _, err := signIn(t, p, s); reason(err) != "unavailable" {
			t.Errorf("an unknown key while none can be read: got %v, want that the provider is unavailable", err)
		}
	}
	var tries sync.WaitGroup
	for range 8 {
		tries.Go(func() {
			if _, err := signIn(t, p, s); reason(err) != "unavailable" {
				t.Errorf("one of several: got %v, want that the provider is unavailable", err)
			}
		})
	}
	tries.Wait()
	asked, seconds := s.times("/keys")-before, int(time.Since(begun)/time.Second)
	if asked == 0 || asked > seconds+1 {
		t.Errorf("11 tokens of an unknown key had the keys asked for %d times in %d s, want once a second at most", asked, seconds)
	}
	s.change(func(s *standIn) { clear(s.paths) })
	for range 4 {
		tries.Go(func() {
			if _, err := signIn(t, p, s); err != nil {
				t.Errorf("the control: they can be read again: %v", err)
			}
		})
	}
	tries.Wait()
}
