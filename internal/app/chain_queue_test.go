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

// Fifty tabs of one person wait; another's click has the next place, or the one after it.
func TestChainFiftyTabsAndAClick(t *testing.T) {
	t.Parallel()
	k := startChain(t, "DAGSTER_AUTH_UPSTREAM_PLACES=1")
	vic, larry := k.person("vic", identity.Viewer), k.person("larry", identity.Launcher)
	tabs := vic.tabs(50)
	k.waiting(t, 49)
	click := larry.asks(versionQuery)
	k.waiting(t, 50)
	k.dagster.next(t).answer <- empty
	second := k.dagster.next(t)
	if isTab(second) {
		second.answer <- empty
		if second = k.dagster.next(t); isTab(second) {
			t.Error("two tabs of fifty came before the click of another")
		}
	}
	second.answer <- empty
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
	k.waiting(t, 8)
	if got := k.metric("dagster_authkit_upstream_running"); got != 2 {
		t.Errorf("one identity has %v of four places", got)
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
	k.waiting(t, 1) // the control: while the slow ones have their places, it waits
	v := k.dagster.next(t)
	if got := k.metric("dagster_authkit_upstream_overdue"); got < 1 {
		t.Errorf("%v requests run without their place", got)
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
	if got := k.metric("dagster_authkit_upstream_running"); got != 0 {
		t.Errorf("two downloads have %v places", got)
	}
	// The control: a page has one.
	page := get("/runs")
	shown := k.dagster.next(t)
	if got := k.metric("dagster_authkit_upstream_running"); got != 1 {
		t.Errorf("a page has %v places", got)
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
	k.waiting(t, 1)
	leave()
	<-waits.done
	k.waiting(t, 0)
	held.answer <- empty
	first.wait(t)
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
