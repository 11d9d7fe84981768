package oidc

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/json"
)

// claimsRead are those that we or go-oidc look at, beside the groups.
var claimsRead = []string{
	"iss", "sub", "aud", "azp", "exp", "nbf", "iat", "jti", "nonce", "at_hash", "sid", "events",
	"email", "email_verified", "xms_edov", "preferred_username", "nickname", "name", "hasgroups", "_claim_names", "_claim_sources",
}

// readClaims takes the claims of a token or an answer whose object has one reading only. encoding/json, and go-oidc by it, takes
// SUB for sub and the last of two, so that who may choose the name of one claim could become somebody else; the JSON of go-jose,
// which reads the header backend's tokens too, tells names by their case and refuses a name that is there twice at any depth.
// groups is the path that will be followed; nil: none is.
func readClaims(read func(any) error, groups claimPath) (claims, error) {
	var raw stdjson.RawMessage
	var all claims
	if err := read(&raw); err != nil {
		return nil, errors.New("its claims are no JSON object")
	}
	if err := readOnce(raw, &all); err != nil || all == nil {
		return nil, errors.New("its claims are no JSON object, or one of them is there twice")
	}
	if err := onlyAsWritten(all, claimsRead); err != nil {
		return nil, err
	}
	return all, groups.onlyAsWritten(all)
}

// readOnce is json.Unmarshal for objects whose names are there once, written as the struct's tags have them.
func readOnce(raw []byte, into any) error { return json.Unmarshal(raw, into) }

// onlyAsWritten refuses an object that has one of the names in another case, whether or not it has the name itself.
func onlyAsWritten(object map[string]any, names []string) error {
	for key := range object {
		for _, name := range names {
			if key != name && strings.EqualFold(key, name) {
				return fmt.Errorf("it has %.80q, which some take for %s", key, name)
			}
		}
	}
	return nil
}

// onlyAsWritten does so at each step that find may take.
func (p claimPath) onlyAsWritten(object map[string]any) error {
	for n := range slices.Backward(p) {
		name := strings.Join(p[:n+1], ".")
		if err := onlyAsWritten(object, []string{name}); err != nil {
			return err
		}
		if inner, is := object[name].(map[string]any); is {
			if err := p[n+1:].onlyAsWritten(inner); err != nil {
				return err
			}
		}
	}
	return nil
}
