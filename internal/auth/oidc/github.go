package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"golang.org/x/oauth2"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
)

// gitHub speaks OAuth 2.0 and no OpenID Connect: who somebody is, its API says. Its answers are not signed, but come by TLS from
// the address that was asked.
type gitHub struct{ *provider }

const (
	// gitHubPage is how many organisations or teams one answer has, and gitHubPages how many answers are read.
	gitHubPage  = 100
	gitHubPages = 10
)

func (g *gitHub) endpoint(context.Context) (oauth2.Endpoint, error) {
	return oauth2.Endpoint{
		AuthURL: g.Issuer + "/login/oauth/authorize", TokenURL: g.Issuer + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams,
	}, nil
}

// checkCallback has nothing to look at: each provider has a redirect URI of its own, so that answers can't be mixed up.
func (g *gitHub) checkCallback(context.Context, url.Values) error { return nil }

// api is the address of the API: GitHub Enterprise Server has it below its own.
func (g *gitHub) api() string {
	if g.Issuer == "https://github.com" {
		return "https://api.github.com"
	}
	return g.Issuer + "/api/v3"
}

func (g *gitHub) person(ctx context.Context, token *oauth2.Token, expect expectation) (person, error) {
	var user struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"`
	}
	if err := g.get(ctx, token, "/user", &user); err != nil {
		return person{}, err
	}
	who := person{subject: strconv.FormatInt(user.ID, 10), names: []string{user.Login}, fullName: claims{"name": user.Name}.text("name")}
	switch {
	case user.ID <= 0:
		return person{}, refused(reasonAnswer, errors.New("the user has no ID"))
	case expect.subject != "" && who.subject != expect.subject:
		return person{}, refused(reasonAnswer, errors.New("it is about somebody else than before"))
	}
	var emails []struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	if err := g.get(ctx, token, "/user/emails", &emails); err != nil {
		return person{}, err
	}
	for _, address := range emails {
		if address.Primary && address.Verified {
			who.email, who.verified = address.Email, true
		}
	}
	var err error
	who.groups, err = g.memberships(ctx, token)
	return who, err
}

// memberships are organisations, acme, and teams, acme/data.
func (g *gitHub) memberships(ctx context.Context, token *oauth2.Token) ([]string, error) {
	type organisation struct {
		Login string `json:"login"`
	}
	type team struct {
		Slug         string       `json:"slug"`
		Organisation organisation `json:"organization"`
	}
	organisations, err := pages[organisation](ctx, g, token, "/user/orgs")
	if err != nil {
		return nil, err
	}
	teams, err := pages[team](ctx, g, token, "/user/teams")
	if err != nil {
		return nil, err
	}
	var groups []any
	for _, one := range organisations {
		groups = append(groups, one.Login)
	}
	for _, one := range teams {
		if one.Slug != "" && one.Organisation.Login != "" {
			groups = append(groups, one.Organisation.Login+"/"+one.Slug)
		}
	}
	return groupsOf(groups)
}

// pages reads a list to its end.
func pages[T any](ctx context.Context, g *gitHub, token *oauth2.Token, path string) ([]T, error) {
	var all []T
	for number := 1; number <= gitHubPages; number++ {
		var page []T
		if err := g.get(ctx, token, fmt.Sprintf("%s?per_page=%d&page=%d", path, gitHubPage, number), &page); err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < gitHubPage {
			return all, nil
		}
	}
	return nil, refused(reasonAnswer, fmt.Errorf("%s has more than %d entries", path, gitHubPage*gitHubPages))
}

func (g *gitHub) get(ctx context.Context, token *oauth2.Token, path string, into any) error {
	var answer json.RawMessage
	err := getJSON(ctx, g.client, g.api()+path, token.AccessToken, &answer)
	status, answered := errors.AsType[remote.StatusError](err)
	switch {
	case err == nil:
		if err := readOnce(answer, into); err != nil {
			return refused(reasonAnswer, fmt.Errorf("what GitHub answers for %s: %w", path, err))
		}
		return nil
	// 403 is also how GitHub says that it was asked too often.
	case answered && (status == http.StatusUnauthorized || status == http.StatusNotFound):
		return refused(reasonAnswer, fmt.Errorf("ask GitHub for %s: %w", path, err))
	}
	return fmt.Errorf("%w: ask GitHub for %s: %w", auth.ErrUnavailable, path, err)
}
