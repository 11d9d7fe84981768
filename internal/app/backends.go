package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/ldap"
	"dagster-authkit/internal/auth/oidc"
	"dagster-authkit/internal/config"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/server"
	"dagster-authkit/internal/session"
	"dagster-authkit/internal/store"
)

// backends are the ways to sign in that the settings name.
type backends struct {
	// passwords are those that take a name and a password, in their order.
	passwords auth.Order
	// refreshers are those that are asked again later, by name.
	refreshers map[string]auth.Refresher
	// providers are the ways to sign in on somebody else's page; nil: there are none.
	providers *oidc.Providers
	// presenters are those that say at each request who sent it.
	presenters []server.Presenter
	// close gives back what a backend keeps open; nil: nothing.
	close func()
}

func newBackends(
	rows *store.Store, passwords *auth.Passwords, roles *policy.Roles, key []byte, cfg config.Config, log zerolog.Logger,
) (*backends, error) {
	b := &backends{refreshers: map[string]auth.Refresher{}}
	for _, name := range cfg.Backends {
		switch name {
		case config.BackendLocal:
			local, err := auth.NewLocal(auth.LocalOptions{Users: rows, Passwords: passwords})
			if err != nil {
				return nil, err
			}
			b.passwords = append(b.passwords, local)
		case config.BackendLDAP:
			directory, err := ldap.New(LDAPOptions(cfg, roles, log))
			if err != nil {
				return nil, err
			}
			b.passwords = append(b.passwords, directory)
			b.refreshers[directory.Name()], b.close = directory, directory.Close
		case config.BackendDummy:
			b.passwords = append(b.passwords, auth.NewDummy())
		case config.BackendOIDC:
			var err error
			if b.providers, err = NewProviders(cfg, roles, key, rows); err != nil {
				return nil, err
			}
			b.refreshers[name] = b.providers
		case config.BackendHeader:
			presenter, err := newHeader(rows, roles, cfg)
			if err != nil {
				return nil, err
			}
			b.presenters = append(b.presenters, presenter)
		default:
			return nil, fmt.Errorf("no backend is called %s", name)
		}
	}
	return b, nil
}

// LDAPOptions are the directory's part of the settings. The command check-ldap uses them as well.
func LDAPOptions(cfg config.Config, roles *policy.Roles, log zerolog.Logger) ldap.Options {
	l := cfg.LDAP
	return ldap.Options{
		Servers: l.Servers, StartTLS: l.UseTLS, CACert: l.CACert, Timeout: l.Timeout,
		BindDN: l.BindDN, BindPassword: l.BindPassword.Reveal(), BaseDN: l.BaseDN, UserFilter: l.UserFilter,
		SubjectAttribute: l.SubjectAttribute, NameAttribute: l.NameAttribute, EmailAttribute: l.EmailAttribute, FullNameAttributes: l.FullName,
		MemberOf: l.Groups == config.LDAPMemberOf, GroupBaseDN: l.GroupBaseDN, GroupFilter: l.GroupFilter, Nested: l.NestedGroups,
		RoleAttribute:   l.RoleAttribute,
		ActiveDirectory: l.ActiveDirectory(),
		Rules:           slices.Concat(cfg.RulesFor(identity.SourceLDAP), l.GroupRules()), Default: cfg.DefaultRole, Roles: roles, Log: log,
	}
}

// NewProviders makes the OpenID Connect providers of the settings. It asks none of them. used is nil when nobody will sign in.
func NewProviders(cfg config.Config, roles *policy.Roles, key []byte, used oidc.Used) (*oidc.Providers, error) {
	exact := func(group string) string { return group } // a claim is written by a program, always the same way
	o := oidc.Options{BaseURL: cfg.ExternalURL.String() + cfg.PathPrefix, Key: key, Unchecked: cfg.OIDCUnchecked, Used: used}
	for _, p := range cfg.OIDC {
		rules, err := auth.NewRoleRules(auth.RoleRulesOptions{
			Source: p.ID, Rules: cfg.RulesFor(p.ID), Default: cfg.DefaultRole, Roles: roles, Normal: exact,
		})
		if err != nil {
			return nil, fmt.Errorf("rules for the groups of %s: %w", p.ID, err)
		}
		o.Providers = append(o.Providers, oidc.ProviderOptions{
			ID: p.ID, Name: p.Name, Preset: p.Preset, Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(),
			Scopes: p.Scopes, GroupsClaim: p.GroupsClaim, AllowedDomains: p.AllowedDomains, AllowedGroups: p.AllowedGroups, CAFile: p.CACert,
			Rules: rules,
		})
	}
	return oidc.New(o)
}

// serverBackend and serverProviders are nil where there are none: an interface that holds a nil pointer is not.
func (b *backends) serverBackend() auth.Backend {
	if len(b.passwords) == 0 {
		return nil
	}
	return b.passwords
}

func (b *backends) serverProviders() server.Providers {
	if b.providers == nil {
		return nil
	}
	return b.providers
}

// vouching are the names of those that are asked again later.
func (b *backends) vouching() []string {
	names := make([]string, 0, len(b.refreshers))
	for name := range b.refreshers {
		names = append(names, name)
	}
	return names
}

// knowing are those of them that can be asked about somebody of whom there is no session. OpenID Connect providers can't: they
// are asked by the refresh token of one.
func (b *backends) knowing() []string {
	return slices.DeleteFunc(b.vouching(), func(name string) bool { return name == config.BackendOIDC })
}

// refresh is nil when no backend has to be asked.
func (b *backends) refresh(rows *store.Store) session.Refresh {
	if len(b.refreshers) == 0 {
		return nil
	}
	return func(ctx context.Context, user identity.User, by identity.Voucher) ([]byte, error) {
		backend, found := b.refreshers[user.Backend]
		if !found {
			return nil, fmt.Errorf("%w: the backend %s is not asked any more", session.ErrGone, user.Backend)
		}
		now, secret, err := backend.Refresh(ctx, user, by)
		_, roleless := errors.AsType[*auth.NoRoleError](err)
		if roleless {
			if err := rows.LoseRole(ctx, user.Backend, user.Subject); err != nil {
				return secret, fmt.Errorf("take a role away: %w", err)
			}
		}
		switch {
		case roleless || errors.Is(err, auth.ErrGone):
			return nil, fmt.Errorf("%w: %w", session.ErrGone, err)
		case err != nil:
			return secret, err // the secret before it may be used up
		case now.ID() != user.ID():
			return nil, fmt.Errorf("%w: the backend gave %s in place of %s", session.ErrGone, now.ID(), user.ID())
		}
		if _, err := rows.UpsertUser(ctx, now); err != nil {
			return secret, fmt.Errorf("store the refreshed user: %w", err)
		}
		return secret, nil
	}
}
