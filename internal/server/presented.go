package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// Presenter reads who sent a request from what the request itself says, before any session is looked for.
type Presenter interface {
	// Present gives whom the request names; found is false when it names nobody in this presenter's way, so that the next
	// one, and last the session, is asked. The error is an auth.RefusedError, an auth.NoRoleError, auth.ErrUnavailable, or a
	// fault of the store; after any of them nobody else is asked.
	Present(r *http.Request) (presented auth.Presented, found bool, err error)
}

// asker is who sent a request: whom it names itself, or else whose session it has.
type asker struct {
	identity  identity.Identity
	session   identity.Session
	presented *auth.Presented // nil: there is a session
}

// ask says who sent the request. The errors are those of a Presenter and of Sessions.Load.
func (s *Server) ask(r *http.Request) (asker, error) {
	presented, err := s.present(r)
	if err != nil {
		return asker{}, err
	}
	if presented != nil {
		return asker{identity: presented.User.Identity(""), presented: presented}, nil
	}
	id, current, err := s.Sessions.Load(r)
	return asker{identity: id, session: current}, err
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
		if presented.SignIn {
			if err := s.greet(r, presented.User); err != nil {
				return nil, err
			}
		}
		return &presented, nil
	}
	return nil, nil
}

// unknown answers a request of which it can't be said who sent it, but for ErrNone, which it leaves to the caller.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request, err error) {
	refused, isRefused := errors.AsType[*auth.RefusedError](err)
	none, isNone := errors.AsType[*auth.NoRoleError](err)
	switch {
	case isRefused:
		s.refusePresented(w, r, refused)
	case isNone:
		s.rolelessPresented(w, r, none)
	case errors.Is(err, auth.ErrUnavailable):
		s.backendDown(w, r, err)
	default:
		s.storeFault(w, r, err, "finding out who asks")
	}
}

// refusePresented refuses what a request says of its sender.
func (s *Server) refusePresented(w http.ResponseWriter, r *http.Request, refused *auth.RefusedError) {
	if !s.mayAsk(w, r, addressKey(clientFrom(r.Context()))) {
		return
	}
	s.metrics.signIn("refused")
	if !s.noteRefused(w, r, identity.Identity{}, refused.Reason, refused) {
		return
	}
	answer := refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: refused.Message}
	if wantsDocument(r) {
		s.pages.Error(w, ErrorData{
			Status: answer.status, Title: "You are not signed in", Message: answer.message, RequestID: clientFrom(r.Context()).RequestID,
		})
		return
	}
	s.refuse(w, r, answer)
}

// rolelessPresented tells somebody who is known why they may not enter.
func (s *Server) rolelessPresented(w http.ResponseWriter, r *http.Request, none *auth.NoRoleError) {
	if !s.mayAsk(w, r, addressKey(clientFrom(r.Context()))) {
		return
	}
	s.metrics.signIn("no_role")
	if !s.noteRefused(w, r, identity.Identity{Username: shortName(none.Username)}, "NO_ROLE", none) {
		return
	}
	if wantsDocument(r) {
		s.pages.NoRole(w, NoRoleData{Username: none.Username, Groups: none.Groups, Contact: s.Contact})
		return
	}
	s.refuse(w, r, refusal{status: http.StatusForbidden, code: "NO_ROLE", message: "None of your groups gives you a role in this Dagster."})
}

// noteRefused writes down, once a minute for each address and reason, that somebody was refused. It answers the request itself,
// and is false, when the trail can't be written.
func (s *Server) noteRefused(w http.ResponseWriter, r *http.Request, id identity.Identity, reason string, cause error) bool {
	if s.limited.Allow(reason+" "+addressKey(clientFrom(r.Context())), time.Now()) > 0 {
		return true
	}
	logFrom(r.Context()).Warn().Err(cause).Str("peer", r.RemoteAddr).Stringer("ip", clientFrom(r.Context()).Address).
		Msg("what a request says of who sent it was refused")
	event := signInEvent(r, audit.EventLoginAttempt, audit.StatusFailure, id)
	event.Reason = reason
	if err := s.Trail.Record(r.Context(), event); err != nil {
		s.storeFault(w, r, err, "storing the audit event")
		return false
	}
	return true
}

// proxiedOnly says that there is no way to sign in but by what a proxy says.
func (s *Server) proxiedOnly() bool { return slices.Equal(s.Backends, []string{"header"}) }

// unnamed tells somebody whom the proxy in front did not name. It is a page of its own and leads nowhere: AuthKit has no form
// for them, and sending them on would send them round in circles.
func (s *Server) unnamed(w http.ResponseWriter, r *http.Request) {
	const message = "The proxy in front of this Dagster did not say who you are."
	if !wantsDocument(r) {
		s.refuse(w, r, refusal{status: http.StatusUnauthorized, code: "UNAUTHENTICATED", message: message})
		return
	}
	whom := s.Contact
	if whom == "" {
		whom = "whoever looks after it"
	}
	s.pages.Error(w, ErrorData{
		Status: http.StatusUnauthorized, Title: "You are not signed in", RequestID: clientFrom(r.Context()).RequestID,
		Message: message + " Open Dagster by the address at which you sign in, or ask " + whom + ".",
	})
}

// greetings are those whose sign-in was written down, by identity and address, and when.
type greetings struct {
	flight singleflight.Group
	mu     sync.RWMutex
	at     map[string]time.Time
}

const (
	// greetEvery is how often one who is named with each request counts as signing in.
	greetEvery = 24 * time.Hour
	maxGreeted = 10_000
)

func (g *greetings) known(key string, now time.Time) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	at, known := g.at[key]
	return known && now.Sub(at) < greetEvery
}

// add remembers. When there are too many all are forgotten: one sign-in too many in the trail does no harm.
func (g *greetings) add(key string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at == nil || len(g.at) >= maxGreeted {
		g.at = map[string]time.Time{}
	}
	g.at[key] = now
}

// greet writes down that somebody came whom this address did not bring today: people who are named with each request sign in
// by no form.
func (s *Server) greet(r *http.Request, user identity.User) error {
	ctx, now := context.WithoutCancel(r.Context()), time.Now()
	key := user.ID() + " " + addressKey(clientFrom(ctx))
	if s.greeted.known(key, now) {
		return nil
	}
	_, err, _ := s.greeted.flight.Do(key, func() (any, error) {
		if s.greeted.known(key, now) {
			return nil, nil
		}
		if _, err := s.Accounts.SignedIn(ctx, user); err != nil {
			return nil, fmt.Errorf("note the sign-in: %w", err)
		}
		if err := s.Trail.Record(ctx, signInEvent(r, audit.EventLoginAttempt, audit.StatusSuccess, user.Identity(""))); err != nil {
			return nil, fmt.Errorf("store the audit event: %w", err)
		}
		s.metrics.signIn("success")
		s.greeted.add(key, now)
		return nil, nil
	})
	return err
}

// touch notes a person's activity in their session, where there is one.
func (s *Server) touch(ctx context.Context, current identity.Session) error {
	if len(current.TokenHash) == 0 {
		return nil
	}
	return s.Activity.Touch(ctx, current)
}

// watch returns a channel that is closed when what is known of who sent the request no longer holds.
func (s *Server) watch(ctx context.Context) <-chan struct{} {
	presented := from[*auth.Presented](ctx, presentedKey)
	if presented == nil {
		return s.Activity.Watch(ctx, sessionFrom(ctx), identityFrom(ctx))
	}
	return s.Activity.WatchUser(ctx, presented.Look, identityFrom(ctx))
}
