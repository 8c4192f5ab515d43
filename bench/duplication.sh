#!/bin/bash
# The duplication task of the Reformer paper (Kitaev et al. 2020, section 5), shorter: 0 w 0 w with N symbols of 63 kinds in w, in chunks of CHUNK tokens. One causal LSH layer
# with 4 hashes learns to say the next symbol in the second half: STEPS updates with one draw of hashes, then REDRAWS times 100 with others, then 10 times 100 at a low rate. From
# the second on weights decay: nothing else makes the vectors of two places alike, once their product is large enough, and alike they meet whatever the hashes are. Then it
# is measured as it is, and with 1, 2, 4, 8 and 16 hashes, drawn DRAWS times again.
#
#   bench/duplication.sh XCOMPRESS OUT [STEPS [THREADS]]       N=15 CHUNK=4 LR=2e-3 REDRAWS=25 DRAWS=8
#
# Prints the share of right symbols of the second half, of new texts; a model that was trained already (OUT/trained.xc) is only measured. Needs awk.
set -eu
xc=$1 out=$2 steps=${3:-4000} threads=${4:-1} n=${N:-15} chunk=${CHUNK:-4} draws=${DRAWS:-8} rate=${LR:-2e-3} redraws=${REDRAWS:-25}
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
# learn FROM TO TEXTS STEPS SEED OPTION...
learn() {
    local from=$1 to=$2 data=$3 updates=$4 seed=$5
    shift 5
    "$xc" finetune "$from" -t tag -d "$data" -o "$to" --epochs 100 --max-steps "$updates" --batch-tokens 2048 --dropout 0 --attention-dropout 0 --seed "$seed" --threads "$threads" --no-golden -q --json "$@" >>"$out/finetune.json"
}
# draw FROM TO ROUNDS SEED: other hashes
draw() {
    printf 'passes:\n  - swap_attention: {kind: reformer, rounds: %s}\n' "$3" >"$out/rounds.yaml"
    "$xc" compress "$1" -r "$out/rounds.yaml" --seed "$4" -o "$2" --threads "$threads" --no-golden -q >/dev/null
}
train() {
    rm -f "$out/finetune.json"
    learn "$out/start.xc" "$out/model.xc" "$out/train.conll" "$steps" 1 --lr "$rate" --weight-decay 0
    for i in $(seq $((redraws + 10))); do
        draw "$out/model.xc" "$out/drawn.xc" 4 $((1000 + i))
        texts $((1000 + i)) 6000 >"$out/more.conll"
        # shellcheck disable=SC2046
        learn "$out/drawn.xc" "$out/model.xc" "$out/more.conll" 100 "$i" $([ "$i" -le "$redraws" ] && echo --lr "$rate" --weight-decay 3 --schedule constant || echo --lr 5e-4 --weight-decay 1)
    done
    mv "$out/model.xc" "$out/trained.xc"
}
[ -e "$out/trained.xc" ] || train
# right MODEL: the share of right symbols of the second half
right() {
    "$xc" tag "$1" --file "$out/test.txt" --threads "$threads" -q >"$out/answers"
    awk -F'\t' 'NR == FNR { if (NF) gold[++n] = $2; next } NF > 1 { m++; if (gold[m] != "O") { all++; right += $2 == gold[m] } }
        END { printf "%.2f\n", 100 * right / all; if (m != n) { print "answers are missing" >"/dev/stderr"; exit 1 } }' "$out/test.conll" "$out/answers"
}
echo "4 hashes, those of its last updates: $(right "$out/trained.xc") %"
for rounds in 1 2 4 8 16; do
    for seed in $(seq "$draws"); do
        draw "$out/trained.xc" "$out/drawn.xc" "$rounds" "$seed"
        right "$out/drawn.xc"
    done | awk -v rounds=$rounds '{ sum += $1; if (NR == 1 || $1 < low) low = $1; if ($1 > high) high = $1 } END { printf "%d hashes, the mean of %d draws: %.2f %% (%.2f to %.2f)\n", rounds, NR, sum / NR, low, high }'
done
