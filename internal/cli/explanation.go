package cli

import (
	"fmt"
	"slices"
	"strings"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
)

// mostPlaces keeps a document that names a thousand runs from making a line of a thousand words.
const mostPlaces = 5

// explanation is a decision and all that it was made of.
type explanation struct {
	op       *graphql.Operation
	user     account
	mayRead  bool // the user's role is one that there is
	decision policy.Decision
	// wanted are the things whose code location matters, asked whether Dagster was asked for them, and located its answer.
	wanted  []policy.Reference
	asked   bool
	located policy.Located
}

// explainRow is one row of explain --output json: what one root field needs, or one of several things that it needs. Programs
// read it: names and order stay.
type explainRow struct {
	Field       string              `json:"field"`
	ResponseKey string              `json:"response_key"`
	Action      string              `json:"action"` // the field below it that runs code, or the root field itself
	Permission  identity.Permission `json:"permission"`
	Needed      identity.Role       `json:"needed"` // the least built-in role
	Tag         string              `json:"protected_tag"`
	Place       []explainPlace      `json:"place"` // empty: the whole deployment
	Location    string              `json:"location"`
	Held        identity.Role       `json:"held"`
	By          string              `json:"by"`
	Allowed     bool                `json:"allowed"`
	Message     string              `json:"message"`
	Identity    string              `json:"identity"`
}

// explainPlace is one thing in whose code location the permission is needed.
type explainPlace struct {
	Kind      policy.Kind `json:"kind"`
	Name      string      `json:"name"`
	Locations []string    `json:"locations"` // empty: not asked, or not known
}

var explainHeader = []string{"FIELD", "NEEDS", "LOCATION", "HELD", "BY", "DECISION"}

// values are the rows in the order of the root fields.
func (e explanation) values() []explainRow {
	rows := []explainRow{}
	for _, field := range e.op.Fields {
		before := len(rows)
		for _, verdict := range e.decision.Verdicts {
			if verdict.Action.ResponseKey == field.ResponseKey {
				rows = append(rows, e.row(field, verdict))
			}
		}
		if len(rows) == before { // it only reads
			rows = append(rows, e.row(field, policy.Verdict{
				Action: policy.Action{Name: field.Name}, Need: policy.Need{Role: identity.Viewer}, Held: e.user.Role, Allowed: e.mayRead,
			}))
		}
	}
	return rows
}

func (e explanation) row(field graphql.RootField, v policy.Verdict) explainRow {
	row := explainRow{
		Field: field.Name, ResponseKey: field.ResponseKey, Action: v.Action.Name, Permission: v.Need.Permission, Needed: v.Need.Role,
		Tag: v.Need.Tag, Place: []explainPlace{}, Location: v.Location, Held: v.Held, By: e.by(v), Allowed: v.Allowed,
		Identity: e.user.ID(),
	}
	for _, reference := range v.Need.Where {
		row.Place = append(row.Place, explainPlace{Kind: reference.Kind, Name: placeName(reference), Locations: e.locations(reference)})
	}
	if !v.Allowed {
		row.Message = v.Message()
	}
	return row
}

// by says where the role that was looked at comes from.
func (e explanation) by(v policy.Verdict) string {
	if !v.Granted {
		return "everywhere"
	}
	for _, grant := range e.user.grants { // own ones are first
		if grant.Location == v.Location && grant.Role == v.Held {
			return "grant" + heldBy(grant)
		}
	}
	return "grant"
}

func (e explanation) locations(reference policy.Reference) []string {
	if reference.Kind == policy.Location {
		return []string{reference.ID}
	}
	return append([]string{}, e.located[reference]...)
}

func placeName(reference policy.Reference) string {
	if reference.Kind == policy.Asset {
		return strings.Join(policy.AssetPath(reference.ID), "/")
	}
	return reference.ID
}

// rows are the same for people.
func (e explanation) rows() [][]string {
	var rows [][]string
	for _, v := range e.values() {
		field := v.Field
		if v.ResponseKey != v.Field {
			field = v.ResponseKey + ": " + field
		}
		if v.Action != v.Field {
			field += " > " + v.Action
		}
		decision := "allowed"
		if !v.Allowed {
			decision = "refused"
		}
		rows = append(rows, []string{field, needed(v), e.where(v), orDash(string(v.Held)), v.By, decision})
	}
	return rows
}

func needed(v explainRow) string {
	switch {
	case v.Tag != "":
		return fmt.Sprintf("%s, for the tag %s", v.Needed, v.Tag)
	case v.Permission != "":
		return fmt.Sprintf("%s (%s)", v.Permission, v.Needed)
	}
	return string(v.Needed)
}

// where names the code locations that decided, or else the things on which they depend.
func (e explanation) where(v explainRow) string {
	if len(v.Place) == 0 {
		return "whole deployment"
	}
	var words []string
	for _, place := range v.Place {
		word := e.place(place)
		// A refusal is decided by one of the code locations, an allowance by all.
		elsewhere := !v.Allowed && v.Location != "" && !slices.Contains(place.Locations, v.Location)
		if elsewhere || slices.Contains(words, word) {
			continue
		}
		words = append(words, word)
	}
	if more := len(words) - mostPlaces; more > 0 {
		words = append(words[:mostPlaces], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}

func (e explanation) place(place explainPlace) string {
	if place.Kind == policy.Location {
		return place.Name
	}
	thing := fmt.Sprintf("of %s %s", place.Kind, place.Name)
	wanted := slices.ContainsFunc(e.wanted, func(r policy.Reference) bool { return r.Kind == place.Kind && placeName(r) == place.Name })
	switch {
	case len(place.Locations) > 0:
		return strings.Join(place.Locations, " and ") + " (" + thing + ")"
	case !wanted:
		return thing // no grant would help, or none is needed
	case e.asked:
		return thing + ": Dagster knows none, so the whole deployment"
	}
	return thing + ": ask Dagster with --upstream"
}
