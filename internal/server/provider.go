package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
)

// Signing in on the page of a provider: {prefix}/auth/oidc/{id}/login, /callback and /backchannel-logout.

// Providers are the ways to sign in on somebody else's page. Their errors are those of package auth; anything else says that
// there is no provider of that ID, or is a fault.
type Providers interface {
	// List are the buttons of the sign-in page.
	List() []auth.Provider
	// Depart begins a sign-in, and Arrive finishes it with what the browser came back with and its ticket.
	Depart(ctx context.Context, id, next string) (auth.Departure, error)
	Arrive(ctx context.Context, id string, query url.Values, ticket string) (auth.Arrival, error)
	// Lasts is auth.ErrStale when the provider has said that the session at it is over.
	Lasts(ctx context.Context, by identity.Voucher) error
	// Leave is where somebody signs out at the provider too, or "".
	Leave(ctx context.Context, by identity.Voucher) string
	// Heed reads a provider's word that somebody signed out there, and has end do what it says. When that fails, so does Heed, with
	// that error, and the provider may say it again.
	Heed(ctx context.Context, id, token string, end func(auth.Notice) error) error
}

const (
	providerPath = "/auth/oidc/"
	// ticketPrefix begins the names of the cookies that hold tickets. A browser has one for each sign-in that is going on, so
	// that tabs don't get into one another's way.
	ticketPrefix = "dagster_authkit_signin_"
	// mostTickets and mostTicketBytes bound them: the headers of a request have to fit into what proxies take, 8 KiB in nginx.
	mostTickets     = 5
	mostTicketBytes = 5 << 10
	// maxNotice bounds the form with a logout token.
	maxNotice = 32 << 10
)

// providerRoutes are the routes of a provider; nil: there is no such page.
func (s *Server) providerRoutes(path string) map[string]http.HandlerFunc {
	id, action, found := strings.Cut(strings.TrimPrefix(path, providerPath), "/")
	known := s.Providers != nil && slices.ContainsFunc(s.Providers.List(), func(p auth.Provider) bool { return p.ID == id })
	if !found || !known {
		return nil
	}
	about := func(handle func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			// Each of them may make us ask the provider.
			if s.mayAsk(w, r, addressKey(clientFrom(r.Context()))) {
				handle(w, r, id)
			}
		}
	}
	switch action {
	case "login":
		return map[string]http.HandlerFunc{http.MethodGet: about(s.depart)}
	case "callback":
		return map[string]http.HandlerFunc{http.MethodGet: about(s.arrive)}
	case "backchannel-logout":
		return map[string]http.HandlerFunc{http.MethodPost: about(s.signedOutAtProvider)}
	}
	return nil
}

// depart sends the browser to the provider, with a ticket to come back with.
func (s *Server) depart(w http.ResponseWriter, r *http.Request, id string) {
	departure, err := s.Providers.Depart(r.Context(), id, safeRedirect(r.URL.Query().Get("next"), s.prefix))
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		s.backendDown(w, r, err)
		return
	case err != nil:
		s.storeFault(w, r, err, "beginning a sign-in at a provider")
		return
	}
	s.makeRoom(w, r, len(departure.Ticket))
	cookie := s.ticketCookie(r, ticketPrefix+auth.TicketName(departure.State)) //nolint:gosec // as ticketCookie says
	cookie.Value, cookie.MaxAge = departure.Ticket, int(departure.Lasts/time.Second)
	http.SetCookie(w, cookie)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, departure.Location, http.StatusSeeOther)
}

func (s *Server) ticketCookie(r *http.Request, name string) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure is as the session cookie's
		Name: name, Path: s.prefix + "/auth/", HttpOnly: true, Secure: s.SecureCookie(r),
		SameSite: http.SameSiteLaxMode, // the provider's page leads back by a link, which Strict would not send it with
	}
}

func (s *Server) dropTicket(w http.ResponseWriter, r *http.Request, name string) {
	gone := s.ticketCookie(r, name) //nolint:gosec // as ticketCookie says
	gone.MaxAge = -1
	http.SetCookie(w, gone)
}

// makeRoom takes away the tickets of sign-ins that were begun and left, when there are too many for one more. Browsers send
// the cookies of one path in the order in which they were made.
func (s *Server) makeRoom(w http.ResponseWriter, r *http.Request, wanted int) {
	var tickets []*http.Cookie
	total := wanted
	for _, cookie := range r.Cookies() {
		if strings.HasPrefix(cookie.Name, ticketPrefix) {
			tickets, total = append(tickets, cookie), total+len(cookie.Value)
		}
	}
	for len(tickets) > 0 && (len(tickets) >= mostTickets || total > mostTicketBytes) {
		total -= len(tickets[0].Value)
		s.dropTicket(w, r, tickets[0].Name)
		tickets = tickets[1:]
	}
}

// arrive finishes a sign-in. Whatever comes of it, its ticket is gone.
func (s *Server) arrive(w http.ResponseWriter, r *http.Request, id string) {
	query := r.URL.Query()
	name := ticketPrefix + auth.TicketName(query.Get("state"))
	var ticket string
	if cookies := r.CookiesNamed(name); len(cookies) == 1 {
		ticket = cookies[0].Value
		s.dropTicket(w, r, name)
	}
	arrival, err := s.Providers.Arrive(r.Context(), id, query, ticket)
	none, isNone := errors.AsType[*auth.NoRoleError](err)
	refusal, isRefused := errors.AsType[*auth.DeclinedError](err)
	switch {
	case err == nil:
		s.begin(w, r, arrival.User, arrival.By, safeRedirect(arrival.Next, s.prefix))
	case isNone:
		s.withoutRole(w, r, none)
	case isRefused:
		s.refusedByProvider(w, r, id, refusal)
	case errors.Is(err, auth.ErrStale):
		s.stale(w, r, id, err)
	case errors.Is(err, auth.ErrUnavailable):
		s.backendDown(w, r, err)
	default:
		s.storeFault(w, r, err, "finishing a sign-in at a provider")
	}
}

// stale answers a sign-in that came too late.
func (s *Server) stale(w http.ResponseWriter, r *http.Request, id string, err error) {
	s.metrics.signIn("stale")
	logFrom(r.Context()).Info().Err(err).Str("provider", id).Msg("a sign-in at a provider could not be finished")
	s.pages.NotSignedIn(w, http.StatusBadRequest, NotSignedInData{
		Message: "This sign-in was begun in another browser, took too long, or was finished before. Begin again.",
	})
}

// overMeanwhile ends and answers a sign-in of which the provider said, while it was written down, that it is over there. A
// notice of that is noted before sessions are ended for it: so it found this one, or is found here.
func (s *Server) overMeanwhile(w http.ResponseWriter, r *http.Request, by identity.Voucher) bool {
	if s.Providers == nil || by.ProviderSession == "" {
		return false
	}
	err := s.Providers.Lasts(r.Context(), by)
	if err == nil {
		return false
	}
	c, notice := clientFrom(r.Context()), auth.Notice{Provider: by.Provider, Session: by.ProviderSession}
	_, ending := s.Endings.SignedOutAtProvider(context.WithoutCancel(r.Context()), "oidc", notice, c.RequestID, c.Address.String())
	if ending == nil && errors.Is(err, auth.ErrStale) {
		s.stale(w, r, by.Provider, err)
	} else {
		s.storeFault(w, r, errors.Join(err, ending), "looking whether the provider has ended the session meanwhile")
	}
	return true
}

// refusedByProvider says why somebody is not signed in. Only our own words are shown: what stands in an address, anybody wrote.
func (s *Server) refusedByProvider(w http.ResponseWriter, r *http.Request, id string, refusal *auth.DeclinedError) {
	s.metrics.signIn("refused")
	logFrom(r.Context()).Warn().Err(refusal).Str("provider", id).Msg("a sign-in at a provider was refused")
	// What anybody can bring about without signing in anywhere is written down once a minute and address: a flood must not fill
	// the disk. The metrics count each.
	if refusal.Username != "" || s.limited.Allow("providers "+addressKey(clientFrom(r.Context())), time.Now()) <= 0 {
		event := signInEvent(r, audit.EventLoginAttempt, audit.StatusFailure, identity.Identity{Username: shortName(refusal.Username)})
		event.Reason = refusal.Reason
		if err := s.Trail.Record(r.Context(), event); err != nil {
			s.storeFault(w, r, err, "storing the audit event")
			return
		}
	}
	s.pages.NotSignedIn(w, http.StatusForbidden, NotSignedInData{Message: refusal.Message, RequestID: clientFrom(r.Context()).RequestID})
}

// voucher ties the request's session to its provider, when there are any.
func (s *Server) voucher(r *http.Request) (identity.Voucher, error) {
	if s.Providers == nil {
		return identity.Voucher{}, nil
	}
	return s.Sessions.Voucher(r)
}

// signedOutAtProvider ends sessions because a provider says so. The token's signature is what makes it credible: there is no
// cookie and no session.
func (s *Server) signedOutAtProvider(w http.ResponseWriter, r *http.Request, id string) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, maxNotice)
	if err := r.ParseForm(); err != nil || len(r.PostForm["logout_token"]) != 1 {
		writeJSON(w, http.StatusBadRequest, []byte(`{"error":"invalid_request"}`))
		return
	}
	c, ended := clientFrom(r.Context()), 0
	err := s.Providers.Heed(r.Context(), id, r.PostForm.Get("logout_token"), func(notice auth.Notice) (err error) {
		ended, err = s.Endings.SignedOutAtProvider(context.WithoutCancel(r.Context()), "oidc", notice, c.RequestID, c.Address.String())
		return err
	})
	_, isRefused := errors.AsType[*auth.DeclinedError](err)
	switch {
	case isRefused:
		logFrom(r.Context()).Warn().Err(err).Str("provider", id).Msg("a logout token was refused")
		writeJSON(w, http.StatusBadRequest, []byte(`{"error":"invalid_request"}`))
		return
	case err != nil:
		s.storeFault(w, r, err, "ending the sessions of somebody who signed out at a provider")
		return
	}
	logFrom(r.Context()).Info().Str("provider", id).Int("sessions", ended).Msg("sessions ended, as their user signed out at the provider")
	w.WriteHeader(http.StatusOK)
}

// Endings ends sessions that a provider says are over.
type Endings interface {
	SignedOutAtProvider(ctx context.Context, backend string, notice auth.Notice, requestID, address string) (int, error)
}
