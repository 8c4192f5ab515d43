#!/bin/sh
# The main job on a real model: installs what is needed, builds, fetches all-MiniLM-L6-v2 (90.9 MB), compresses it to int8, evaluates
# and times both, and prints what was gained. Needs Debian with root or sudo, and the package mirrors. usage: scripts/demo.sh [FOLDER]
set -eu

cd "$(dirname "$0")/.."
out=${1:-build/demo}
step() { printf '\033[1m[%s/6]\033[0m %s\n' "$1" "$2" >&2; }
[ -t 2 ] || step() { echo "[$1/6] $2" >&2; }

step 1 "installing what the build needs"
scripts/deps.sh
step 2 "building"
scripts/build.sh build -Dtests=false
xc=$(pwd)/build/cli/xcompress
[ -x "$xc" ] || xc=$(pwd)/build/xcompress
mkdir -p "$out"

step 3 "fetching the checkpoint"
model=${XC_MINILM:-models/all-MiniLM-L6-v2}
kind="all-MiniLM-L6-v2"
if ! [ -s "$model/model.safetensors" ] && ! scripts/fetch-minilm.sh "$model"; then
    model=tests/data/tiny-bert
    kind="a tiny random checkpoint of this repository (the real one could not be fetched: figures show that it works, no more)"
fi

step 4 "compressing to int8"
"$xc" compress "$model" -o "$out/model.xc" --quantize int8 --json >"$out/compress.json"

step 5 "evaluating both (probe on subj: a linear head on frozen embeddings; agreement on tatoeba)"
data=tests/data
for m in "$model" "$out/model.xc"; do
    name=$([ "$m" = "$model" ] && echo fp32 || echo int8)
    "$xc" eval "$m" --task probe --train "$data/subj.train.tsv.zst" --data "$data/subj.dev.tsv.zst" --json >"$out/probe-$name.json"
    [ ! -f ../shared/data/stsb.dev.tsv.zst ] || "$xc" eval "$m" --task sts --data ../shared/data/stsb.dev.tsv.zst --json >"$out/sts-$name.json"
done
"$xc" eval "$out/model.xc" --task agreement --reference "$model" --data "$data/tatoeba.en.txt.zst" --json >"$out/agreement.json"

step 6 "timing both"
for m in "$model" "$out/model.xc"; do
    name=$([ "$m" = "$model" ] && echo fp32 || echo int8)
    "$xc" bench "$m" --tokens 128 --threads 1 --json >"$out/bench-$name.json"
done

python3 scripts/demo_table.py "$out" "$kind"
echo "the compressed model is $out/model.xc; try: $xc embed $out/model.xc" >&2
