# tinybert-sst2/run.sh and curve.sh end to end on a few rows and updates: every recipe of it is read and every step works. usage: test_tinybert_sst2.sh XCOMPRESS EXAMPLES
# Needs XC_MINILM (all-MiniLM-L6-v2) and XC_DATA (sst2.train.tsv.zst); skipped without.
set -eu
[ -n "${XC_MINILM:-}" ] && [ -n "${XC_DATA:-}" ] || { echo "no XC_MINILM or XC_DATA"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/xc_tinybert_XXXXXX")
trap 'rm -rf "$work"' EXIT
zstd -dcq "$XC_DATA/sst2.train.tsv.zst" | head -n 301 >"$work/train.tsv"
zstd -dcq "$XC_DATA/sst2.dev.tsv.zst" | head -n 51 >"$work/dev.tsv"
"$1" finetune "$XC_MINILM" -t classify -d "$work/train.tsv" --max-steps 2 -o "$work/teacher.xc" -q >/dev/null
sh "$2/tinybert-sst2/run.sh" "$1" "$work/teacher.xc" "$work/train.tsv" "$work/dev.tsv" "$work/out.xc" --max-steps 2 -q >"$work/said"
cat "$work/said"
grep -q accuracy "$work/said"
[ "$(wc -c <"$work/out.xc")" -lt 3000000 ]
"$1" selftest "$work/out.xc" | tail -n 1
# the curve of students, of which one is made here; the second time it is only measured
for again in no yes; do
    ONLY=tiny sh "$2/tinybert-sst2/curve.sh" "$1" "$work/teacher.xc" "$work/train.tsv" "$work/dev.tsv" "$work/curve" --max-steps 1 >"$work/said" 2>"$work/err"
    [ "$(cut -f1 "$work/said" | tr '\n' ' ')" = "name tiny " ]
    [ $again = yes ] || grep -qx tiny "$work/err"
    [ $again = no ] || [ ! -s "$work/err" ]
done
