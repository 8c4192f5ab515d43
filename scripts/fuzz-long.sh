#!/bin/sh
# Runs every libFuzzer target for ten minutes each (or MINUTES). usage: scripts/fuzz-long.sh [MINUTES]
set -eu

cd "$(dirname "$0")/.."
seconds=$((60 * ${1:-10}))
dir=build-fuzz
scripts/deps.sh tests
CC=clang scripts/build.sh "$dir" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized
status=0
for target in "$dir"/tests/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=$(basename "$target")
    work=$dir/corpus-$name
    mkdir -p "$work"
    seed=tests/fuzz/corpus/${name#fuzz_}
    [ -d "$seed" ] || seed=
    echo "== $name for $seconds s"
    # shellcheck disable=SC2086
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$work/" "$work" $seed >"$work.log" 2>&1 || {
        tail -n 20 "$work.log"
        status=1
    }
    grep -E 'DONE|cov:' "$work.log" | tail -n 1
done
exit $status
