package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"dagster-authkit/internal/audit"
	"dagster-authkit/internal/identity"
)

const (
	versionQuery = `{ version }`
	deleteRun    = `mutation { deleteRun(runId: "1") { __typename } }`
	configQuery  = `{ isPipelineConfigValid(pipeline: {}, mode: "x") { __typename } }`
)

// joined waits until so many queries have joined others.
func (k *chainKit) joined(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); k.metric("dagster_authkit_queries_joined_total") < float64(want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v queries have joined others, want %d", k.metric("dagster_authkit_queries_joined_total"), want)
		}
	}
}

// metric reads one value of the metrics, as an operator would.
func (k *chainKit) metric(name string) float64 { return k.metrics(name)[0] }

// metrics reads several, all of one moment.
func (k *chainKit) metrics(names ...string) []float64 {
	r := (&person{k: k, cookie: &http.Cookie{Name: "none", Value: "none"}}).request(k.t.Context(), http.MethodGet, "/auth/metrics", "")
	r.RemoteAddr = "127.0.0.1:1"
	a := (&person{k: k}).send(r)
	<-a.done
	values := make([]float64, len(names))
	for i, name := range names {
		_, rest, found := strings.Cut(a.Body.String(), "\n"+name+" ")
		if _, err := fmt.Sscan(rest, &values[i]); !found || err != nil {
			k.t.Errorf("there is no metric %s", name)
		}
	}
	return values
}

// TestChainReadYourOwnWrite: somebody's query is under way since before my change, and slow. I ask the same after my change
// was done, and must not get the answer from before it. The control: what I ask before it is theirs.
func TestChainReadYourOwnWrite(t *testing.T) {
	t.Parallel()
	k := startChain(t)
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	old := vic.asks(versionQuery)
	before := k.dagster.next(t)
	control := larry.asks(versionQuery)
	k.joined(t, 1)

	change := larry.asks(deleteRun)
	write := k.dagster.next(t)
	if !strings.Contains(write.body, "deleteRun") || write.header.Get("X-Forwarded-User") != "larry" {
		t.Errorf("the mutation came as %s from %q", write.body, write.header.Get("X-Forwarded-User"))
	}
	during := larry.asks(versionQuery) // nobody was told of the change yet: both worlds are true
	k.joined(t, 2)
	write.answer <- `{"data":{"deleteRun":{"__typename":"DeletePipelineRunSuccess"}}}`
	change.wait(t)

	after, again := larry.asks(versionQuery), vic.asks(versionQuery)
	fresh := k.dagster.next(t)
	k.joined(t, 3)
	fresh.answer <- `{"data":{"version":"new"}}`
	for _, a := range []*reply{after, again} {
		if got := a.wait(t); !strings.Contains(got, "new") {
			t.Errorf("after the change somebody got %s", got)
		}
	}
	before.answer <- `{"data":{"version":"old"}}`
	for _, a := range []*reply{old, control, during} {
		if got := a.wait(t); !strings.Contains(got, "old") {
			t.Errorf("before the change was done somebody got %s", got)
		}
	}
	if who := before.header.Get("X-Forwarded-User") + before.header.Get("Cookie"); who != "" {
		t.Errorf("the shared query says who asks: %q", who)
	}
	if got := old.Header().Get("Set-Cookie"); got != "" {
		t.Errorf("somebody got another's cookie: %s", got)
	}
	k.dagster.quiet(t, "everybody has an answer")
}

// The writes whose clients have left are ended by Dagster, not by them; a report by REST is a write as a mutation is.
func TestChainEveryWriteCounts(t *testing.T) {
	t.Parallel()
	k := startChain(t)
	ed, vic := k.person("ed", identity.Editor), k.person("vic", identity.Viewer)
	for name, write := range map[string]func(ctx context.Context) *http.Request{
		"mutation": func(ctx context.Context) *http.Request {
			return ed.request(ctx, http.MethodPost, "/graphql", graphQL(deleteRun))
		},
		"report": func(ctx context.Context) *http.Request {
			return ed.request(ctx, http.MethodPost, "/report_asset_materialization/a", "{}")
		},
	} {
		for _, leaves := range []bool{false, true} {
			ctx, leave := context.WithCancel(t.Context())
			old := vic.asks(versionQuery)
			before := k.dagster.next(t)
			change := ed.send(write(ctx))
			sent := k.dagster.next(t)
			if leaves {
				leave()
				<-change.done
			}
			control := k.metric("dagster_authkit_queries_joined_total")
			during := vic.asks(versionQuery)
			k.joined(t, int(control)+1)
			select {
			case <-sent.left:
				t.Fatalf("%s: the client left, and so did the write", name)
			default:
			}
			sent.answer <- `{"data":{}}`
			for deadline := time.Now().Add(time.Minute); k.dagster.held.Load() > 1 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if !leaves {
				change.wait(t)
			}
			after, fresh := k.asksAnew(t, vic, !leaves)
			fresh.answer <- `{"data":{"version":"new"}}`
			before.answer <- `{"data":{"version":"old"}}`
			if a, b, c := old.wait(t), during.wait(t), after.wait(t); !strings.Contains(a+b, "old") || !strings.Contains(c, "new") {
				t.Errorf("%s, client left: %t: got %s, %s, and after it %s", name, leaves, a, b, c)
			}
			leave()
		}
	}
}

// asksAnew is a query that comes to Dagster though the same is under way there, as something was written since. Who was told of the
// write's end has it so at once; nobody is told when the answer to nobody is there, so that it is tried until then.
func (k *chainKit) asksAnew(t *testing.T, p *person, told bool) (*reply, *visit) {
	t.Helper()
	const metric = "dagster_authkit_queries_joined_total"
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		before := k.metric(metric)
		a := p.asks(versionQuery)
		for k.metric(metric) == before {
			select {
			case v := <-k.dagster.arrived:
				return a, v
			case <-time.After(time.Millisecond):
			}
		}
		if told {
			break
		}
	}
	t.Fatal("a query that was asked after a write joined one from before it")
	return nil, nil
}

func TestChainOneWhoLeavesCancelsNobody(t *testing.T) {
	t.Parallel()
	k := startChain(t)
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	ctx, leave := context.WithCancel(t.Context())
	first := vic.send(vic.request(ctx, http.MethodPost, "/graphql", graphQL(versionQuery)))
	shared := k.dagster.next(t)
	second := larry.asks(versionQuery)
	k.joined(t, 1)
	leave()
	<-first.done
	select {
	case <-shared.left:
		t.Error("the query of the one who stays was given up")
	case <-time.After(50 * time.Millisecond):
	}
	shared.answer <- `{"data":{"version":"here"}}`
	if got := second.wait(t); !strings.Contains(got, "here") || !first.cut {
		t.Errorf("who stayed got %s; the connection of who left was cut: %t", got, first.cut)
	}
	// The control: when all have left, Dagster is told.
	ctx, leave = context.WithCancel(t.Context())
	third := vic.send(vic.request(ctx, http.MethodPost, "/graphql", graphQL(versionQuery)))
	alone := k.dagster.next(t)
	leave()
	<-third.done
	select {
	case <-alone.left:
	case <-time.After(time.Minute):
		t.Error("nobody waits, and Dagster goes on")
	}
}

func TestChainAFailureIsForThoseWhoWait(t *testing.T) {
	t.Parallel()
	// The second is rewritten for whoever asks, the failure included.
	for _, query := range []string{versionQuery, `{ version canBulkTerminate }`} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			k := startChain(t)
			vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
			first := vic.asks(query)
			broken := k.dagster.next(t)
			second := larry.asks(query)
			k.joined(t, 1)
			broken.answer <- ""
			for _, a := range []*reply{first, second} {
				if got := a.wait(t); a.Code != http.StatusBadGateway || !strings.Contains(got, "UPSTREAM") {
					t.Errorf("of a broken connection came %d %s", a.Code, got)
				}
			}
			third := vic.asks(query)
			k.dagster.next(t).answer <- `{"data":{"version":"well","canBulkTerminate":true}}`
			if got := third.wait(t); third.Code != http.StatusOK || !strings.Contains(got, "well") {
				t.Errorf("after the failure came %d %s", third.Code, got)
			}
		})
	}
}

// TestChainTheRightIsAskedAnew: two wait for one answer. Of one the session or the rights end meanwhile, and they get what
// they would get now; the other is the control.
func TestChainTheRightIsAskedAnew(t *testing.T) {
	t.Parallel()
	event := audit.Event{Type: "TEST", Timestamp: time.Now()}
	for name, test := range map[string]struct {
		change func(k *chainKit, p *person) error
		code   int
		want   string
	}{
		"signed out": {func(k *chainKit, p *person) error {
			_, err := k.app.sessions.End(httptest.NewRecorder(), p.request(context.Background(), http.MethodGet, "/", ""))
			return err
		}, http.StatusUnauthorized, "UNAUTHENTICATED"},
		"disabled": {func(k *chainKit, p *person) error {
			return k.app.store.SetDisabled(context.Background(), p.user.RowID, true, false, event)
		}, http.StatusUnauthorized, "UNAUTHENTICATED"},
		"deleted": {func(k *chainKit, p *person) error {
			return k.app.store.DeleteUser(context.Background(), p.user.RowID, false, event)
		}, http.StatusUnauthorized, "UNAUTHENTICATED"},
		"a viewer now": {func(k *chainKit, p *person) error {
			return k.app.store.SetRole(context.Background(), p.user.RowID, identity.Viewer, false, event)
		}, http.StatusOK, "FORBIDDEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startChain(t)
			ann, ben := k.person("ann", identity.Launcher), k.person("ben", identity.Launcher)
			loses := ann.asks(configQuery)
			shared := k.dagster.next(t)
			stays := ben.asks(configQuery)
			k.joined(t, 1)
			if err := test.change(k, ann); err != nil {
				t.Fatal(err)
			}
			shared.answer <- `{"data":{"isPipelineConfigValid":{"__typename":"secret"}}}`
			if got := loses.wait(t); loses.Code != test.code || !strings.Contains(got, test.want) || strings.Contains(got, "secret") {
				t.Errorf("who lost the right got %d %s", loses.Code, got)
			}
			if got := stays.wait(t); stays.Code != http.StatusOK || !strings.Contains(got, "secret") {
				t.Errorf("who has the right got %d %s", stays.Code, got)
			}
			k.dagster.quiet(t, name)
		})
	}
}

// A change of the role that leaves the right asks anew, as the answer says what one may do: it says so for today's role.
func TestChainTheAnswerIsForTodaysRole(t *testing.T) {
	t.Parallel()
	k := startChain(t)
	vic := k.person("vic", identity.Viewer)
	const query = `{ canBulkTerminate }`
	answer := `{"data":{"canBulkTerminate":true}}`
	a := vic.asks(query)
	first := k.dagster.next(t)
	if err := k.app.store.SetRole(t.Context(), vic.user.RowID, identity.Launcher, false, audit.Event{Type: "TEST", Timestamp: time.Now()}); err != nil {
		t.Fatal(err)
	}
	first.answer <- answer
	k.dagster.next(t).answer <- answer
	if got := a.wait(t); !strings.Contains(got, "true") {
		t.Errorf("a launcher is told %s", got)
	}
	if err := k.app.store.SetRole(t.Context(), vic.user.RowID, identity.Viewer, false, audit.Event{Type: "TEST", Timestamp: time.Now()}); err != nil {
		t.Fatal(err)
	}
	a = vic.asks(query)
	k.dagster.next(t).answer <- answer
	if got := a.wait(t); !strings.Contains(got, "false") {
		t.Errorf("a viewer is told %s", got)
	}
}

// People with other rights share the question, and each gets the answer that is theirs.
func TestChainSharedBeforeItIsRewritten(t *testing.T) {
	t.Parallel()
	k := startChain(t)
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	viewers := vic.asks(`{ canBulkTerminate }`)
	shared := k.dagster.next(t)
	launchers := larry.asks(`{ canBulkTerminate }`)
	k.joined(t, 1)
	shared.answer <- `{"data":{"canBulkTerminate":true}}`
	if v, l := viewers.wait(t), launchers.wait(t); !strings.Contains(v, "false") || !strings.Contains(l, "true") {
		t.Errorf("the viewer got %s, the launcher %s", v, l)
	}
}

func TestChainCoalesceOff(t *testing.T) {
	t.Parallel()
	k := startChain(t, "DAGSTER_AUTH_COALESCE=false")
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	first, second := vic.asks(versionQuery), larry.asks(versionQuery)
	for _, v := range []*visit{k.dagster.next(t), k.dagster.next(t)} {
		v.answer <- fmt.Sprintf(`{"data":{"version":%q}}`, v.header.Get("X-Forwarded-User"))
	}
	if a, b := first.wait(t), second.wait(t); !strings.Contains(a, "vic") || !strings.Contains(b, "larry") {
		t.Errorf("each asks by themselves, and got %s and %s", a, b)
	}
	if got := k.metric("dagster_authkit_queries_joined_total"); got != 0 {
		t.Errorf("%v queries were shared", got)
	}
}
