package oidc_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/oidc"
)

// TestCallbacks: what a browser comes back with is good once, in that browser, of that provider.
func TestCallbacks(t *testing.T) {
	t.Parallel()
	s, elsewhere := newStandIn(t), newStandIn(t)
	second := elsewhere.options()
	second.ID = "other"
	p := providers(t, s.options(), second)
	depart := func(id string) auth.Departure {
		departure, err := p.Depart(t.Context(), id, "/dag/")
		if err != nil {
			t.Fatal(err)
		}
		return departure
	}
	for name, tc := range map[string]struct {
		change func(query url.Values, d *auth.Departure) string // returns the provider's ID
		want   string
	}{
		"control":          {func(url.Values, *auth.Departure) string { return "sso" }, ""},
		"without iss":      {func(q url.Values, _ *auth.Departure) string { q.Del("iss"); return "sso" }, ""},
		"no ticket":        {func(_ url.Values, d *auth.Departure) string { d.Ticket = ""; return "sso" }, "stale"},
		"another's ticket": {func(_ url.Values, d *auth.Departure) string { d.Ticket = depart("sso").Ticket; return "sso" }, "stale"},
		"a changed ticket": {func(_ url.Values, d *auth.Departure) string {
			d.Ticket = d.Ticket[:len(d.Ticket)-2] + "AA"
			return "sso"
		}, "stale"},
		"no state":         {func(q url.Values, _ *auth.Departure) string { q.Del("state"); return "sso" }, "stale"},
		"another state":    {func(q url.Values, _ *auth.Departure) string { q.Set("state", "x"); return "sso" }, "stale"},
		"two states":       {func(q url.Values, _ *auth.Departure) string { q.Add("state", q.Get("state")); return "sso" }, "stale"},
		"two codes":        {func(q url.Values, _ *auth.Departure) string { q.Add("code", "x"); return "sso" }, "stale"},
		"another provider": {func(url.Values, *auth.Departure) string { return "other" }, "stale"},
		"mix-up":           {func(q url.Values, _ *auth.Departure) string { q.Set("iss", elsewhere.URL); return "sso" }, "PROVIDER_ANSWER"},
		"empty iss":        {func(q url.Values, _ *auth.Departure) string { q.Set("iss", ""); return "sso" }, "PROVIDER_ANSWER"},
		"made-up code":     {func(q url.Values, _ *auth.Departure) string { q.Set("code", "x"); return "sso" }, "stale"},
		"another sign-in's code": {func(q url.Values, _ *auth.Departure) string {
			q.Set("code", s.authorize(depart("sso").Location).Get("code"))
			return "sso"
		}, "stale"},
		"no code": {func(q url.Values, _ *auth.Departure) string { q.Del("code"); return "sso" }, "PROVIDER_ANSWER"},
		"denied":  {func(q url.Values, _ *auth.Departure) string { q.Set("error", "access_denied"); return "sso" }, "ACCESS_DENIED"},
		"an error of anybody's": {func(q url.Values, _ *auth.Departure) string {
			q.Set("error", "<script>alert(1)</script>")
			return "sso"
		}, "PROVIDER_REFUSED"},
		"down for a while": {func(q url.Values, _ *auth.Departure) string { q.Set("error", "temporarily_unavailable"); return "sso" }, "unavailable"},
	} {
		departure := depart("sso")
		query := s.authorize(departure.Location)
		id := tc.change(query, &departure)
		_, err := p.Arrive(t.Context(), id, query, departure.Ticket)
		if reason(err) != tc.want {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
		if refusal, is := errorsAs(err); is && strings.ContainsAny(refusal.Message, "<>") {
			t.Errorf("%s: the message has the address's text: %s", name, refusal.Message)
		}
		// Whatever came of it, it is used up.
		if tc.want != "stale" {
			if _, err := p.Arrive(t.Context(), id, query, departure.Ticket); reason(err) != "stale" {
				t.Errorf("%s, again: got %v, want ErrStale", name, err)
			}
		}
	}
	if _, err := p.Depart(t.Context(), "nobody", "/"); !errors.Is(err, oidc.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	// A provider that announces RFC 9207 has to keep to it.
	strict := newStandIn(t)
	strict.described["authorization_response_iss_parameter_supported"] = true
	p = providers(t, strict.options())
	if _, err := signIn(t, p, strict); err != nil {
		t.Errorf("with iss: %v", err)
	}
	departure, _ := p.Depart(t.Context(), "sso", "")
	query := strict.authorize(departure.Location)
	query.Del("iss")
	if _, err := p.Arrive(t.Context(), "sso", query, departure.Ticket); reason(err) != "PROVIDER_ANSWER" {
		t.Errorf("without the announced iss: got %v", err)
	}
}
