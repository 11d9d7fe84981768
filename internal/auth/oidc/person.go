package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/auth/remote"
	"dagster-authkit/internal/identity"
)

// person is what a provider says of somebody, in our words.
type person struct {
	subject  string
	names    []string // what the person may be called, the best first
	fullName string
	email    string
	verified bool // the provider knows that the address is the person's
	groups   []string
	session  string // what the provider calls the session there
	idToken  string
	silent   bool // a refresh told nothing of the person but that they are still there
}

// longestSession bounds what a provider may call a session.
const longestSession = 255

// username is the first name that an account may have. It is for people to read; who somebody is, the subject says.
func (p person) username() string {
	for _, name := range p.names {
		if name != "" && identity.CheckName(name) == nil {
			return name
		}
	}
	sum := sha256.Sum256([]byte(p.subject))
	return "user-" + hex.EncodeToString(sum[:6])
}

// shownEmail is the address that runs are tagged with and that pages show: one that is known to be the person's. In a tenant of
// Entra ID's, which does not say so, its administrators give the addresses.
func (p person) shownEmail(preset string) string {
	if _, ok := emailDomain(p.email); !ok || !p.verified && preset != PresetEntra {
		return ""
	}
	return p.email
}

// allows says why somebody may not sign in at all, whatever role they would have.
func (p *provider) allows(who person) error {
	domain, ok := emailDomain(who.email)
	domainAllowed := func(allowed string) bool { return strings.EqualFold(allowed, domain) }
	switch {
	case len(p.AllowedDomains) == 0:
	case !who.verified:
		return &auth.DeclinedError{
			Reason: reasonUnverified, Username: who.username(),
			Message: "Your email address is not verified at the provider, and this Dagster lets in people of certain domains only. " +
				"Verify the address there, then sign in again.",
		}
	case !ok || !slices.ContainsFunc(p.AllowedDomains, domainAllowed):
		return &auth.DeclinedError{
			Reason: reasonDomain, Username: who.username(),
			Message: "Your email address is of none of the domains that this Dagster lets in. Perhaps you have another account at the provider.",
		}
	}
	groupAllowed := func(group string) bool { return slices.Contains(p.AllowedGroups, group) }
	if len(p.AllowedGroups) > 0 && !slices.ContainsFunc(who.groups, groupAllowed) {
		return &auth.DeclinedError{
			Reason: reasonGroup, Username: who.username(),
			Message: "You are in none of the groups that this Dagster lets in. Ask an administrator of this Dagster for one.",
		}
	}
	return nil
}

// person reads the ID token, and asks the userinfo endpoint for what is not in it.
func (i *issuer) person(ctx context.Context, token *oauth2.Token, expect expectation) (person, error) {
	m, err := i.discover(ctx)
	if err != nil {
		return person{}, err
	}
	raw, _ := token.Extra("id_token").(string)
	all, subject := claims{}, expect.subject
	switch {
	case raw != "":
		id, read, err := i.verify(ctx, m, raw, expect)
		if err != nil {
			return person{}, err
		}
		if id.AccessTokenHash != "" {
			if err := id.VerifyAccessToken(token.AccessToken); err != nil {
				return person{}, refused(reasonAnswer, fmt.Errorf("the access token is not the ID token's: %w", err))
			}
		}
		all, subject = read, id.Subject
	case expect.subject == "":
		return person{}, refused(reasonAnswer, errors.New("there is no ID token in the answer"))
	}
	if err := i.complete(ctx, m, all, subject, token.AccessToken); err != nil {
		return person{}, err
	}
	who, err := i.describe(all, subject)
	who.idToken, who.silent = raw, raw == "" && m.userinfo == ""
	return who, err
}

// complete adds the claims of the userinfo endpoint, where the ID token lacks some that are needed. What both have, the ID
// token says.
func (i *issuer) complete(ctx context.Context, m *metadata, all claims, subject, bearer string) error {
	_, hasGroups := i.groups.find(all)
	if len(i.groups) > 0 && !hasGroups && overage(all, i.groups[0]) {
		return tooManyGroups(all.text("preferred_username"))
	}
	needed := all["email"] == nil || all["preferred_username"] == nil && all["name"] == nil || len(i.groups) > 0 && !hasGroups
	if !needed || m.userinfo == "" {
		return nil
	}
	var answer json.RawMessage
	err := getJSON(ctx, i.client, m.userinfo, bearer, &answer)
	status, answered := errors.AsType[remote.StatusError](err)
	switch {
	case answered && status < 500 && status != 429:
		return refused(reasonAnswer, fmt.Errorf("ask for the user's claims: %w", err))
	case err != nil:
		return fmt.Errorf("%w: ask for the user's claims: %w", auth.ErrUnavailable, err)
	}
	more, err := readClaims(func(into any) error { return json.Unmarshal(answer, into) }, i.groups)
	if err != nil {
		return refused(reasonAnswer, fmt.Errorf("the user's claims: %w", err))
	}
	// OpenID Connect Core 1.0, section 5.3.2: else somebody could put another's claims in.
	if sub, _ := more["sub"].(string); sub != subject {
		return refused(reasonAnswer, errors.New("the userinfo endpoint speaks of somebody else"))
	}
	emailOfOneSource(all, more)
	for name, value := range more {
		if _, there := all[name]; !there {
			all[name] = value
		}
	}
	return nil
}

// overage reports whether Entra ID left the groups out because there are too many for a token, and says so by either of
// two claims (Microsoft, "Group overages").
func overage(all claims, claim string) bool {
	sources, _ := all["_claim_names"].(map[string]any)
	_, elsewhere := sources[claim]
	return elsewhere || all.truth("hasgroups")
}

func tooManyGroups(username string) error {
	return &auth.DeclinedError{
		Reason: reasonOverage, Username: username,
		Message: "You are in more groups than Microsoft Entra ID puts into a token, so that it left them out. An administrator has to change " +
			"the app registration there: under Token configuration, emit only the groups assigned to the application, or use app " +
			"roles and set the groups claim here to roles.",
	}
}

func (i *issuer) describe(all claims, subject string) (person, error) {
	who := person{
		subject: subject, fullName: all.text("name"), email: all.email(),
		verified: all.truth("email_verified") || i.Preset == PresetEntra && all.truth("xms_edov"),
	}
	who.names = []string{all.text("preferred_username"), who.shownEmail(i.Preset), all.text("nickname"), who.fullName, subject}
	if session := all.text("sid"); len(session) <= longestSession {
		who.session = session
	}
	value, found := i.groups.find(all)
	if !found {
		return who, nil
	}
	var err error
	if who.groups, err = groupsOf(value); err != nil {
		return who, refused(reasonAnswer, err)
	}
	return who, nil
}
