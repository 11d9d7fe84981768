package dagster

import (
	"context"
	"net/url"
	"sync"
	"time"
)

const (
	// answerPatience is how long a webserver may take over /server_info, which it answers from its event loop, beside all that it does.
	answerPatience = 5 * time.Second
	// answerGood is how long one answer, or none, is good for all who ask.
	answerGood = time.Second
)

// pulse is when the webserver was last asked whether it is there.
type pulse struct {
	mu    sync.Mutex
	asked time.Time
	base  string
	beats bool
}

// Answers reports whether the webserver answers /server_info, now or within the last second. Whoever asks meanwhile waits for
// the one who asks already, 5 s at most.
func (u *Upstream) Answers(ctx context.Context, base *url.URL) bool {
	u.pulse.mu.Lock()
	defer u.pulse.mu.Unlock()
	if address := base.String(); u.pulse.base != address || time.Since(u.pulse.asked) >= answerGood {
		// A probe that is given up says nothing about Dagster.
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
		defer cancel()
		_, err := u.askVersion(asking, base)
		if err != nil && u.pulse.beats {
			u.log.Warn().Err(err).Msg("dagster-webserver does not answer")
		}
		u.pulse.base, u.pulse.asked, u.pulse.beats = address, time.Now(), err == nil
	}
	return u.pulse.beats
}
