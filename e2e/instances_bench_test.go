package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dagster-authkit/e2e/pgtest"
)

// cluster is instances before a fast upstream, which answers as a Dagster that takes no time, on a PostgreSQL that counts statements.
type cluster struct {
	instances []*kit
	conn      *pgx.Conn // the superuser's
}

func startCluster(b *testing.B, instances int) *cluster {
	b.Helper()
	postgres, err := pgtest.Start("shared_preload_libraries=pg_stat_statements")
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { _ = postgres.Remove() })
	c := &cluster{}
	if c.conn, err = pgx.Connect(b.Context(), postgres.URL(pgtest.Superuser, pgtest.Password, "postgres")); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.conn.Close(context.Background()) })
	if _, err := c.conn.Exec(b.Context(), `CREATE EXTENSION pg_stat_statements; CREATE ROLE authkit LOGIN PASSWORD 'x';
		CREATE SCHEMA authkit AUTHORIZATION authkit`); err != nil {
		b.Fatal(err)
	}
	first := prepare(b, options{env: []string{
		"DAGSTER_AUTH_DATABASE_URL=" + postgres.URL("authkit", "x", "postgres"), "DAGSTER_AUTH_RATE_LIMIT=false", "DAGSTER_AUTH_REQUEST_LIMIT=0",
		"DAGSTER_AUTH_SECRET_KEY=the same for all of the instances here",
	}})
	upstream := startFast(b, startBare(b, first))
	for range instances {
		k := *first
		k.url = fmt.Sprintf("http://127.0.0.1:%d", freePort(b))
		c.instances = append(c.instances, startBefore(b, upstream, options{from: &k}))
	}
	return c
}

// startFast is the bench's fast upstream before a Dagster.
func startFast(b *testing.B, dagster string) string {
	b.Helper()
	program := filepath.Join(b.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", program, "dagster-authkit/bench").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(b))
	fast := exec.Command(program, "fast", address, dagster)
	if err := fast.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = fast.Process.Kill()
		_ = fast.Wait()
	})
	return "http://" + address
}

// statements are how many AuthKit's login has run, and the milliseconds that PostgreSQL took for them.
func (c *cluster) statements(b *testing.B) (calls, milliseconds float64) {
	b.Helper()
	if err := c.conn.QueryRow(b.Context(), `SELECT coalesce(sum(calls), 0)::float8, coalesce(sum(total_exec_time), 0)::float8
		FROM pg_stat_statements WHERE userid = 'authkit'::regrole`).Scan(&calls, &milliseconds); err != nil {
		b.Fatal(err)
	}
	return calls, milliseconds
}

// measure runs once in parallel, so many for each core, over the instances in turn. What PostgreSQL took includes waits for locks.
func (c *cluster) measure(b *testing.B, instances, parallel int, unit string, once func(k *kit) error) {
	b.Helper()
	var turn atomic.Int64
	calls, took := c.statements(b)
	b.ResetTimer()
	b.SetParallelism(parallel)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := once(c.instances[int(turn.Add(1))%instances]); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	callsAfter, tookAfter := c.statements(b)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit+"/s")
	b.ReportMetric((callsAfter-calls)/float64(b.N), "statements/op")
	b.ReportMetric((tookAfter-took)/float64(b.N), "ms-database/op")
}

// BenchmarkInstances is what 1, 2 and 3 instances do on one PostgreSQL: GraphQL requests of a known session to an upstream that takes
// no time, and sign-ins. The clients, PostgreSQL and the upstream have the same cores.
func BenchmarkInstances(b *testing.B) {
	c := startCluster(b, 3)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	cookie := c.instances[0].signIn("ada").cookie()
	for n := 1; n <= 3; n++ {
		b.Run(fmt.Sprintf("requests on %d", n), func(b *testing.B) {
			c.measure(b, n, 8, "requests", func(k *kit) error {
				req, err := http.NewRequest(http.MethodPost, k.url+"/graphql", strings.NewReader(`{"query":"query BenchDistinct { version }"}`))
				if err != nil {
					return err
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Cookie", cookie)
				return answers(transport, req, http.StatusOK)
			})
		})
		b.Run(fmt.Sprintf("sign-ins on %d", n), func(b *testing.B) {
			c.measure(b, n, 8, "sign-ins", func(k *kit) error { return signInOnce(transport, k) })
		})
	}
	b.Run("sign-ins one for each core", func(b *testing.B) {
		c.measure(b, 1, 1, "sign-ins", func(k *kit) error { return signInOnce(transport, k) })
	})
}

func signInOnce(transport *http.Transport, k *kit) error {
	req, err := http.NewRequest(http.MethodPost, k.url+"/auth/login", strings.NewReader(loadForm("ada", passwords["ada"])))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return answers(transport, req, http.StatusSeeOther)
}

// answers sends a request, follows nothing, and reads the answer to its end.
func answers(transport *http.Transport, req *http.Request, want int) error {
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != want {
		return fmt.Errorf("%s: got %d, want %d", req.URL.Path, resp.StatusCode, want)
	}
	return nil
}

// BenchmarkInstancesNews is the time from the commit of a change of role until a request to an instance that did not make it is
// answered by it, the request included. Its metrics are the median and the worst.
func BenchmarkInstancesNews(b *testing.B) {
	c := startCluster(b, 1)
	person := c.instances[0].signIn("larry")
	var took []time.Duration
	b.ResetTimer()
	for i := range b.N {
		role := []string{"viewer", "editor"}[i%2]
		if _, err := c.conn.Exec(b.Context(), `UPDATE authkit.users SET role = $1 WHERE name = 'larry'`, role); err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		for {
			if _, body := person.do("GET", "/auth/me", ""); strings.Contains(body, `"role":"`+role+`"`) {
				break
			}
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "µs/worst")
}
