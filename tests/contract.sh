#!/usr/bin/env bash
# tests/contract.sh SCHEMATHESIS [OPTION…]  Runs Schemathesis: every operation, authenticated as PX Admin, with the
# examples of the contract and with generated values that cover its schemas. tests/with_server.sh starts the server.
set -euo pipefail
schemathesis=$(realpath "$1")
shift

token=$(curl -fs "$SERVER_URL/api/auth/token/" -H 'Content-Type: application/json' \
  -d "{\"username\": \"admin\", \"password\": \"$PX360_ADMIN_PASSWORD\"}" | cut -d'"' -f4)
contract=$PWD/openapi/openapi.yaml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" # it writes a cache to the working directory
"$schemathesis" run "$contract" --url "$SERVER_URL" --header "Authorization: Bearer $token" \
  --phases examples,coverage \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
  --max-failures 50 --no-color "$@"
