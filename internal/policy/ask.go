package policy

import (
	"context"
	"fmt"

	"dagster-authkit/internal/identity"
)

// MaxReferences bounds what one request may name that has to be looked up.
const MaxReferences = 1000

// Dagster tells what only it knows.
type Dagster interface {
	Locate(ctx context.Context, references []Reference) (Located, error)
	// Runs are those of the IDs that Dagster knows.
	Runs(ctx context.Context, ids []string) (map[string]KnownRun, error)
}

// KnownRun is what a run that exists says of itself.
type KnownRun struct {
	Job  Job
	Tags map[string]string
}

// Job names a job, by itself or by what a request selects.
type Job struct{ Location, Repository, Name string }

// ErrTooMany says that a request names more than MaxReferences things.
var ErrTooMany = fmt.Errorf("the request names more than %d runs, assets or other things", MaxReferences)

// Settle decides, and asks Dagster first when that can make a difference. What it was told of locations comes back beside the
// decision. Any error means that nothing was decided.
func (p *Policy) Settle(ctx context.Context, id identity.Identity, actions []Action, dagster Dagster) (Decision, Located, error) {
	references, parents := p.Unlocated(id, actions), p.Parents(id, actions)
	if len(references) > MaxReferences || len(parents) > MaxReferences {
		return Decision{}, nil, ErrTooMany
	}
	var located Located
	if len(references) > 0 {
		var err error
		if located, err = dagster.Locate(ctx, references); err != nil {
			return Decision{}, nil, err
		}
	}
	if len(parents) > 0 {
		runs, err := dagster.Runs(ctx, parents)
		if err != nil {
			return Decision{}, nil, err
		}
		actions = Inheriting(actions, runs)
	}
	return p.Decide(id, actions, located), located, nil
}
