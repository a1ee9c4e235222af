#!/usr/bin/env bash
# dashboards/draw/draw.sh [--again]: draws the boards with Grafana's own components into docs/dashboard-*.png.
# Everything it installs and records is in build/draw (ignored by git). The demo is recorded once, which takes about six
# minutes; --again records it anew. Needs node (20.15 or newer), npm, prometheus, promtool, chromium and curl, and the
# project in .venv (or PYTHON, an interpreter that has it).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python} work=build/draw hours=5

for program in node npm prometheus promtool curl; do
  command -v "$program" >/dev/null || { echo "error: $program is not installed" >&2; exit 1; }
done
chromium=$(command -v chromium || command -v chromium-browser) || { echo "error: chromium is not installed" >&2; exit 1; }
[ "${1:-}" != --again ] || rm -rf "$work/tsdb"

mkdir -p "$work"
cp -r dashboards/draw/{page,draw.mjs,smaller.mjs,package.json} "$work"
if ! cmp -s "$work/package.json" "$work/installed.json"; then
  echo "installing Grafana's packages (some 400 MB)"
  (cd "$work" && npm install --legacy-peer-deps --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error)
  cp "$work/package.json" "$work/installed.json"
fi

if [ ! -e "$work/tsdb" ]; then
  echo "recording $hours hours of the demo in $hours minutes"
  PYTHONPATH=. "$python" dashboards/draw/record.py "$work/recorded.om" "$hours" >"$work/last"
  promtool tsdb create-blocks-from openmetrics "$work/recorded.om" "$work/tsdb.new" >/dev/null
  mv "$work/tsdb.new" "$work/tsdb"
fi

port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
echo '{}' >"$work/prometheus.yml"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --storage.tsdb.retention.time=100y \
  --web.listen-address="127.0.0.1:$port" >"$work/prometheus.log" 2>&1 &
server=$!
trap 'kill "$server"; wait "$server" || true' EXIT
curl -sf --retry 60 --retry-delay 1 --retry-all-errors -o /dev/null "http://127.0.0.1:$port/-/ready"

CHROMIUM=$chromium node "$work/draw.mjs" "http://127.0.0.1:$port" "$(cat "$work/last")" dashboards/grafana docs
ls -l docs/dashboard-*.png
