#!/bin/sh
# Renews the two documentation programs of others that lie here packed, from their npm packages.
# Run it through `make docs-assets`, then `go test ./tests -run Docs`, which opens both pages.
set -eu

SWAGGER_UI=5.35.0
REDOC=2.5.4

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

unpack() { # unpack PACKAGE VERSION: into a directory of its name
	npm pack --silent "$1@$2" >/dev/null
	mkdir "$1"
	tar -xzf "$1-$2.tgz" -C "$1" --strip-components=1
}

pack() { # pack FILE: without the pointer to a source map that is not here
	sed -E 's|^//# sourceMappingURL=.*$||; s|/\*# sourceMappingURL=[^*]*\*/$||' "$1" | gzip -9n >"$here/$(basename "$1").gz"
}

unpack swagger-ui-dist "$SWAGGER_UI"
unpack redoc "$REDOC"

# ReDoc loads a logo from its maker's site, which the pages must never do: an empty picture instead.
logo='src:"https://cdn.redoc.ly/redoc/logo-mini.svg"'
bundle=redoc/bundles/redoc.standalone.js
grep -qF "$logo" "$bundle" || { echo "ReDoc $REDOC has another logo: see what this script replaces" >&2; exit 1; }
sed -i "s|$logo|src:\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E\"|" "$bundle"

pack swagger-ui-dist/swagger-ui-bundle.js
pack swagger-ui-dist/swagger-ui.css
pack "$bundle"

cp swagger-ui-dist/LICENSE "$here/swagger-ui.LICENSE.txt"
cp swagger-ui-dist/NOTICE "$here/swagger-ui.NOTICE.txt"
cp swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt "$here/swagger-ui-bundle.js.LICENSE.txt"
cp redoc/LICENSE "$here/redoc.LICENSE.txt"
cp redoc/bundles/redoc.standalone.js.LICENSE.txt "$here/redoc.standalone.js.LICENSE.txt"
ls -l "$here"
