#!/bin/sh
# shrink.sh: what each saliency of `shrink` leaves, at 1.5 and 2 times fewer multiply-adds, no training: STS-B dev and test_a (sentence model) and subj (probe), int8; the seconds of compressing.
# usage: bench/shrink.sh XCOMPRESS MODEL DATA [SPEEDUPS [SALIENCIES]]     DATA has stsb.{train,dev,test_a} and subj.{train,dev} (.tsv.zst); a saliency may be fisher/labels
#        shrink.sh XCOMPRESS CLASSIFIER DATA SPEEDUPS SALIENCIES TRAIN DEV  a fine-tuned classifier, calibrated on TRAIN and measured on DEV
set -eu

xcompress=$1 model=$2 data=$3 speedups=${4:-1.5 2} saliencies=${5:-error fisher taylor} train=${6:-} dev=${7:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=${RUN:-} # a word in front of every command: nice

metric() { # NAME EVAL-OPTIONS...
    name=$1
    shift
    $run "$xcompress" eval "$@" --quiet --threads 1 | awk -v name="$name" '$1 == name { print $2 }'
}

row() { # FILE WHAT SECONDS
    if [ -n "$dev" ]; then echo "| $2 | $(metric accuracy "$1" -t classify -d "$dev") | $3 |"
    else
        echo "| $2 | $(metric spearman "$1" -t sts -d "$data/stsb.dev.tsv.zst") | $(metric spearman "$1" -t sts -d "$data/stsb.test_a.tsv.zst") | $(metric accuracy "$1" -t probe --train "$data/subj.train.tsv.zst" -d "$data/subj.dev.tsv.zst") | $3 |"
    fi
}

if [ -n "$dev" ]; then printf '| | accuracy | seconds |\n| --- | --- | --- |\n'; else printf '| | STS-B dev, Spearman | test_a | subj, accuracy | seconds |\n| --- | --- | --- | --- | --- |\n'; fi
$run "$xcompress" compress "$model" -o "$work/out.xc" --quantize int8 --no-golden --quiet --threads 1 >"$work/said"
row "$work/out.xc" "as it was" ""
for speedup in $speedups; do
    for saliency in $saliencies; do
        objective=agreement
        case $saliency in */labels) objective=labels ;; esac
        printf 'passes:\n  - shrink:\n      speedup: %s\n      saliency: %s\n      objective: %s\n  - quantize\n' "$speedup" "${saliency%/labels}" "$objective" >"$work/recipe.yaml"
        $run "$xcompress" compress "$model" -o "$work/out.xc" --recipe "$work/recipe.yaml" --calibrate "${train:-$data/stsb.train.tsv.zst}" --calibrate-rows 512 --no-golden --quiet --threads 1 >"$work/said"
        row "$work/out.xc" "$speedup, $saliency" "$(sed -n 's/.* \([0-9.]*\) s$/\1/p' "$work/said" | head -n 1)"
    done
done
