#!/bin/sh
# Installs what the tests need, builds, and runs every test: the release build with gcc, the build with clang, ASan + UBSan, TSan, and the
# fuzzers for a few seconds each. Ends with "N passed, N failed, N skipped". Longer checks: scripts/fuzz-long.sh,
# scripts/test-neon.sh. usage: scripts/test.sh
set -eu

cd "$(dirname "$0")/.."
root=${XC_BUILD_ROOT:-build-tests}
mkdir -p "$root"
root=$(cd "$root" && pwd)
scripts/deps.sh tests

# The real checkpoint and the shared data, where they can be had; tests that need them are counted as skipped otherwise.
if [ -z "${XC_MINILM:-}" ] && scripts/fetch-minilm.sh models/all-MiniLM-L6-v2; then
    XC_MINILM=$(pwd)/models/all-MiniLM-L6-v2
    export XC_MINILM
fi
if [ -z "${XC_DATA:-}" ] && [ -d ../shared/data ]; then
    XC_DATA=$(cd ../shared/data && pwd)
    export XC_DATA
fi

passed=0 failed=0 skipped=0
count() { # NAME BUILD: adds the results of the last `meson test` of that build
    n=$(python3 - "$2/meson-logs/testlog.json" <<'PY'
import json, sys
r = [json.loads(l)["result"] for l in open(sys.argv[1])]
bad = [json.loads(l)["name"] for l in open(sys.argv[1]) if json.loads(l)["result"] not in ("OK", "EXPECTEDFAIL", "SKIP")]
print(sum(x in ("OK", "EXPECTEDFAIL") for x in r), len(bad), r.count("SKIP"), *bad)
PY
)
    set -- "$1" $n
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
    echo "$1: $2 passed, $3 failed, $4 skipped"
    if [ "$3" != 0 ]; then
        shift 4
        echo "   failed: $*"
    fi
}
suite() { # NAME BUILD TEST-OPTIONS -- MESON-OPTIONS
    name=$1 dir=$root/$2 test_options=$3
    shift 3
    echo "== $name"
    if ! scripts/build.sh "$dir" "$@"; then
        echo "$name: the build failed"
        failed=$((failed + 1))
        return
    fi
    # shellcheck disable=SC2086
    meson test -C "$dir" --no-rebuild --print-errorlogs $test_options >"$dir/test.log" 2>&1 || grep -vE '^ *[0-9]+/[0-9]+ .*OK' "$dir/test.log" | tail -n 60
    count "$name" "$dir"
}

suite "gcc, release" gcc "" -Dwerror=true
CC=clang suite "clang, release, warnings are errors" clang "--suite kernels" -Dwerror=true
CC=clang suite "AddressSanitizer and UndefinedBehaviorSanitizer" asan "--timeout-multiplier 6" -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized
CC=clang suite "ThreadSanitizer" tsan "--suite threads --timeout-multiplier 8" -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized
CC=clang suite "fuzzers, some seconds each" fuzz "--suite fuzz --timeout-multiplier 4" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
