package supervisor

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"time"
)

const (
	// readyTick is how often a starting child is looked at; what it adds to the start is at most that. Most looks end with a
	// refused connection, which costs next to nothing.
	readyTick = 10 * time.Millisecond
	// answerTimeout bounds one question; a child that is still loading answers late.
	answerTimeout = 5 * time.Second
	// onReadyFirst and onReadyMost are the pauses after an OnReady that failed.
	onReadyFirst = 250 * time.Millisecond
	onReadyMost  = 5 * time.Second
)

// awaitReady waits until its port answers, is the child's own, and OnReady is content. It returns false when the
// context is done before.
func (s *Supervisor) awaitReady(ctx context.Context, c *child) bool {
	base := &url.URL{Scheme: "http", Host: hostPort(c.port), Path: s.opts.Prefix}
	client := &http.Client{
		// No proxy and no redirects: it is the child on this machine that must answer, and nobody in its place.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       answerTimeout,
	}
	tick := time.NewTicker(readyTick)
	defer tick.Stop()
	for !answers(ctx, client, base) || !s.owns(c) {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return s.settle(ctx, base)
}

// settle calls OnReady until it returns nil.
func (s *Supervisor) settle(ctx context.Context, base *url.URL) bool {
	if s.opts.OnReady == nil {
		return ctx.Err() == nil
	}
	for pause := onReadyFirst; ; pause = min(2*pause, onReadyMost) {
		address := *base
		err := s.opts.OnReady(ctx, &address)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			return true
		}
		s.opts.Log.Warn().Err(err).Msg("dagster-webserver answers, but not what AuthKit needs to know")
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// owns reports whether the child's group holds the listening socket of its port.
func (s *Supervisor) owns(c *child) bool {
	uid := os.Geteuid()
	if s.account != nil {
		uid = int(s.account.credential.Uid)
	}
	own, err := ownsSocket(c.port, c.pid, uid)
	if err != nil {
		s.opts.Log.Debug().Err(err).Msg("could not look at the child's socket")
	}
	return own
}

// answers asks for /server_info, which dagster-webserver serves as soon as it serves anything.
func answers(ctx context.Context, client *http.Client, base *url.URL) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("server_info").String(), nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
