#!/bin/sh
# How many calibration sentences are enough: agreement with the uncompressed model on texts of another kind, by number of sentences, for the passes
# that use them. docs/methods.md has the table.
# usage: bench/calibration.sh XCOMPRESS MODEL CALIBRATION_TEXTS HELD_OUT_TEXTS [N...]
set -eu
[ $# -ge 4 ] || { sed -n 4p "$0" >&2; exit 2; }
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
printf '%-8s %9s %10s %10s %9s\n' recipe sentences 'mean cos' 'least cos' seconds
for recipe in static wanda gptq obs; do # in the order of their cost
    for n in "$@"; do
        "$xc" compress "$model" -o "$work/m.xc" --recipe "$work/$recipe.yaml" --calibrate "$texts" --calibrate-rows "$n" --no-golden --no-resume --json -q >"$work/c.json"
        "$xc" eval "$work/m.xc" --task agreement --data "$held_out" --reference "$model" --json -q >"$work/e.json"
        python3 - "$recipe" "$n" "$work" <<'PY'
import json, sys
recipe, n, work = sys.argv[1:]
e, c = (json.load(open(f"{work}/{f}.json")) for f in ("e", "c"))
print(f'{recipe:<8} {n:>9} {e["metrics"]["cosine"]["value"]:10.5f} {e["cosine"]["min"]:10.5f} {c["seconds"]:9.1f}', flush=True)
PY
    done
done
