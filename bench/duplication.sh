#!/bin/bash
# The duplication task of the Reformer paper (Kitaev et al. 2020, section 5), shorter: 0 w 0 w with N symbols of 63 kinds in w, in chunks of CHUNK tokens. One causal LSH layer
# with 4 hashes learns to say the next symbol in the second half; then it is measured with 1, 2, 4, 8 and 16 hashes, drawn again.
#
#   bench/duplication.sh XCOMPRESS OUT [STEPS [THREADS]]       N=15 CHUNK=4 LR=2e-3
#
# Prints the share of right symbols of the second half, of new texts. Needs awk.
set -eu
xc=$1 out=$2 steps=${3:-2000} threads=${4:-1} n=${N:-15} chunk=${CHUNK:-4}
here=$(cd "$(dirname "$0")/.." && pwd)/examples/long-documents
mkdir -p "$out"
# texts SEED N: a word and the symbol that follows it in the second half, a line; an empty line behind a text
texts() {
    awk -v seed="$1" -v n="$2" -v len="$n" 'BEGIN {
        srand(seed)
        for (t = 0; t < n; t++) {
            for (i = 1; i <= len; i++) w[i] = 1 + int(rand() * 63)
            print "0\tO"
            for (i = 1; i <= len; i++) print w[i] "\tO"
            print "0\tB-" w[1]
            for (i = 1; i < len; i++) print w[i] "\tB-" w[i + 1]
            print w[len] "\tO\n"
        }
    }'
}
texts 1 40000 >"$out/train.conll"
texts 2 500 >"$out/test.conll"
awk 'BEGIN { RS = ""; FS = "\n" } { s = ""; for (i = 1; i <= NF; i++) { split($i, a, "\t"); s = s (i > 1 ? " " : "") a[1] }; print s }' "$out/test.conll" >"$out/test.txt"
rm -rf "$out/spec" && cp -r "$here/duplication" "$out/spec" && sed -i "s/\"lsh_attn_chunk_length\": 16/\"lsh_attn_chunk_length\": $chunk/" "$out/spec/config.json"
"$xc" convert "$out/spec" -o "$out/start.xc" --init random --seed 1 -q >/dev/null
"$xc" finetune "$out/start.xc" -t tag -d "$out/train.conll" -o "$out/trained.xc" --epochs 100 --max-steps "$steps" --batch-tokens 2048 --lr "${LR:-2e-3}" --dropout 0 --attention-dropout 0 --weight-decay 0 --seed 1 \
    --threads "$threads" --no-golden -q --json >"$out/finetune.json"
for rounds in 1 2 4 8 16; do
    printf 'passes:\n  - swap_attention: {kind: reformer, rounds: %s}\n' $rounds >"$out/rounds.yaml"
    "$xc" compress "$out/trained.xc" -r "$out/rounds.yaml" --seed 7 -o "$out/rounds.xc" --no-golden -q >/dev/null
    "$xc" tag "$out/rounds.xc" --file "$out/test.txt" --threads "$threads" -q >"$out/answers.$rounds"
    awk -F'\t' -v rounds=$rounds 'NR == FNR { if (NF) gold[++n] = $2; next } NF > 1 { m++; if (gold[m] != "O") { all++; right += $2 == gold[m] } }
        END { printf "%d hashes: %.2f %% of %d symbols\n", rounds, 100 * right / all, all; if (m != n) { print "answers are missing"; exit 1 } }' "$out/test.conll" "$out/answers.$rounds"
done
