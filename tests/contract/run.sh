#!/usr/bin/env bash
# tests/contract/run.sh PROGRAM SCHEMATHESIS [OPTION…]  Runs Schemathesis, all phases, as PX Admin, Hospital Admin and Viewer
# on the objects of the contract's examples. tests/with_server.sh starts the server. SEED chooses what is generated, ROLES
# which of "admin hospital_admin viewer" run. With PX360_TEST_STATUSES the server's metrics are left in that directory.
set -euo pipefail
program=$1 schemathesis=$(realpath "$2")
shift 2
here=$PWD/tests/contract contract=$PWD/openapi/openapi.yaml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export EXCEPTIONS_USED=$dir/used

api() { curl -fs "$SERVER_URL/api$1" -H 'Content-Type: application/json' "${@:2}"; }
token() { api /auth/token/ -d "{\"username\": \"$1\", \"password\": \"$PX360_ADMIN_PASSWORD\"}" | cut -d'"' -f4; }
authorization="Authorization: Bearer $(token admin)"
user() { # user NAME ROLE creates a user of the examples' hospital and prints the id.
  local role id
  role=$(api /auth/roles/ -H "$authorization" | python3 -c 'import json, sys; print(next(r["id"] for r in json.load(sys.stdin)["results"] if r["name"] == sys.argv[1]))' "$2")
  id=$(api /auth/users/ -H "$authorization" -d "{\"username\": \"$1\", \"email\": \"$1@hospital.sa\", \"hospital\": \"0193c5a0-7a00-7000-8000-000000000001\",
    \"password\": \"$PX360_ADMIN_PASSWORD\", \"password_confirm\": \"$PX360_ADMIN_PASSWORD\"}" | cut -d'"' -f4)
  api "/auth/users/$id/assign_role/" -H "$authorization" -d "{\"role_id\": \"$role\"}" >/dev/null
  echo "$id"
}

"$program" demo --examples >/dev/null
admin=$(api /auth/users/me/ -H "$authorization" | cut -d'"' -f4)
KEPT_USERS="$admin $(user hospital_admin 'Hospital Admin') $(user viewer Viewer) $(user token_owner Viewer)"
export KEPT_USERS

failed=
cd "$dir" # it writes a cache to the working directory
sed "s|^hooks = .*|hooks = \"$here/hooks.py\"|" "$here/schemathesis.toml" >schemathesis.toml
for role in ${ROLES:-viewer hospital_admin admin}; do
  echo "=== as $role"
  "$schemathesis" --config-file schemathesis.toml run "$contract" --url "$SERVER_URL" --header "Authorization: Bearer $(token $role)" \
    --seed "${SEED:-360}" --no-color "$@" || failed+=" $role"
done
[ -z "$failed" ] || { echo "failed as:$failed"; exit 1; }
curl -fs "$METRICS_URL" >metrics
[ -z "${PX360_TEST_STATUSES:-}" ] || cp metrics "$PX360_TEST_STATUSES/schemathesis.prom"
[ -n "${ROLES:-}" ] || "$(dirname "$(realpath "$schemathesis")")/python" "$here/verdict.py" "$contract" metrics used
