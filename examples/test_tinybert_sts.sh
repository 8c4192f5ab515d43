# tinybert-sts/run.sh end to end on a few sentences and updates: every recipe of it is read and every step works. usage: test_tinybert_sts.sh XCOMPRESS EXAMPLES
# Needs XC_MINILM (all-MiniLM-L6-v2) and XC_DATA (stsb.dev.tsv.zst, unlabeled_imdb_sentences.txt.zst); skipped without.
set -eu
[ -n "${XC_MINILM:-}" ] && [ -n "${XC_DATA:-}" ] || { echo "no XC_MINILM or XC_DATA"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/xc_tinybert_XXXXXX")
trap 'rm -rf "$work"' EXIT
zstd -dcq "$XC_DATA/unlabeled_imdb_sentences.txt.zst" | head -n 200 >"$work/one.txt"
zstd -dcq "$XC_DATA/unlabeled_imdb_sentences.txt.zst" | sed -n 201,300p | zstd -q >"$work/two.txt.zst"
zstd -dcq "$XC_DATA/stsb.dev.tsv.zst" | head -n 51 >"$work/dev.tsv"
sh "$2/tinybert-sts/run.sh" "$1" "$XC_MINILM" "$work/dev.tsv" "$work/out.xc" "$work/one.txt" "$work/two.txt.zst" -- --max-steps 2 -q >"$work/said"
cat "$work/said"
grep -q ' 300 rows, 2 updates' "$work/said"
grep -q spearman "$work/said"
[ "$(wc -l <"$work/out.xc.work/texts")" -eq 300 ]
[ "$(wc -c <"$work/out.xc")" -lt 4500000 ]
