#!/usr/bin/env bash
# tests/partners/build.sh  Generates a client of the contract with each tool, and compiles a partner's program with it.
# All of it is kept in bin/partners, and only what changed is made again. `make partners` then runs flow.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
sources=tests/partners bin=$PWD/bin/partners
export PATH=$bin/python/venv/bin:$bin/typescript/node_modules/.bin:$PATH GOWORK=off

# needs WHAT VERSION COMMAND…  Fails unless the first number that the command prints is this version or a newer one.
needs() {
  local what=$1 version=$2 have
  have=$("${@:3}" 2>/dev/null | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p') || true
  [ "$(printf '%s\n' "$version" "${have:-0}" | sort -V | head -n 1)" = "$version" ] && return
  echo "make partners needs $what $version or newer: ${have:-none} found" >&2
  exit 1
}
needs Java 17 javac -version
command -v mvn >/dev/null || { echo "make partners needs Maven: there is no mvn" >&2; exit 1; }
needs Node 20 node --version
needs Python 3.11 python3 --version

# current DIR FILE…  Is true if DIR was made from just these files. made DIR FILE… says that it was.
sum() { cat "$@" | cksum; }
current() { [ "$(cat "$1/.made" 2>/dev/null)" = "$(sum "${@:2}")" ]; }
made() { sum "${@:2}" >"$1/.made"; }

tools_of_python=$sources/python/requirements.txt
if ! current "$bin/python" $tools_of_python; then
  mkdir -p "$bin/python"
  python3 -m venv --clear "$bin/python/venv"
  .ci/progress "installing the generators from PyPI, once" \
    "$bin/python/venv/bin/pip" install --quiet --disable-pip-version-check -r $tools_of_python
  made "$bin/python" $tools_of_python
fi
tools_of_typescript="$sources/typescript/package.json $sources/typescript/package-lock.json"
if ! current "$bin/typescript" $tools_of_typescript; then
  mkdir -p "$bin/typescript"
  cp $tools_of_typescript "$bin/typescript/"
  .ci/progress "installing the generators from npm, once" \
    npm ci --prefix "$bin/typescript" --ignore-scripts --no-audit --no-fund --silent
  made "$bin/typescript" $tools_of_typescript
fi

# build NAME COMMAND…  Copies a program and the contract to bin/partners/NAME, and runs the commands there.
build() {
  local name=$1 dir=$bin/$1 files
  shift
  files="$(find "$sources/$name" -type f | sort) $sources/build.sh openapi/openapi.yaml $tools_of_python $tools_of_typescript"
  current "$dir" $files && return
  echo "$name: generating a client and compiling"
  rm -rf "$dir"
  mkdir -p "$(dirname "$dir")"
  cp -R "$sources/$name" "$dir"
  cp openapi/openapi.yaml "$dir/"
  for command; do
    if ! (cd "$dir" && eval "$command") >"$dir/log" 2>&1; then
      tail -n 50 "$dir/log"
      echo "$name: failed: $command"
      return 1
    fi
  done
  made "$dir" $files
}

# Two at a time: Java takes as long as all others together.
(
  build java/okhttp-gson 'openapi-generator-cli generate -c options.yaml' 'mvn -q -B -ntp process-classes'
  build java/native 'openapi-generator-cli generate -c options.yaml' 'mvn -q -B -ntp process-classes'
) &
java=$!
(
  build go/ogen 'go generate' 'go vet ./...' 'go build -o partner .'
  build go/openapi-generator 'openapi-generator-cli generate -c options.yaml' 'rm -r client/go.mod client/go.sum client/test' \
    'go vet ./...' 'go build -o partner .'
  build typescript/openapi-fetch 'openapi-typescript openapi.yaml -o px360.d.ts' 'tsc'
  build typescript/typescript-fetch 'openapi-generator-cli generate -c options.yaml' 'tsc'
  build python/openapi-generator 'openapi-generator-cli generate -c options.yaml' \
    'python -m compileall -q client/px360_client' 'MYPYPATH=client mypy --follow-imports=silent partner.py'
  build python/openapi-python-client \
    'openapi-python-client generate --path openapi.yaml --meta none --output-path px360_client' \
    'python -m compileall -q px360_client' 'mypy --follow-imports=silent partner.py'
) &
others=$!
failed=0
wait $java || failed=1
wait $others || failed=1
exit $failed
