# lib.sh: what the tests of the program share. A test is a shell script that begins with
#     . "$(dirname "$0")/lib.sh"
# and then alternates `run COMMAND...` with checks of its exit code, stdout and stderr. Meson gives XC_BIN (the program), XC_DEMO (demo_verb)
# and XC_SOURCE_ROOT. The script works in an empty directory of its own; the exit code is 0 when every check held, 77 to be skipped.
# Add a test: its name in meson.build.
set -u
: "${XC_BIN:?run by meson test, or set XC_BIN to the program}"
tests_dir=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/xc_cli_XXXXXX")
failures=0
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"; exit_code' EXIT
trap 'exit 1' INT TERM HUP
cd "$work" || exit 1
unset XC_CPU POSIXLY_CORRECT
export LC_ALL=C

exit_code() { [ "$failures" -eq 0 ] || exit 1; }

# run COMMAND...: leaves its exit code in $code, its output in the files out and err. stdin is what the caller redirects, or empty.
run() {
    ran="$*"
    if [ -t 0 ]; then "$@" >out 2>err </dev/null; else "$@" >out 2>err; fi
    code=$?
}

fail() {
    failures=$((failures + 1))
    echo "FAILED: $ran"
    echo "  $1"
    echo "  exit code $code; stdout:"
    sed 's/^/    /' out | head -n 40
    echo "  stderr:"
    sed 's/^/    /' err | head -n 20
}

expect_code() { [ "$code" -eq "$1" ] || fail "expected exit code $1"; }

# expect_out [TEXT] / expect_err [TEXT]: the whole stream, byte for byte (a newline is added to TEXT); without TEXT: nothing at all.
expect_stream() {
    stream=$1
    shift
    if [ $# -eq 0 ]; then : >want; else printf '%s\n' "$1" >want; fi
    cmp -s want "$stream" && return
    fail "std$stream differs: $(diff want "$stream" | head -n 20)"
}
expect_out() { expect_stream out "$@"; }
expect_err() { expect_stream err "$@"; }

# out_has / err_has TEXT: a fixed string somewhere.
out_has() { grep -qF -- "$1" out || fail "stdout lacks: $1"; }
err_has() { grep -qF -- "$1" err || fail "stderr lacks: $1"; }
out_lacks() { ! grep -qF -- "$1" out || fail "stdout has: $1"; }

# Wrong usage: exit code 2, nothing on stdout, and one line on stderr, which is TEXT.
expect_usage() {
    expect_code 2
    expect_out
    expect_err "$1"
}

# A failure: exit code 1 and exactly one line on stderr that begins "xcompress: " and contains TEXT.
expect_failure() {
    expect_code 1
    [ "$(wc -l <err)" -eq 1 ] || fail "expected one line on stderr"
    grep -q '^xcompress: ' err || fail "stderr does not begin with 'xcompress: '"
    err_has "$1"
}

# mandoc's complaints, but for the date, which a page that comes out the same every time does not have.
expect_lint() { [ -z "$(grep -v 'missing date' out)" ] || fail "the manual has warnings"; }

# Is stdout one JSON document? Sets nothing; json PATH prints a value: json '["rows"]'.
expect_json() { python3 -c 'import json,sys; json.load(open("out"))' 2>/dev/null || fail "stdout is not JSON"; }
json() { python3 -c 'import json,sys; v = json.load(open("out")); print(eval("v" + sys.argv[1]))' "$1"; }
