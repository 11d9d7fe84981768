// Package dagster holds what AuthKit knows of Dagster itself: which of its routes a path is, and what it asks of the running
// webserver (version, schema). It decides nothing about anybody.
package dagster
