#!/bin/sh
# How many calibration sentences are enough: agreement with the uncompressed model on texts of another kind, by number of sentences, for the passes
# that use them; each number several times, with other sentences drawn at random. docs/methods.md has the table.
# usage: [DRAWS=3] [RECIPES="static wanda gptq obs"] [THREADS=1] bench/calibration.sh XCOMPRESS MODEL CALIBRATION_TEXTS HELD_OUT_TEXTS [N...]
#        texts: one a line, raw or .zst
set -eu
[ $# -ge 4 ] || { sed -n 4,5p "$0" >&2; exit 2; }
xc=$1 model=$2 texts=$3 held_out=$4
shift 4
[ $# -gt 0 ] || set -- 8 16 32 64 128 256 512
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo 'passes: [{quantize: {format: int8, activations: static}}]' >"$work/static.yaml"
echo 'passes: [{quantize: {format: int4, method: gptq}}]' >"$work/gptq.yaml"
for saliency in wanda obs; do
    echo "passes: [{prune: {saliency: $saliency, sparsity: 0.5}}]" >"$work/$saliency.yaml"
done
draw() { # SEED N: that many lines, without repetition; those of a smaller N are the first of a larger one's
    case $texts in *.zst) zstd -dcq "$texts" ;; *) cat "$texts" ;; esac |
        python3 -c 'import random, sys; t = sys.stdin.buffer.read().splitlines(); random.Random(int(sys.argv[1])).shuffle(t); sys.stdout.buffer.write(b"".join(x + b"\n" for x in t[:int(sys.argv[2])]))' "$1" "$2"
}
printf '%-8s %9s %10s %10s %10s %9s\n' recipe sentences 'mean cos' 'of draws' 'least cos' seconds
for recipe in ${RECIPES:-static wanda gptq obs}; do # in the order of their cost
    for n in "$@"; do
        : >"$work/all"
        for seed in $(seq "${DRAWS:-3}"); do
            draw "$seed" "$n" >"$work/texts"
            "$xc" compress "$model" -o "$work/m.xc" --recipe "$work/$recipe.yaml" --calibrate "$work/texts" --calibrate-rows "$n" --no-golden --no-resume --json -q --threads "${THREADS:-1}" >"$work/c.json"
            "$xc" eval "$work/m.xc" --task agreement --data "$held_out" --reference "$model" --json -q --threads "${THREADS:-1}" >"$work/e.json"
            python3 -c 'import json, sys; e, c = map(json.load, map(open, sys.argv[1:])); print(e["metrics"]["cosine"]["value"], e["cosine"]["min"], c["seconds"])' "$work/e.json" "$work/c.json" >>"$work/all"
        done
        python3 - "$recipe" "$n" "$work/all" <<'PY'
import sys
recipe, n, path = sys.argv[1:]
mean, least, seconds = zip(*(map(float, line.split()) for line in open(path)))
print(f'{recipe:<8} {n:>9} {sum(mean) / len(mean):10.5f} {(max(mean) - min(mean)) / 2:+10.5f} {min(least):10.5f} {sum(seconds) / len(seconds):9.1f}', flush=True)
PY
    done
done
