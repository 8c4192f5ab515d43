#!/bin/sh
# A student for SST-2 in less than 3 MB, from a fine-tuned all-MiniLM-L6-v2: pruned, distilled, quantized.
#
#   run.sh XCOMPRESS TEACHER.xc TRAIN.tsv DEV.tsv OUT.xc [DISTILL-OPTIONS...]
#
#   xcompress finetune all-MiniLM-L6-v2 -t classify -d TRAIN --dev DEV -o TEACHER.xc     makes the teacher
set -eu
here=$(dirname "$0") xc=$1 teacher=$2 train=$3 dev=$4 out=$5
shift 5
work=$out.work
mkdir -p "$work"
case $train in *.zst) zstd -dcq "$train" ;; *) cat "$train" ;; esac | awk -F'\t' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "text") c = i; next } { print $c }' >"$work/texts"
step() { # FILE COMMAND...: unless it is there from a run that was stopped
    [ -e "$1" ] || { echo "$1" >&2; shift; "$@"; }
}
step "$work/vocabulary.xc" "$xc" compress "$teacher" --recipe "$here/vocabulary.yaml" --calibrate "$work/texts" --calibrate-rows 1000000 --no-golden -q -o "$work/vocabulary.xc" >/dev/null
step "$work/cut.xc" "$xc" compress "$work/vocabulary.xc" --recipe "$here/cut.yaml" --calibrate "$work/texts" --calibrate-rows 512 --no-golden -q -o "$work/cut.xc" >/dev/null
step "$work/teacher8.xc" "$xc" compress "$teacher" --quantize int8 -q -o "$work/teacher8.xc" >/dev/null
step "$work/first.xc" "$xc" distill "$work/teacher8.xc" -r "$here/first.yaml" -s "$work/cut.xc" -d "$train" --dev "$dev" -o "$work/first.xc" "$@"
step "$work/second.xc" "$xc" distill "$work/teacher8.xc" -r "$here/second.yaml" -s "$work/first.xc" -d "$train" --dev "$dev" -o "$work/second.xc" "$@"
"$xc" compress "$work/second.xc" --recipe "$here/integers.yaml" --store small -q -o "$out" | tail -n 2
"$xc" eval "$out" -t classify -d "$dev" -r "$teacher" -q
