package app

import (
	"fmt"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/header"
	idp "dagster-authkit/internal/auth/remote"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/store"
)

// newHeader makes the backend that takes a proxy's word.
func newHeader(rows *store.Store, roles *policy.Roles, cfg config.Config) (*header.Backend, error) {
	rules, err := auth.NewRoleRules(auth.RoleRulesOptions{
		// A proxy writes a group always the same way: who may name a group there must not get another's role by a look-alike.
		Source: identity.SourceHeader, Rules: cfg.HeaderRules(), Default: cfg.DefaultRole, Roles: roles, Normal: func(group string) string { return group },
	})
	if err != nil {
		return nil, fmt.Errorf("rules for the groups of the header backend: %w", err)
	}
	p := cfg.Proxy
	o := header.Options{
		TrustedProxies: cfg.TrustedProxies, TrustAll: p.TrustAll, Rules: rules, Users: rows, Lasting: cfg.RefreshInterval,
		Plain: header.Plain{User: p.UserHeader, Groups: p.GroupsHeader, Email: p.EmailHeader, Name: p.NameHeader, Separator: p.GroupsSeparator},
	}
	if p.TokenHeader != "" {
		client, err := idp.NewClient(idp.Options{CAFile: p.CAFile})
		if err != nil {
			return nil, fmt.Errorf("asking for the keys of signed headers: %w", err)
		}
		o.Token = header.Token{
			Header: p.TokenHeader, KeysURL: p.KeysURL, Issuer: p.Issuer, Audience: p.Audience,
			UserClaim: p.UserClaim, GroupsClaim: p.GroupsClaim, LoadBalancer: p.LoadBalancer(), Client: client,
		}
	}
	return header.New(o)
}
