#!/bin/sh
# Configures (once) and builds a folder. usage: scripts/build.sh FOLDER [meson options]
set -eu

cd "$(dirname "$0")/.."
dir=${1:?usage: build.sh FOLDER [meson options]}
shift
[ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" >"${TMPDIR:-/tmp}/xc-meson-$$.log" 2>&1 || {
    cat "${TMPDIR:-/tmp}/xc-meson-$$.log" >&2
    exit 1
}
rm -f "${TMPDIR:-/tmp}/xc-meson-$$.log"
ninja -C "$dir" -v >"$dir/ninja.log" 2>&1 || {
    grep -E ': (error|warning):|undefined reference' "$dir/ninja.log" >&2 || tail -n 30 "$dir/ninja.log" >&2
    exit 1
}
grep -E ': warning:' "$dir/ninja.log" >&2 || true
