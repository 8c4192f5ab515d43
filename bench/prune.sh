#!/bin/sh
# prune.sh: accuracy left by each saliency of pruning, at 30, 50, 70 % and 2:4, on STS-B dev and test_a (sentence model) and subj (probe); f32, the seconds of compressing.
# usage: bench/prune.sh XCOMPRESS MODEL DATA [CASES]     DATA has stsb.{train,dev,test_a} and subj.{train,dev} (.tsv.zst); CASES is some of "0.3 0.5 0.7 2:4"
#        prune.sh XCOMPRESS CLASSIFIER DATA CASES TRAIN DEV    a fine-tuned classifier, calibrated on TRAIN and measured on DEV
set -eu

xcompress=$1 model=$2 data=$3 cases=${4:-0.3 0.5 0.7 2:4} train=${5:-$3/stsb.train.tsv.zst} dev=${6:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sts() {
    "$xcompress" eval "$1" --task sts --data "$data/stsb.$2.tsv.zst" --quiet --threads 1 | awk '$1 == "spearman" { print $2 }'
}

measure() {
    if [ -n "$dev" ]; then
        echo "| $2 | $("$xcompress" eval "$1" --task classify --data "$dev" --quiet --threads 1 | awk '$1 == "accuracy" { print $2 }') | $3 |"
        return
    fi
    subj=$("$xcompress" eval "$1" --task probe --train "$data/subj.train.tsv.zst" --data "$data/subj.dev.tsv.zst" --quiet --threads 1 | awk '$1 == "accuracy" { print $2 }')
    echo "| $2 | $(sts "$1" dev) | $(sts "$1" test_a) | $subj | $3 |"
}

if [ -n "$dev" ]; then printf '| | accuracy | seconds |\n| --- | --- | --- |\n'; else printf '| | STS-B dev, Spearman | test_a | subj, accuracy | seconds |\n| --- | --- | --- | --- | --- |\n'; fi
measure "$model" "as it was" ""
for case in $cases; do
    for saliency in magnitude wanda obs; do
        case $case in
        *:*) options="pattern: nm
      n: ${case%:*}
      m: ${case#*:}" ;;
        *) options="sparsity: $case" ;;
        esac
        printf 'passes:\n  - prune:\n      saliency: %s\n      %s\n' "$saliency" "$options" > "$work/recipe.yaml"
        set --
        [ $saliency = magnitude ] || set -- --calibrate "$train" --calibrate-rows 128
        "$xcompress" compress "$model" -o "$work/out.xc" --recipe "$work/recipe.yaml" --no-golden --quiet --threads 1 "$@" > "$work/said"
        measure "$work/out.xc" "$case, $saliency" "$(sed -n 's/.* \([0-9.]*\) s$/\1/p' "$work/said" | head -n 1)"
    done
done
