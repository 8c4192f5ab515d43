#!/bin/sh
# sparse_training.sh: a classifier pruned in one shot (by magnitude, and second order on 128 texts) beside one trained with masks, at 2:4 and blocks of 16x4; all as sparse int8.
# usage: bench/sparse_training.sh XCOMPRESS DENSE TRAIN DEV WORK [CASES]     DENSE is a fine-tuned classifier (finetune MODEL -t classify); files in WORK that are there are not made again;
#        CASES is some of "2:4 0.75@16x4 0.9@16x4"; EPOCHS, BATCH (tokens), FREEZE, LR, THREADS and KINDS ("magnitude movement") from the environment
set -eu

xcompress=$1 dense=$2 train=$3 dev=$4 work=$5 cases=${6:-2:4 0.75@16x4 0.9@16x4}
epochs=${EPOCHS:-2} threads=${THREADS:-1} rate=${LR:-1e-4} batch=${BATCH:-1024} kinds=${KINDS:-magnitude movement}
mkdir -p "$work"

measure() { # FILE WHAT
    accuracy=$("$xcompress" eval "$1" -t classify -d "$dev" -q --threads "$threads" | awk '$1 == "accuracy" { print $2 }')
    echo "| $2 | $accuracy | $(wc -c <"$1") |"
}

echo "| int8 | accuracy | bytes |"
echo "| --- | --- | --- |"
[ -e "$work/dense8.xc" ] || "$xcompress" compress "$dense" --quantize int8 -o "$work/dense8.xc" -q --threads "$threads" >"$work/said"
measure "$work/dense8.xc" dense
for case in $cases; do
    name=$(echo "$case" | tr ':@' '__')
    case $case in
    *:*) options="pattern: nm
      n: ${case%:*}
      m: ${case#*:}" ;;
    *@*) blocks=${case#*@}
        options="pattern: block
      sparsity: ${case%@*}
      block_rows: ${blocks%x*}
      block_cols: ${blocks#*x}" ;;
    *) options="sparsity: $case" ;;
    esac
    for saliency in magnitude obs; do
        out=$work/$name.$saliency.one.xc
        printf 'passes:\n  - prune:\n      saliency: %s\n      %s\n      ignore: ["classifier"]\n  - quantize\n' $saliency "$options" >"$work/recipe.yaml"
        set --
        [ $saliency = magnitude ] || set -- --calibrate "$train" --calibrate-rows 128
        [ -e "$out" ] || "$xcompress" compress "$dense" -o "$out" --recipe "$work/recipe.yaml" -q --threads "$threads" "$@" >"$work/said"
        measure "$out" "$case, one shot, $saliency"
    done
    for kind in $kinds; do
        out=$work/$name.$kind.trained.xc
        [ -e "$out" ] || "$xcompress" finetune "$dense" -t classify -d "$train" --dev "$dev" -e "$epochs" --lr "$rate" --batch-tokens "$batch" ${FREEZE:+--freeze "$FREEZE"} --prune "$kind=$case" --export int8 -o "$out" -q --threads "$threads" >"$work/said"
        measure "$out" "$case, trained, $kind"
    done
done
