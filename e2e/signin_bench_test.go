package e2e

import (
	"net/http"
	"testing"
	"time"

	"dagster-authkit/e2e/directory"
)

// BenchmarkSignIn is a whole sign-in, from the form to the session's cookie, four at a time for each core. A directory's goes by
// ldaps: a search and a group search on a connection that is kept, a connection with a bind, and the rows of the session and the trail.
func BenchmarkSignIn(b *testing.B) {
	s := directory.StartSlapd(b)
	k := start(b, options{env: withDirectory(s), noWait: true})
	k.eventually(time.Minute, "the sign-in is there", func() bool {
		resp, err := http.Get(k.url + "/auth/login")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	for name, password := range map[string]string{"ldap": directory.Password("ada"), "local after ldap": passwords["ada"]} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if resp, _ := k.anonymous().login("ada", password); resp.StatusCode != http.StatusSeeOther {
						b.Errorf("got %d, want 303", resp.StatusCode)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sign-ins/s")
		})
	}
}
