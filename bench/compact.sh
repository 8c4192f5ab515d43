#!/bin/sh
# compact.sh: pruned anywhere by second order, then int8: accuracy on STS-B dev and test_a, and bytes with --store fast and small, each as dense int8 (sparse: no) and compact.
# usage: bench/compact.sh XCOMPRESS MODEL DATA WORK [SHARES]     DATA has stsb.{train,dev,test_a}.tsv.zst; SHARES is "0.75 0.9"; the files stay in WORK: bench them
set -eu

xcompress=$1 model=$2 data=$3 work=$4 shares=${5:-0.75 0.9}

sts() {
    "$xcompress" eval "$1" --task sts --data "$data/stsb.$2.tsv.zst" --quiet --threads 1 | awk '$1 == "spearman" { print $2 }'
}

mkdir -p "$work"
zstd -dcq "$data/stsb.train.tsv.zst" | tail -n +2 | cut -f2 | head -128 > "$work/texts"
echo "| zeros | held | dev, Spearman | test_a | bytes, fast | small |"
echo "| --- | --- | --- | --- | --- | --- |"
for share in $shares; do
    for sparse in no fast; do
        printf 'passes:\n  - prune:\n      saliency: obs\n      sparsity: %s\n  - quantize:\n      sparse: %s\n' "$share" $sparse > "$work/recipe.yaml"
        for store in fast small; do
            "$xcompress" compress "$model" -o "$work/$share-$sparse-$store.xc" --recipe "$work/recipe.yaml" --calibrate "$work/texts" --store $store --no-golden --threads 1 --quiet > /dev/null 2>&1
        done
        file=$work/$share-$sparse-fast.xc
        echo "| $share | $(test $sparse = no && echo dense || echo compact) | $(sts "$file" dev) | $(sts "$file" test_a) | $(wc -c < "$file") | $(wc -c < "$work/$share-$sparse-small.xc") |"
    done
done
