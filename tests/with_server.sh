#!/usr/bin/env bash
# tests/with_server.sh PROGRAM COMMAND…  Runs a command beside a new server with an empty private Postgres and no rate
# limits and no wait after wrong passwords: SERVER_URL is where it listens, PX360_ADMIN_PASSWORD the password of admin, PX360_DATA_DIR what `px360 user` and
# `px360 demo --examples` need, METRICS_URL where its metrics are.
set -euo pipefail
program=$(realpath "$1")
shift

dir=$(mktemp -d)
chmod 711 "$dir" # as root, another account runs Postgres
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port) metrics=127.0.0.1:$(free_port)
export METRICS_URL=http://$metrics/metrics SERVER_URL=http://127.0.0.1:$port PX360_ADMIN_PASSWORD=a-Pass-for-tests-360 PX360_DATA_DIR=$dir/data
PX360_ADDR=127.0.0.1:$port PX360_METRICS_ADDR=$metrics PX360_PUBLIC_URL=$SERVER_URL PX360_RATE_LIMITS=off PX360_LONGEST_LOGIN_WAIT=0s PX360_LOG_LEVEL=warn \
  "$program" up >"$dir/out" 2>"$dir/log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; cat "$dir/log" >&2; rm -rf "$dir"' EXIT

for _ in $(seq 600); do
  curl -fs "$SERVER_URL/readyz" >/dev/null && break
  kill -0 $server || { cat "$dir/out"; exit 1; }
  sleep 0.1
done
"$@"
