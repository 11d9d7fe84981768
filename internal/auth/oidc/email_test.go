package oidc_test

import "testing"

// TestEmailOfOneSource: a verification counts for the address that it was said of, not for one from elsewhere.
func TestEmailOfOneSource(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	options := s.options()
	options.AllowedDomains = []string{"company.com"}
	p := providers(t, options)
	s.claims["preferred_username"], s.claims["name"] = nil, nil // so that userinfo is always asked
	const ada, other = "ada@company.com", "boss@company.com"
	for name, tc := range map[string]struct {
		email, verified, infoEmail, infoVerified any
		want                                     string
	}{
		"the token alone":                  {ada, true, nil, nil, ""},
		"userinfo alone":                   {nil, nil, ada, true, ""},
		"userinfo of the token's address":  {ada, nil, ada, true, ""},
		"the token's, of no address":       {nil, true, ada, nil, "EMAIL_NOT_VERIFIED"},
		"userinfo says no":                 {nil, true, ada, false, "EMAIL_NOT_VERIFIED"},
		"the token says no":                {ada, false, ada, true, "EMAIL_NOT_VERIFIED"},
		"userinfo's, of another":           {ada, nil, other, true, "EMAIL_NOT_VERIFIED"},
		"userinfo's, of no address":        {ada, nil, nil, true, "EMAIL_NOT_VERIFIED"},
		"userinfo's, of one nearly such":   {ada, nil, ada + "\x00", true, "EMAIL_NOT_VERIFIED"},
		"two lists":                        {[]string{ada}, nil, []string{ada}, true, "EMAIL_NOT_VERIFIED"},
		"an address that is no text there": {nil, true, []string{ada}, nil, "EMAIL_NOT_VERIFIED"},
	} {
		s.change(func(s *standIn) {
			s.claims["email"], s.claims["email_verified"] = tc.email, tc.verified
			s.userinfo = map[string]any{"sub": "42"}
			for claim, value := range map[string]any{"email": tc.infoEmail, "email_verified": tc.infoVerified} {
				if value != nil {
					s.userinfo[claim] = value
				}
			}
		})
		if _, err := signIn(t, p, s); reason(err) != tc.want {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}
