#!/usr/bin/env bash
# Runs Schemathesis against a new server: every operation, authenticated as PX Admin, with the examples
# of the contract and with generated values that cover its schemas. `make contract` calls it.
set -euo pipefail
program=$(realpath "$1") schemathesis=$2
shift 2

dir=$(mktemp -d)
chmod 711 "$dir"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
export PX360_DATA_DIR=$dir/data PX360_ADDR=127.0.0.1:$port PX360_PUBLIC_URL=$url PX360_RATE_LIMITS=off PX360_LOG_LEVEL=warn
export PX360_ADMIN_PASSWORD=contract-Pass-360
"$program" up >"$dir/out" 2>"$dir/log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; cat "$dir/log" >&2; rm -rf "$dir"' EXIT

for _ in $(seq 300); do
  curl -fs "$url/readyz" >/dev/null && break
  kill -0 $server || { cat "$dir/out"; exit 1; }
  sleep 0.1
done
token=$(curl -fs "$url/api/auth/token/" -H 'Content-Type: application/json' \
  -d "{\"username\": \"admin\", \"password\": \"$PX360_ADMIN_PASSWORD\"}" | cut -d'"' -f4)
contract=$PWD/openapi/openapi.yaml
schemathesis=$(realpath "$schemathesis")
cd "$dir" # it writes a cache to the working directory
"$schemathesis" run "$contract" --url "$url" --header "Authorization: Bearer $token" \
  --phases examples,coverage \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
  --max-failures 50 --no-color "$@"
