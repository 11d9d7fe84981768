#!/usr/bin/env bash
# What AuthKit costs, as ratios within one run: a bare dagster-webserver and one behind AuthKit, loaded in turn by wrk on
# loopback, 16 connections, 5 s each, 3 rounds, medians. `make figures` builds what it needs and calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PATH="$root/.venv/bin:$PATH" DAGSTER_DISABLE_TELEMETRY=yes
dir=$(mktemp -d)
pids=()
finish() { kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"; }
trap finish EXIT
cp e2e/testdata/defs.py "$dir"
for name in bare authkit; do mkdir -p "$dir/$name" && cp e2e/testdata/dagster.yaml "$dir/$name"; done
cd "$dir"
now() { date +%s%N; }
ready() { until curl -sf -o /dev/null "$1"; do sleep 0.02; done; }
bare=http://127.0.0.1:3801 authkit=http://127.0.0.1:3802
export DAGSTER_AUTH_BACKEND=dummy DAGSTER_AUTH_DB="$dir/auth.db" DAGSTER_AUTH_AUDIT_LOG=false

echo "start to ready, one after the other, in turn, ms:"
for round in 1 2 3; do
	start=$(now); DAGSTER_HOME="$dir/bare" dagster-webserver -f defs.py -p 3801 >bare.log 2>&1 & child=$!
	ready $bare/server_info; bare_ms=$((($(now) - start) / 1000000))
	[ $round = 3 ] && pids+=($child) || { kill $child; wait $child || true; }
	start=$(now); DAGSTER_HOME="$dir/authkit" "$root/bin/dagster-authkit" -f defs.py -p 3802 >authkit.log 2>&1 & child=$!
	ready "$authkit/auth/health?type=ready"; authkit_ms=$((($(now) - start) / 1000000))
	[ $round = 3 ] && { pids+=($child); authkit_pid=$child; } || { kill $child; wait $child || true; }
	echo "  bare $bare_ms  authkit $authkit_ms"
done
rss() { awk '/VmRSS/ {printf "%.1f MiB", $2 / 1024}' "/proc/$authkit_pid/status"; }
echo "resident memory of AuthKit, idle: $(rss)"
curl -s -o /dev/null -c jar -d 'username=viewer&password=viewer' $authkit/auth/login
cookie=$(awk '$6 == "dagster_authkit" {print $7}' jar)
cat >graphql.lua <<'LUA'
wrk.method = "POST"
wrk.body = '{"query":"{version}"}'
wrk.headers["Content-Type"] = "application/json"
LUA
script=$(cd "$root/.venv"/lib/python3*/site-packages/dagster_webserver/webapp/build && find _next -name '*.js' -printf '%s %p\n' | sort -rn | head -1 | cut -d' ' -f2)
load() { # name, path, wrk arguments
	local name=$1 path=$2; shift 2
	for round in 1 2 3; do
		for side in bare authkit; do
			wrk -t2 -c16 -d5s -H "Cookie: dagster_authkit=$cookie" "$@" "${!side}/$path" | awk '/Requests\/sec/ {print $2}' >>"$name.$side"
		done
	done
	local b a
	b=$(sort -n "$name.bare" | sed -n 2p) a=$(sort -n "$name.authkit" | sed -n 2p)
	awk -v n="$name" -v a="$a" -v b="$b" 'BEGIN {printf "  %-12s bare %8.1f  authkit %8.1f  ratio %.2f\n", n, b, a, a / b}'
}
echo "requests per second, with a session:"
load version graphql -s graphql.lua
load server_info server_info
load script "$script"
echo "resident memory of AuthKit, after the run: $(rss)"
