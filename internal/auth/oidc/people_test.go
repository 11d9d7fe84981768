package oidc_test

import (
	"net/http"
	"testing"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// TestWhoMayEnter: domains and groups.
func TestWhoMayEnter(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	options := s.options()
	options.AllowedDomains, options.AllowedGroups = []string{"Company.com"}, []string{"staff", "Admins"}
	p := providers(t, options)
	s.claims["groups"] = []string{"admins", "staff"}
	for _, tc := range []struct {
		email    any
		verified any
		groups   []string
		want     string
	}{
		{"ada@company.com", true, []string{"admins", "staff"}, ""},
		{"Ada@COMPANY.COM", true, []string{"admins", "staff"}, ""},
		{"adá.lövelace+x@company.com", true, []string{"admins", "staff"}, ""},
		{"ada@company.com", false, []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{"ada@company.com", nil, []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{"ada@company.com", "false", []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{"ada@company.com", 1, []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{nil, true, []string{"admins", "staff"}, "EMAIL_NOT_VERIFIED"},
		{"attacker@evil.com@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{`"attacker@evil.com"@company.com`, true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com.evil.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@evilcompany.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@sub.company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@evil.com,ada@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com\x00", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@com\x00pany.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com\x1b", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"\tada@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com ", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com\u00a0", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"a\u00adda@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada\u200b@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"\u202eada@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"\ufeffada@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada\u3164@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada\ufe0f@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada\u2800@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada\ufffd@company.com", true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{[]string{"ada@company.com"}, true, []string{"admins", "staff"}, "EMAIL_DOMAIN"},
		{"ada@company.com", true, []string{"admins"}, "GROUP_NOT_ALLOWED"},
		{"ada@company.com", true, []string{"admins", "STAFF"}, "GROUP_NOT_ALLOWED"},
	} {
		s.change(func(s *standIn) {
			s.claims["email"], s.claims["email_verified"], s.claims["groups"] = tc.email, tc.verified, tc.groups
			s.userinfo = map[string]any{"sub": "42"}
		})
		if _, err := signIn(t, p, s); reason(err) != tc.want {
			t.Errorf("%v, %v, %v: got %v, want %q", tc.email, tc.verified, tc.groups, err, tc.want)
		}
	}
}

// TestUserinfo: what the token lacks is asked for, and believed of the same person alone.
func TestUserinfo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(s *standIn)
		want   string
		role   identity.Role
		email  string
	}{
		"control": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "42", "groups": []string{"viewers"}, "email": "x@y.z", "email_verified": true}
			s.claims["groups"], s.claims["email"], s.claims["email_verified"] = nil, nil, nil
		}, "", "viewer", "x@y.z"},
		"the token is before it": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "42", "groups": []string{"viewers"}, "email": "x@y.z", "email_verified": true}
			s.claims["email"] = nil
		}, "", "admin", "x@y.z"},
		"a verification of another address": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "42", "groups": []string{"viewers"}, "email": "x@y.z", "email_verified": true}
			s.claims["groups"], s.claims["email_verified"] = nil, nil
		}, "", "viewer", ""},
		"an address that can't be seen whole": {func(s *standIn) {
			s.claims["email"] = "ada@company.com\x00"
		}, "", "admin", ""},
		"of somebody else": {func(s *standIn) {
			s.userinfo = map[string]any{"sub": "43", "groups": []string{"admins"}}
			s.claims["groups"] = nil
		}, "PROVIDER_ANSWER", "", ""},
		"of nobody": {func(s *standIn) {
			s.userinfo = map[string]any{"groups": []string{"admins"}}
			s.claims["groups"] = nil
		}, "PROVIDER_ANSWER", "", ""},
		"down": {func(s *standIn) {
			s.claims["groups"] = nil
			s.paths["/me"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		}, "unavailable", "", ""},
		"too large": {func(s *standIn) {
			s.claims["groups"] = nil
			s.paths["/me"] = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<20)) }
		}, "unavailable", "", ""},
		"overage": {func(s *standIn) {
			s.claims["groups"] = nil
			s.claims["_claim_names"] = map[string]any{"groups": "src1"}
			s.claims["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": s.URL + "/graph"}}
		}, "TOO_MANY_GROUPS", "", ""},
		"overage, the other way": {func(s *standIn) { s.claims["groups"], s.claims["hasgroups"] = nil, "true" }, "TOO_MANY_GROUPS", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			tc.change(s)
			arrival, err := signIn(t, providers(t, s.options()), s)
			if reason(err) != tc.want || arrival.User.Role != tc.role || err == nil && arrival.User.Email != tc.email {
				t.Errorf("got the role %q, the address %q, %v, want %q, %q, %q", arrival.User.Role, arrival.User.Email, err, tc.role, tc.email, tc.want)
			}
			if s.times("/graph") > 0 {
				t.Error("an address from a token was asked")
			}
		})
	}
}

// TestGroupsOfTwoProviders: a group of the name that a rule of another provider has gives nothing, at the sign-in and later.
func TestGroupsOfTwoProviders(t *testing.T) {
	t.Parallel()
	roles, err := policy.NewRoles(nil)
	if err != nil {
		t.Fatal(err)
	}
	company, other := newStandIn(t), newStandIn(t)
	var list []oidc.ProviderOptions
	for id, s := range map[string]*standIn{"company": company, "other": other} {
		o := s.options()
		o.ID = id
		rule := identity.GroupRule{Source: id, Group: map[string]string{"company": "admins", "other": "guests"}[id], Role: map[string]identity.Role{"company": "admin", "other": "viewer"}[id]}
		o.Rules, err = auth.NewRoleRules(auth.RoleRulesOptions{Source: id, Rules: []identity.GroupRule{rule}, Roles: roles, Normal: func(group string) string { return group }})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, o)
	}
	p := providers(t, list...)
	enter := func(id string, s *standIn, groups ...string) (auth.Arrival, error) {
		s.change(func(s *standIn) { s.claims["groups"] = groups })
		departure, err := p.Depart(t.Context(), id, "/")
		if err != nil {
			t.Fatal(err)
		}
		return p.Arrive(t.Context(), id, s.authorize(departure.Location), departure.Ticket)
	}
	if arrival, err := enter("company", company, "admins"); err != nil || arrival.User.Role != "admin" || arrival.User.GroupSource != "company" {
		t.Errorf("the control: got %+v, %v, want an admin", arrival.User, err)
	}
	if _, err := enter("other", other, "admins"); reason(err) != "no role" {
		t.Errorf("the other's group of that name: got %v, want no role", err)
	}
	arrival, err := enter("other", other, "guests")
	if err != nil || arrival.User.Role != "viewer" || arrival.User.GroupSource != "other" {
		t.Fatalf("the other's own: got %+v, %v, want a viewer", arrival.User, err)
	}
	other.change(func(s *standIn) { s.claims["groups"] = []string{"admins", "guests"} })
	if now, _, err := p.Refresh(t.Context(), arrival.User, arrival.By); err != nil || now.Role != "viewer" || now.GroupSource != "other" {
		t.Errorf("a refresh: got %+v, %v, want a viewer", now, err)
	}
}
