# libxcrt.so, stripped, is under 1 MB, and needs no library of the toolkit. usage: test_size.sh STRIP LIBXCRT.SO
set -eu
out=$(mktemp "${TMPDIR:-/tmp}/xc_size_XXXXXX")
trap 'rm -f "$out"' EXIT
"$1" -o "$out" "$2"
bytes=$(wc -c <"$out")
echo "$bytes bytes"
[ "$bytes" -lt 1000000 ]
if command -v ldd >/dev/null; then
    ! ldd "$2" | grep -E 'jansson|yaml|openblas'
fi
