#!/usr/bin/env bash
# Prints the path of a Chromium or Chrome for the documentation tests. If none is installed, it installs
# Debian's package (as root), or downloads the one of an npm package to bin/.
#
#   tests/browser.sh       an installed browser, else a downloaded one; `make test` calls it
#   tests/browser.sh find  an installed or already downloaded browser only; `go test` calls it
#   tests/browser.sh npm   the browser of the npm package, even if another is installed; CI tests it
set -euo pipefail

VERSION=143.0.4 # of @sparticuz/chromium
UNPACKED=bin/chromium-$VERSION

say() { echo "tests/browser.sh: $*" >&2; }

works() { "$1" --version </dev/null >/dev/null 2>&1; }

installed() {
  local name program
  for name in chromium chromium-browser google-chrome google-chrome-stable headless-shell \
    /usr/bin/chromium /usr/bin/google-chrome /opt/google/chrome/chrome /snap/bin/chromium /headless-shell/headless-shell \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" /Applications/Chromium.app/Contents/MacOS/Chromium; do
    # Some are stubs that only say what to install.
    if program=$(command -v "$name") && works "$program"; then
      echo "$program"
      return
    fi
  done
  return 1
}

unpacked() { works "$PWD/$UNPACKED/chromium" && echo "$PWD/$UNPACKED/chromium"; }

debian() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  say "no Chromium is installed: installing Debian's package chromium"
  local log
  log=$({ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } </dev/null 2>&1) ||
    { say "apt-get failed:"; echo "$log" >&2; return 1; }
  installed
}

npm_package() {
  if ! [ -e "$UNPACKED" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] || { say "the npm package has a Chromium for Linux on x86-64 only"; return 1; }
    command -v npm >/dev/null && command -v node >/dev/null || { say "there is no npm to get a Chromium with"; return 1; }
    say "getting Chromium from the npm package @sparticuz/chromium@$VERSION into $UNPACKED, once"
    # Renamed when complete, in case the script is interrupted or runs concurrently.
    mkdir -p bin && work=$(mktemp -d "$PWD/bin/chromium.XXXXXX") || return 1
    trap 'rm -rf "$work"' EXIT
    unpack "$work" || { say "that failed"; return 1; }
    mv -T "$work/browser" "$UNPACKED" 2>/dev/null || [ -e "$UNPACKED" ]
  fi
  unpacked || { say "$UNPACKED/chromium needs glibc 2.34 or newer and libgcc_s.so.1 of the machine: $("$UNPACKED/chromium" --version 2>&1)"; return 1; }
}

# unpack DIR extracts the npm package into DIR/browser. The package's own code for that has dependencies,
# and extracts to fixed paths under /tmp.
unpack() {
  local from=$1/package/bin to=$1/browser
  mkdir "$to" "$to/program" &&
    npm pack --loglevel=error --pack-destination "$1" "@sparticuz/chromium@$VERSION" >/dev/null &&
    tar -xzf "$1/sparticuz-chromium-$VERSION.tgz" -C "$1" --no-same-owner &&
    unbrotli <"$from/chromium.br" >"$to/program/chromium" &&
    chmod 755 "$to/program/chromium" &&
    unbrotli <"$from/swiftshader.tar.br" | tar -x --no-same-owner -C "$to/program" && # next to the program, which looks there
    unbrotli <"$from/al2023.tar.br" | tar -x --no-same-owner -C "$to" &&              # lib/: NSS and expat
    unbrotli <"$from/fonts.tar.br" | tar -x --no-same-owner -C "$to" &&
    cp "$1/package/LICENSE" "$to" &&
    echo '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>' >"$to/fonts.conf" &&
    cat >"$to/chromium" <<'END' &&
#!/bin/sh
# Starts Chromium with its bundled libraries and fonts.
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/program/chromium" "$@"
END
    chmod 755 "$to/chromium"
}

unbrotli() { node -e 'process.stdin.pipe(require("zlib").createBrotliDecompress()).pipe(process.stdout)'; }

wanted=${1:-any}
if [ "$wanted" != npm ] && [ -n "${PX360_TEST_BROWSER:-}" ]; then
  program=$(command -v "$PX360_TEST_BROWSER") && works "$program" || { say "PX360_TEST_BROWSER is not a browser that starts: $PX360_TEST_BROWSER"; exit 1; }
  case $program in
  /*) echo "$program" ;;
  *) echo "$PWD/$program" ;;
  esac
  exit
fi

cd "$(dirname "$0")/.."
case $wanted in
any) installed || unpacked || debian || npm_package ;;
find) installed || unpacked ;;
npm) npm_package ;;
*) say "what is $wanted?"; exit 2 ;;
esac && exit

[ "$wanted" = find ] ||
  say "no browser for the tests of the documentation pages: install Chromium or Chrome (on Debian, as root: apt-get install chromium), or Node and npm, or set PX360_TEST_BROWSER to the path of one"
exit 1
