package server

import (
	"context"
	"net/http"

	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// Presenter knows people or programs by what each of their requests presents, before any session is looked for.
type Presenter interface {
	// Present gives whom the request names; found is false when it names nobody in this presenter's way, so that the next
	// one, and last the session, is asked. The error is an auth.RefusedError, an auth.NoRoleError, auth.ErrUnavailable, or a
	// fault of the store; after any of them nobody else is asked.
	Present(r *http.Request) (presented auth.Presented, found bool, err error)
	// Explicit reports whether the request presents something that no browser adds by itself, good or not.
	Explicit(r *http.Request) bool
}

// asker is who asks: whom the request names itself, or else whose session it has.
type asker struct {
	identity.Identity
	session   identity.Session
	presented *auth.Presented // nil: there is a session
}

// in puts who asks into the context.
func (a asker) in(ctx context.Context) context.Context { return with(ctx, askerKey, &a) }

// ask finds out who asks. What is presented comes first, and once there is something no cookie is read. The errors are those
// of a Presenter and of Sessions.Load.
func (s *Server) ask(r *http.Request) (asker, error) {
	presented, err := s.present(r)
	if err != nil {
		return asker{}, err
	}
	if presented != nil {
		return asker{Identity: presented.Identity, presented: presented}, nil
	}
	id, current, err := s.Sessions.Load(r)
	return asker{Identity: id, session: current}, err
}

// present asks the presenters in their order; nil: the request names nobody.
func (s *Server) present(r *http.Request) (*auth.Presented, error) {
	for _, presenter := range s.Presented {
		presented, found, err := presenter.Present(r)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if presented.SignIn != nil {
			if err := s.greet(r, *presented.SignIn); err != nil {
				return nil, err
			}
		}
		return &presented, nil
	}
	return nil, nil
}

// explicit reports whether a request stands for itself: it presents credentials that no foreign page can make a browser send,
// and no cookie.
func (s *Server) explicit(r *http.Request) bool {
	if len(r.Header["Cookie"]) > 0 {
		return false
	}
	for _, presenter := range s.Presented {
		if presenter.Explicit(r) {
			return true
		}
	}
	return false
}

// watch returns a channel that is closed when what the request was let in by no longer counts as it did.
func (s *Server) watch(ctx context.Context) <-chan struct{} {
	presented := presentedFrom(ctx)
	if presented == nil {
		return s.Activity.Watch(ctx, sessionFrom(ctx), identityFrom(ctx))
	}
	return s.Activity.WatchUser(ctx, presented.Look, identityFrom(ctx))
}

// touch notes that a person did something. What has no session has no idle timeout either.
func (s *Server) touch(ctx context.Context) error {
	if presentedFrom(ctx) != nil {
		return nil
	}
	return s.Activity.Touch(ctx, sessionFrom(ctx))
}
