package policy

import (
	"fmt"
	"slices"
	"strings"

	"dagster-authkit/internal/identity"
)

// Verdict is what was found for one need of an action.
type Verdict struct {
	Action Action
	Need   Need
	// Location is the code location that decided; empty when it is the whole deployment.
	Location string
	// Held is the role that was looked at there, and Granted says that it comes from a grant.
	Held    identity.Role
	Granted bool
	Allowed bool
}

// Decision is the answer for a whole request: everything in it is allowed, or nothing of it is done.
type Decision struct {
	Allowed bool
	// Held is the role that the person has everywhere.
	Held identity.Role
	// Needed is the least built-in role that may do all of it.
	Needed identity.Role
	// Actions are what was judged.
	Actions []Action
	// Verdicts say why, in the order of the actions.
	Verdicts []Verdict
}

// Unlocated are the things that have to be looked up in Dagster before Decide: those whose code location matters because the
// role everywhere is not enough and some grant would be. For a person with one role everywhere there are none.
func (p *Policy) Unlocated(id identity.Identity, actions []Action) []Reference {
	var references []Reference
	seen := map[Reference]bool{}
	for _, action := range actions {
		for _, need := range action.Needs {
			if p.meets(id.Role, need) || !slices.ContainsFunc(id.Grants, func(g identity.Grant) bool { return p.meets(g.Role, need) }) {
				continue
			}
			for _, reference := range need.Where {
				if reference.Kind != Location && !seen[reference] {
					seen[reference] = true
					references = append(references, reference)
				}
			}
		}
	}
	return references
}

// Decide judges the actions of one request. No action at all is as good as reading. A thing that is not in located counts as
// deployment-wide, as it does for Dagster.
func (p *Policy) Decide(id identity.Identity, actions []Action, located Located) Decision {
	if len(actions) == 0 {
		actions = []Action{Read()}
	}
	decision := Decision{Held: id.Role, Needed: identity.Viewer, Actions: actions}
	mayRead := p.roles.Known(id.Role)
	decision.Allowed = mayRead && !id.Nobody()
	for _, action := range actions {
		if least := action.Least(); least.Includes(decision.Needed) {
			decision.Needed = least
		}
		if len(action.Needs) == 0 {
			decision.Verdicts = append(decision.Verdicts, Verdict{Action: action, Need: Need{Role: identity.Viewer}, Held: id.Role, Allowed: mayRead})
		}
		for _, need := range action.Needs {
			verdict := p.judge(id, need, located)
			verdict.Action, verdict.Allowed = action, verdict.Allowed && mayRead
			decision.Verdicts = append(decision.Verdicts, verdict)
			decision.Allowed = decision.Allowed && verdict.Allowed
		}
	}
	return decision
}

func (p *Policy) judge(id identity.Identity, need Need, located Located) Verdict {
	if p.meets(id.Role, need) {
		return Verdict{Need: need, Held: id.Role, Allowed: true}
	}
	refused := Verdict{Need: need, Held: id.Role}
	verdict := refused
	for _, reference := range need.Where {
		locations := located[reference]
		if reference.Kind == Location {
			locations = []string{reference.ID}
		}
		if len(locations) == 0 {
			return refused
		}
		for _, location := range locations {
			verdict = p.judgeIn(id, need, location)
			if !verdict.Allowed {
				return verdict
			}
		}
	}
	return verdict
}

// judgeIn looks at the grants in one code location: the most permissive wins.
func (p *Policy) judgeIn(id identity.Identity, need Need, location string) Verdict {
	verdict := Verdict{Need: need, Location: location, Held: id.Role}
	for _, grant := range id.Grants {
		if grant.Location != location || !p.roles.Known(grant.Role) {
			continue
		}
		if p.meets(grant.Role, need) {
			return Verdict{Need: need, Location: location, Held: grant.Role, Granted: true, Allowed: true}
		}
		if !verdict.Granted || grant.Role.Includes(verdict.Held) {
			verdict.Held, verdict.Granted = grant.Role, true
		}
	}
	// A grant never takes away: the role that is held everywhere is held here too.
	if verdict.Granted && id.Role.Includes(verdict.Held) {
		verdict.Held, verdict.Granted = id.Role, false
	}
	return verdict
}

func (p *Policy) meets(role identity.Role, need Need) bool {
	if need.Permission != "" {
		return p.roles.Has(role, need.Permission)
	}
	return role.Includes(need.Role)
}

// Refused are the verdicts for which nothing is done.
func (d Decision) Refused() []Verdict {
	return slices.DeleteFunc(slices.Clone(d.Verdicts), func(v Verdict) bool { return v.Allowed })
}

// Reason is the audit trail's word for a refusal, which the Python AuthKit's users already search for:
// "EDITOR_REQUIRED_FOR_MUTATIONS", "EDITOR_REQUIRED" for REST routes and queries. It is empty for what was allowed.
func (d Decision) Reason() string {
	if d.Allowed {
		return ""
	}
	reason := strings.ToUpper(string(d.Needed)) + "_REQUIRED"
	if slices.ContainsFunc(d.Actions, func(a Action) bool { return a.kind == kindMutation }) {
		reason += "_FOR_MUTATIONS"
	}
	return reason
}

// Message says to a person why the root field of that response key was refused.
func (d Decision) Message(responseKey string) string {
	for _, verdict := range d.Verdicts {
		if !verdict.Allowed && verdict.Action.ResponseKey == responseKey {
			return verdict.Message()
		}
	}
	return "Not run: another operation of the same request was refused."
}

// Message says to a person what was needed and what is held.
func (v Verdict) Message() string {
	place, held := "", "."
	if v.Location != "" {
		place, held = fmt.Sprintf(" in code location %s", v.Location), " there."
	}
	if v.Held == "" {
		return fmt.Sprintf("%s requires %s%s. You have no role.", v.Action.Name, v.Need, place)
	}
	return fmt.Sprintf("%s requires %s%s. Your role is %s%s", v.Action.Name, v.Need, place, v.Held.Title(), held)
}
