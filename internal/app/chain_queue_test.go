package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dagster-authkit/internal/identity"
)

const empty = `{"data":{}}`

// tabs are queries of one person, no two of which are the same.
func (p *person) tabs(count int) []*reply {
	var all []*reply
	for i := range count {
		all = append(all, p.asks(fmt.Sprintf(`{ version tab%d: version }`, i)))
	}
	return all
}

func isTab(v *visit) bool { return strings.Contains(v.body, "tab") }

// answerRest answers all that still comes, until all have their answer.
func (k *chainKit) answerRest(all ...*reply) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, a := range all {
			<-a.done
		}
	}()
	for {
		select {
		case v := <-k.dagster.arrived:
			v.answer <- empty
		case <-done:
			return
		}
	}
}

// load is what the queue has to do.
type load struct{ running, overdue, waiting int }

func (k *chainKit) load() load {
	values := k.metrics("dagster_authkit_upstream_running", "dagster_authkit_upstream_overdue", "dagster_authkit_upstream_waiting")
	return load{int(values[0]), int(values[1]), int(values[2])}
}

// entered waits until so many requests are in the queue or beyond it. How many have a place is nothing to wait for: on a busy
// machine the second of the first may be over when the last one comes.
func (k *chainKit) entered(t *testing.T, want int) load {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got := k.load()
		if got.running+got.overdue+got.waiting == want {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queue has %+v, want %d requests", got, want)
		}
	}
}

// Fifty tabs of one person wait; another's click has the next place, or the one after it.
func TestChainFiftyTabsAndAClick(t *testing.T) {
	t.Parallel()
	k := startChain(t, "DAGSTER_AUTH_UPSTREAM_PLACES=1")
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	tabs := vic.tabs(50)
	k.entered(t, 50)
	click := larry.asks(versionQuery)
	there := k.entered(t, 51)
	before := 0
	v := k.dagster.next(t)
	for ; isTab(v); v = k.dagster.next(t) {
		before++
		v.answer <- empty
	}
	v.answer <- empty
	if already := there.running + there.overdue; before > already+1 {
		t.Errorf("%d tabs came before the click, of which %d were there before it", before, already)
	}
	k.answerRest(append(tabs, click)...)
	for _, a := range append(tabs, click) {
		if a.Code != http.StatusOK {
			t.Errorf("somebody got %d %s", a.Code, a.Body)
		}
	}
}

// One identity holds half of the places at most: the other half is there for whoever comes.
func TestChainHalfOfThePlaces(t *testing.T) {
	t.Parallel()
	k := startChain(t)
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	tabs := vic.tabs(10)
	first, second := k.dagster.next(t), k.dagster.next(t)
	if got := k.entered(t, 10); got.running != 2 {
		t.Errorf("one identity has %d of four places", got.running)
	}
	click := larry.asks(versionQuery)
	for v := k.dagster.next(t); ; v = k.dagster.next(t) {
		v.answer <- empty
		if !isTab(v) { // after a second, and not before, it may be a tab
			break
		}
	}
	if got := click.wait(t); click.Code != http.StatusOK {
		t.Errorf("the click got %d %s", click.Code, got)
	}
	first.answer <- empty
	second.answer <- empty
	k.answerRest(tabs...)
}

// Two slow queries don't stop everyone: after a second they have no place any more, and are answered all the same.
func TestChainSlowQueriesGiveTheirPlacesBack(t *testing.T) {
	t.Parallel()
	k := startChain(t, "DAGSTER_AUTH_UPSTREAM_PLACES=2")
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	slow := []*reply{vic.asks(versionQuery), larry.asks(`{ slow: version }`)}
	held := []*visit{k.dagster.next(t), k.dagster.next(t)}
	quick := vic.asks(`{ quick: version }`)
	k.entered(t, 3)
	v := k.dagster.next(t)
	if got := k.load(); got.overdue < 1 {
		t.Errorf("a third request came to two places, and the load is %+v", got)
	}
	v.answer <- empty
	if got := quick.wait(t); quick.Code != http.StatusOK {
		t.Errorf("the quick query got %d %s", quick.Code, got)
	}
	for _, v := range held {
		v.answer <- empty
	}
	for _, a := range slow {
		if got := a.wait(t); a.Code != http.StatusOK {
			t.Errorf("a slow query got %d %s", a.Code, got)
		}
	}
}

// Downloads take no place, and need none.
func TestChainDownloadsTakeNoPlace(t *testing.T) {
	t.Parallel()
	k := startChain(t, "DAGSTER_AUTH_UPSTREAM_PLACES=1")
	vic := k.person("vic", identity.Viewer)
	get := func(path string) *reply { return vic.send(vic.request(t.Context(), http.MethodGet, path, "")) }
	var downloads []*visit
	var all []*reply
	for _, path := range []string{"/logs/run/step/stdout", "/download_debug/1"} {
		all = append(all, get(path))
		downloads = append(downloads, k.dagster.next(t))
	}
	if got := k.load(); got != (load{}) {
		t.Errorf("two downloads are seen by the queue: %+v", got)
	}
	// The control: a page has one.
	page := get("/runs")
	shown := k.dagster.next(t)
	if got := k.load(); got.running+got.overdue != 1 {
		t.Errorf("with a page the load is %+v", got)
	}
	shown.answer <- empty
	page.wait(t)
	for _, v := range downloads {
		v.answer <- empty
	}
	for _, a := range all {
		if got := a.wait(t); a.Code != http.StatusOK {
			t.Errorf("a download got %d %s", a.Code, got)
		}
	}
}

// Whoever leaves while waiting gives their turn back.
func TestChainWhoeverLeavesWaitsNoMore(t *testing.T) {
	t.Parallel()
	k := startChain(t, "DAGSTER_AUTH_UPSTREAM_PLACES=1")
	vic := k.person("vic", identity.Viewer)
	first := vic.asks(versionQuery)
	held := k.dagster.next(t)
	ctx, leave := context.WithCancel(t.Context())
	waits := vic.send(vic.request(ctx, http.MethodPost, "/graphql", graphQL(`{ gone: version }`)))
	k.entered(t, 2)
	leave()
	<-waits.done
	k.entered(t, 1)
	select {
	case <-k.dagster.arrived: // on a busy machine it had its turn before it left
	default:
	}
	held.answer <- empty
	first.wait(t)
	k.entered(t, 0)
	k.dagster.quiet(t, "who waited has left")
}

// Beyond the bound there is a 503 in the form that fits, and nothing of the request has happened.
func TestChainOverload(t *testing.T) {
	t.Parallel()
	k := startChain(t, "DAGSTER_AUTH_UPSTREAM_PLACES=1")
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	tabs := vic.tabs(300)
	a := anyDone(t, tabs) // nobody is answered: it is one that was refused
	var body struct {
		Errors []struct {
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Extensions.Code != "OVERLOADED" ||
		a.Code != http.StatusServiceUnavailable || a.Header().Get("Retry-After") == "" {
		t.Errorf("a query too many got %d, Retry-After %q, %s", a.Code, a.Header().Get("Retry-After"), a.Body)
	}
	// Each second a request that is late makes room for one more: of some pages, one is too many.
	var pages []*reply
	for range 20 {
		r := vic.request(t.Context(), http.MethodGet, "/runs", "")
		r.Header.Set("Accept", "text/html")
		pages = append(pages, vic.send(r))
	}
	page := anyDone(t, pages)
	if page.Code != http.StatusServiceUnavailable || page.Header().Get("Retry-After") == "" || !strings.Contains(page.Body.String(), "too much to do") {
		t.Errorf("a page too many got %d, Retry-After %q, %s", page.Code, page.Header().Get("Retry-After"), page.Body)
	}
	// The control: another identity has room.
	click := larry.asks(versionQuery)
	k.answerRest(append(append(tabs, pages...), click)...)
	if click.Code != http.StatusOK {
		t.Errorf("another's click got %d %s", click.Code, click.Body)
	}
}

// anyDone waits until one of them has an answer.
func anyDone(t *testing.T, all []*reply) *reply {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, a := range all {
			select {
			case <-a.done:
				return a
			default:
			}
		}
	}
	t.Fatal("nobody has an answer")
	return nil
}

// A large request takes memory until it is answered, not only while it is sent. Its sender's small ones go on, and so does everybody else.
func TestChainLargeRequests(t *testing.T) {
	t.Parallel()
	k := startChain(t)
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	large := func(p *person, number int) *reply {
		body := fmt.Sprintf(`{"query":"{ version tab%d: version }","extensions":{"x":%q}}`, number, strings.Repeat("x", 2<<20))
		return p.send(p.request(t.Context(), http.MethodPost, "/graphql", body))
	}
	const most = 8
	all := []*reply{}
	for i := range most {
		all = append(all, large(vic, i))
		k.entered(t, i+1)
	}
	tooMany := large(vic, most)
	if got := tooMany.wait(t); tooMany.Code != http.StatusTooManyRequests || tooMany.Header().Get("Retry-After") == "" {
		t.Errorf("the ninth: got %d %s, want 429", tooMany.Code, got)
	}
	all = append(all, large(larry, 100), vic.asks(`{ version small: version }`))
	k.entered(t, most+2)
	k.answerRest(all...)
	again := large(vic, 200)
	k.answerRest(again)
	for i, a := range append(all, again) {
		if a.Code != http.StatusOK {
			t.Errorf("request %d: got %d %s", i, a.Code, a.Body)
		}
	}
}
