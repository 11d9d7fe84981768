#!/usr/bin/env bash
# Starts AuthKit in front of the example pipeline. `make demo` calls it once the binary and .venv are there. The database,
# with its admin, is made at the first start and kept in .demo; PORT chooses another port than 3000.
set -euo pipefail
cd "$(dirname "$0")/.."
export DAGSTER_HOME="$PWD/.demo/dagster" DAGSTER_AUTH_DB="$PWD/.demo/auth.db"
export PATH="$PWD/.venv/bin:$PATH"
mkdir -p "$DAGSTER_HOME"
[ -e "$DAGSTER_HOME/dagster.yaml" ] || cat >"$DAGSTER_HOME/dagster.yaml" <<'YAML'
# The demo has no daemon: runs start at once, and schedules and sensors do not tick.
run_coordinator:
  module: dagster.core.run_coordinator
  class: DefaultRunCoordinator
telemetry:
  enabled: false
YAML
if [ ! -e .demo/password ]; then
	(umask 077 && bin/dagster-authkit add-user admin --admin --generate-password >.demo/password.new)
	mv .demo/password.new .demo/password
fi
echo
echo "  Dagster, with sign-in:  http://127.0.0.1:${PORT:-3000}/"
echo "  user:                   admin"
echo "  password:               $(tail -n 1 .demo/password)"
echo
echo "  Ctrl-C stops it. All that it keeps is in .demo."
echo
exec bin/dagster-authkit -f examples/pipeline.py -h 127.0.0.1 -p "${PORT:-3000}"
