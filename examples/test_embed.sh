# The example, which links libxcrt alone, runs a model that the program made. usage: test_embed.sh XCOMPRESS EMBED CHECKPOINT
set -eu
dir=$(mktemp -d "${TMPDIR:-/tmp}/xc_embed_XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$1" compress "$3" -o "$dir/tiny.xc" --quantize int8 --quiet >"$dir/out"

same=$("$2" "$dir/tiny.xc" "a cat sat" "a cat sat")
other=$("$2" "$dir/tiny.xc" "a cat sat" "two men work in the city")
echo "same $same, other $other"
[ "$same" = 1.000000 ]
awk -v x="$other" 'BEGIN { exit !(x > -1 && x < 0.9999) }'

# What fails says so, in one line.
code=0
"$2" "$dir/missing.xc" a b >"$dir/out" 2>"$dir/err" || code=$?
[ "$code" = 1 ] && [ ! -s "$dir/out" ] && [ "$(wc -l <"$dir/err")" = 1 ]
grep -q '^embed: .*missing.xc' "$dir/err"
code=0
"$2" 2>"$dir/err" || code=$?
[ "$code" = 2 ]
