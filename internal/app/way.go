package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dagster-authkit/internal/config"
	"dagster-authkit/internal/proxy"
)

// newWay is the way to Dagster: a queue that is fair between identities, and before it whoever asks what another asks just
// now. What it does is told in numbers.
func newWay(cfg config.Config, registry *prometheus.Registry) *proxy.Coalescer {
	waits := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "dagster_authkit_upstream_wait_seconds", Help: "Time that requests waited for their place at Dagster.",
		Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	queue := proxy.NewQueue(proxy.QueueOptions{
		Places: cfg.UpstreamPlaces, Waited: func(d time.Duration) { waits.Observe(d.Seconds()) },
	})
	way := proxy.NewCoalescer(proxy.CoalesceOptions{Acquire: queue.Acquire, Apart: !cfg.Coalesce})
	registry.MustRegister(waits,
		loadGauge("running", "hold a place at Dagster", queue, func(l proxy.QueueLoad) int { return l.Running }),
		loadGauge("overdue", "run on at Dagster without the place that they gave back", queue, func(l proxy.QueueLoad) int { return l.Overdue }),
		loadGauge("waiting", "wait for a place at Dagster", queue, func(l proxy.QueueLoad) int { return l.Waiting }),
		countOf("asked", "Queries that could be shared with others.", way, func(c proxy.CoalesceCount) uint64 { return c.Asked }),
		countOf("joined", "Queries of those that got the answer to the same one of somebody else.", way, func(c proxy.CoalesceCount) uint64 { return c.Joined }),
	)
	return way
}

func loadGauge(state, what string, queue *proxy.Queue, read func(proxy.QueueLoad) int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dagster_authkit_upstream_" + state, Help: "Requests that " + what + " now.",
	}, func() float64 { return float64(read(queue.Load())) })
}

func countOf(name, help string, way *proxy.Coalescer, read func(proxy.CoalesceCount) uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "dagster_authkit_queries_" + name + "_total", Help: help,
	}, func() float64 { return float64(read(way.Count())) })
}
