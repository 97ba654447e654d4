#!/usr/bin/env bash
# tests/proxy.sh PROGRAM PRISM  Plays the demo's hospital day through Prism, which checks every request and answer
# against the contract and turns a violation into an error. tests/with_server.sh starts the server behind it.
set -euo pipefail
program=$1 prism=$2

log=$(mktemp)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$prism" proxy --errors --host 127.0.0.1 --port "$port" --multiprocess false openapi/openapi.yaml "$SERVER_URL" >"$log" 2>&1 &
proxy=$!
trap 'kill $proxy 2>/dev/null; wait $proxy 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 600); do
  (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  kill -0 $proxy || { cat "$log"; exit 1; }
  sleep 0.1
done
"$program" demo --url "http://127.0.0.1:$port" || { tail -n 60 "$log"; exit 1; }
