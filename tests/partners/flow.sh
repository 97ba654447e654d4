#!/usr/bin/env bash
# tests/partners/flow.sh  Runs each partner's program that build.sh compiled against the server, and again against a newer
# one, whose answers have fields more than the contract. What a program prints is to be expected.txt. tests/with_server.sh
# starts the server.
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=bin/partners failed=0
go build -o $bin/newer ./tests/partners/newer || exit 1

# run NAME COMMAND…
run() {
  local name=$1 server
  shift
  for server in "" $bin/newer; do
    if ! timeout 120 $server "$@" >$bin/printed || ! diff -u tests/partners/expected.txt $bin/printed; then
      echo "$name: failed against ${server:+a newer release of }the server"
      failed=1
      return
    fi
  done
  echo "$name: ok"
}

run typescript/openapi-fetch node $bin/typescript/openapi-fetch/out/partner.js
run typescript/typescript-fetch node $bin/typescript/typescript-fetch/out/partner.js
for library in okhttp-gson native; do
  run java/$library java -cp "$bin/java/$library/target/classes:$bin/java/$library/target/dependency/*" Partner
done
for tool in openapi-generator openapi-python-client; do
  run python/$tool env PYTHONPATH=$bin/python/$tool/client $bin/python/venv/bin/python $bin/python/$tool/partner.py
done
for tool in openapi-generator ogen; do
  run go/$tool $bin/go/$tool/partner
done
exit $failed
