package app

import (
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dagster-authkit/internal/store"
)

// TestPoolMetrics: the use of the connections is in the metrics, by names that the README gives.
func TestPoolMetrics(t *testing.T) {
	t.Parallel()
	rows, err := store.Open(t.Context(), store.Options{URL: filepath.Join(t.TempDir(), "a.db"), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	registry := prometheus.NewRegistry()
	registerPool(registry, rows)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, family := range families {
		got[family.GetName()] = true
		if family.GetName() == "dagster_authkit_database_connections_max" && family.GetMetric()[0].GetGauge().GetValue() < 1 {
			t.Error("no connection is allowed")
		}
	}
	for _, name := range []string{"connections_max", "connections_in_use", "connections_idle", "connection_waits_total", "connection_wait_seconds_total"} {
		if !got["dagster_authkit_database_"+name] {
			t.Errorf("there is no %s in %v", name, got)
		}
	}
}
