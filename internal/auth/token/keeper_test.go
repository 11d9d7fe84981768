package token

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/auth"
	"dagster-authkit/internal/identity"
	"dagster-authkit/internal/policy"
	"dagster-authkit/internal/store"
)

const staticText = "a-token-of-the-environment-0123456789"

// rows is a real store that counts what it is asked, and fails when told to.
type rows struct {
	*store.Store
	reads, uses int
	fault       error
}

func (r *rows) TokenByHash(ctx context.Context, hash []byte) (identity.Token, identity.User, error) {
	r.reads++
	if r.fault != nil {
		return identity.Token{}, identity.User{}, r.fault
	}
	return r.Store.TokenByHash(ctx, hash)
}

func (r *rows) TouchToken(ctx context.Context, hash []byte, at time.Time) error {
	r.uses++
	return r.Store.TouchToken(ctx, hash, at)
}

func (r *rows) Version(ctx context.Context) (int64, error) {
	if r.fault != nil {
		return 0, r.fault
	}
	return r.Store.Version(ctx)
}

type kit struct {
	*Keeper
	t    *testing.T
	rows *rows
}

func newKit(t *testing.T) *kit {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{URL: filepath.Join(t.TempDir(), "a.db"), Log: zerolog.Nop()})
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	roles, err := policy.NewRoles(nil)
	check(t, err)
	k := &kit{t: t, rows: &rows{Store: s}}
	k.Keeper, err = NewKeeper(Options{
		Rows: k.rows, Roles: roles, Backends: []string{"local"}, Log: zerolog.Nop(),
		Static: Static{Token: staticText, Header: CloudHeader, User: "robot", Role: identity.Launcher},
	})
	check(t, err)
	return k
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (k *kit) user(backend, name string, role identity.Role) identity.User {
	k.t.Helper()
	user, err := k.rows.CreateUser(k.t.Context(), identity.User{Backend: backend, Subject: name, Name: name, Role: role}, "", audit.Event{Type: "TEST"})
	check(k.t, err)
	return user
}

func (k *kit) token(owner identity.User, limit identity.Token) string {
	k.t.Helper()
	text, hash := New()
	limit.Hash, limit.UserRowID, limit.Name, limit.CreatedAt = hash[:], owner.RowID, text[4:12], time.Now()
	check(k.t, k.rows.CreateToken(k.t.Context(), limit, audit.Event{Type: "TEST"}))
	return text
}

func (k *kit) present(headers ...string) (auth.Presented, bool, error) {
	k.t.Helper()
	r, err := http.NewRequestWithContext(k.t.Context(), http.MethodGet, "http://x/", nil)
	check(k.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	who, found, err := k.Present(r)
	if found != k.Explicit(r) {
		k.t.Errorf("%q: found is %v, explicit is not", headers, found)
	}
	return who, found, err
}

// TestPresent tries the ways to write a token into a request. Only what has exactly one is somebody's, and what has a bad one
// is refused, never taken for a request without any.
func TestPresent(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	ada, ed := k.user("local", "ada", identity.Admin), k.user("local", "ed", identity.Editor)
	good, other := k.token(ada, identity.Token{}), k.token(ed, identity.Token{})
	for name, test := range map[string]struct {
		headers []string
		want    string // who it is, "" for no credentials, or the reason for which they are refused
	}{
		"bearer":                      {[]string{"Authorization", "Bearer " + good}, "local:ada"},
		"the scheme has no case":      {[]string{"Authorization", "bEARER " + good}, "local:ada"},
		"Dagster's header":            {[]string{CloudHeader, good}, "local:ada"},
		"a header's name has no case": {[]string{"dagster-cloud-api-token", good}, "local:ada"},
		"the same in both":            {[]string{"Authorization", "Bearer " + good, CloudHeader, good}, "local:ada"},
		"the environment's":           {[]string{CloudHeader, staticText}, "environment:robot"},
		"beside other credentials":    {[]string{"Authorization", "Basic YTpi", CloudHeader, good}, "local:ada"},

		"nothing":                       {nil, ""},
		"another bearer":                {[]string{"Authorization", "Bearer eyJhbGciOiJ"}, ""},
		"a password":                    {[]string{"Authorization", "Basic YTpi"}, ""},
		"our letters in another's":      {[]string{"Authorization", "Bearer eyJ.xdak_" + good[4:]}, ""},
		"in another header":             {[]string{"X-Token", good}, ""},
		"in another's header":           {[]string{"Dagster_Cloud_Api_Token", good}, ""},
		"in a cookie":                   {[]string{"Cookie", "token=" + good}, ""},
		"the environment's as a bearer": {[]string{"Authorization", "Bearer " + staticText}, ""},

		"two":                     {[]string{"Authorization", "Bearer " + good, CloudHeader, other}, ReasonUnreadable},
		"two, the other way":      {[]string{"Authorization", "Bearer " + other, CloudHeader, good}, ReasonUnreadable},
		"two lines":               {[]string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + other}, ReasonUnreadable},
		"two lines of the other":  {[]string{CloudHeader, good, CloudHeader, other}, ReasonUnreadable},
		"two in a line":           {[]string{"Authorization", "Bearer " + good + ", Bearer " + other}, ReasonUnreadable},
		"twice in a line":         {[]string{CloudHeader, good + "," + good}, ReasonUnreadable},
		"good and cut":            {[]string{"Authorization", "Bearer " + good, CloudHeader, good[:50]}, ReasonUnreadable},
		"with the environment's":  {[]string{"Authorization", "Bearer " + good, CloudHeader, staticText}, ReasonUnreadable},
		"no scheme":               {[]string{"Authorization", good}, ReasonUnreadable},
		"another scheme":          {[]string{"Authorization", "Basic " + good}, ReasonUnreadable},
		"an old scheme":           {[]string{"Authorization", "Token " + good}, ReasonUnreadable},
		"the scheme twice":        {[]string{"Authorization", "Bearer Bearer " + good}, ReasonUnreadable},
		"a tab":                   {[]string{"Authorization", "Bearer\t" + good}, ReasonUnreadable},
		"two spaces":              {[]string{"Authorization", "Bearer  " + good}, ReasonUnreadable},
		"quoted":                  {[]string{"Authorization", `Bearer "` + good + `"`}, ReasonUnreadable},
		"a parameter":             {[]string{"Authorization", "Bearer token=" + good}, ReasonUnreadable},
		"a scheme in Dagster's":   {[]string{CloudHeader, "Bearer " + good}, ReasonUnreadable},
		"more after it":           {[]string{"Authorization", "Bearer " + good + "x"}, ReasonUnreadable},
		"a zero byte":             {[]string{"Authorization", "Bearer " + good + "\x00"}, ReasonUnreadable},
		"cut":                     {[]string{"Authorization", "Bearer " + good[:52]}, ReasonUnreadable},
		"a typing error":          {[]string{"Authorization", "Bearer " + good[:20] + "-" + good[21:]}, ReasonUnreadable},
		"the prefix alone":        {[]string{"Authorization", "Bearer dak_"}, ReasonUnreadable},
		"a megabyte":              {[]string{"Authorization", "Bearer dak_" + strings.Repeat("a", 1<<20)}, ReasonUnreadable},
		"made up":                 {[]string{"Authorization", "Bearer " + func() string { text, _ := New(); return text }()}, ReasonUnknown},
		"not the environment's":   {[]string{CloudHeader, staticText + "x"}, ReasonUnknown},
		"empty":                   {[]string{CloudHeader, ""}, ReasonUnknown},
		"the environment's twice": {[]string{CloudHeader, staticText, CloudHeader, staticText}, ReasonUnknown},
	} {
		who, found, err := k.present(test.headers...)
		got := who.ID
		if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
			got = refused.Reason
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got != test.want || found != (test.want != "") {
			t.Errorf("%s: got %q, found %v, want %q", name, got, found, test.want)
		}
		if err != nil && (who.ID != "" || !errors.Is(err, auth.ErrInvalid) || strings.Contains(err.Error(), good[4:])) {
			t.Errorf("%s: refused %v with %v", name, who.Identity, err)
		}
		if err == nil && found && (!who.Token || who.Look == nil) {
			t.Errorf("%s: %+v", name, who)
		}
	}
}

// TestFollowsItsOwner changes the owner and the token, and looks at the very next request.
func TestFollowsItsOwner(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	ada := k.user("local", "ada", identity.Admin)
	text := k.token(ada, identity.Token{Role: identity.Editor})
	first, _, err := k.present("Authorization", "Bearer "+text)
	check(t, err)
	if first.Role != identity.Editor || first.TokenName != text[4:12] || len(first.TokenID) != 12 || first.SessionID != "" {
		t.Errorf("at first: %+v", first.Identity)
	}
	event := audit.Event{Type: "TEST"}
	step := func(what string, err error, want identity.Role, reason string) {
		t.Helper()
		check(t, err)
		who, found, err := k.present("Authorization", "Bearer "+text)
		refused, _ := errors.AsType[*auth.RefusedError](err)
		if !found || who.Role != want || (reason == "") != (err == nil) || refused != nil && refused.Reason != reason {
			t.Errorf("%s: got %q, %v, want %q %s", what, who.Role, err, want, reason)
		}
		now, err := first.Look(t.Context())
		if reason != "" && !errors.Is(err, identity.ErrNotFound) || reason == "" && (err != nil || now.Role != want || now.ID() != "local:ada") {
			t.Errorf("%s: looking gave %v, %v", what, now.Role, err)
		}
	}
	step("nothing", nil, identity.Editor, "")
	step("a lower role", k.rows.SetRole(t.Context(), ada.RowID, identity.Viewer, false, event), identity.Viewer, "")
	step("admin again", k.rows.SetRole(t.Context(), ada.RowID, identity.Admin, false, event), identity.Editor, "")
	step("disabled", k.rows.SetDisabled(t.Context(), ada.RowID, true, false, event), "", ReasonDisabled)
	step("enabled", k.rows.SetDisabled(t.Context(), ada.RowID, false, false, event), identity.Editor, "")
	hash := Sum(text)
	step("revoked", k.rows.DeleteToken(t.Context(), hash[:], event), "", ReasonUnknown)
	text = k.token(ada, identity.Token{ExpiresAt: time.Now().Add(-time.Millisecond)})
	step("expired", nil, "", ReasonExpired)
	foreign := k.user("ldap", "uid=1", identity.Admin)
	text = k.token(foreign, identity.Token{})
	step("of a backend that is not in use", nil, "", ReasonBackend)
	text = k.token(k.user(ServiceBackend, "ci", identity.Launcher), identity.Token{})
	if who, _, err := k.present(CloudHeader, text); err != nil || who.ID != "service:ci" || who.Role != identity.Launcher {
		t.Errorf("a service account: %+v, %v", who.Identity, err)
	}
}

// TestSteadyState: while nothing changes no request reads the database, and its use is written once.
func TestSteadyState(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	ada := k.user("local", "ada", identity.Admin)
	text := k.token(ada, identity.Token{})
	for range 100 {
		_, _, err := k.present("Authorization", "Bearer "+text)
		check(t, err)
	}
	if k.rows.reads != 1 || k.rows.uses != 1 {
		t.Errorf("100 requests read %d times and wrote %d times, want 1 and 1", k.rows.reads, k.rows.uses)
	}
	for range 100 { // the checksum is looked at before the database
		_, _, err := k.present("Authorization", "Bearer "+text[:52]+"-")
		if !errors.Is(err, auth.ErrInvalid) {
			t.Fatal(err)
		}
	}
	if k.rows.reads != 1 {
		t.Errorf("bad tokens read the database %d times", k.rows.reads-1)
	}
	hash := Sum(text)
	token, _, err := k.rows.Store.TokenByHash(t.Context(), hash[:])
	check(t, err)
	if time.Since(token.LastUsedAt) > time.Minute {
		t.Errorf("last used at %v", token.LastUsedAt)
	}
}

// TestFaults: a store that does not answer says nothing of a token, and an open connection goes on until the token's end.
func TestFaults(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	ada := k.user("local", "ada", identity.Admin)
	lasting := k.token(ada, identity.Token{})
	open, _, err := k.present("Authorization", "Bearer "+lasting)
	check(t, err)
	var closing auth.Presented
	for _, lifetime := range []time.Duration{2, 10, 30} { // where one is over before it was looked at, the next is longer
		ending := k.token(ada, identity.Token{ExpiresAt: time.Now().Add(lifetime * time.Second)})
		if closing, _, err = k.present("Authorization", "Bearer "+ending); err == nil {
			break
		}
	}
	check(t, err)
	k.rows.fault = errors.New("disk")
	if _, found, err := k.present("Authorization", "Bearer "+lasting); !found || err == nil || errors.Is(err, auth.ErrInvalid) {
		t.Errorf("with a fault: found %v, %v", found, err)
	}
	if _, err := open.Look(t.Context()); err == nil || errors.Is(err, identity.ErrNotFound) {
		t.Errorf("looking with a fault: %v, want the fault", err)
	}
	for range 6000 { // of 10 ms
		if _, err = closing.Look(t.Context()); errors.Is(err, identity.ErrNotFound) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("past its end: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	ada := k.user("local", "ada", identity.Admin)
	who, _, err := k.present("Authorization", "Bearer "+k.token(ada, identity.Token{Role: identity.Launcher, Location: "etl"}))
	check(t, err)
	if diff := cmp.Diff([]identity.Grant{{Location: "etl", Role: identity.Launcher}}, who.Grants); who.Role != identity.Viewer || diff != "" {
		t.Errorf("role %s, grants (-want +got):\n%s", who.Role, diff)
	}
}

// TestOwnerWithoutRole: whoever's backend gives them no role any more has no token that does anything either.
func TestOwnerWithoutRole(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	stored, err := k.rows.UpsertUser(t.Context(), identity.User{Backend: "oidc", Subject: "iss|1", Name: "ada", Role: identity.Editor})
	check(t, err)
	k.Keeper, err = NewKeeper(Options{Rows: k.rows, Roles: k.roles, Backends: []string{"oidc"}})
	check(t, err)
	header := "Bearer " + k.token(stored, identity.Token{})
	who, _, err := k.present("Authorization", header)
	if err != nil || who.Role != identity.Editor {
		t.Fatalf("the control: %q, %v", who.Role, err)
	}
	check(t, k.rows.LoseRole(t.Context(), "oidc", "iss|1"))
	_, _, err = k.present("Authorization", header)
	if refused, _ := errors.AsType[*auth.RefusedError](err); refused == nil || refused.Reason != ReasonNoRole {
		t.Errorf("without a role: got %v", err)
	}
	if _, err := who.Look(t.Context()); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("an open WebSocket: got %v, want ErrNotFound", err)
	}
}
