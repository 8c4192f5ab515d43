#!/bin/sh
# A sentence-embedding student in less than 4.5 MB, from all-MiniLM-L6-v2 and texts alone: pruned, distilled, quantized.
#
#   run.sh XCOMPRESS TEACHER DEV.tsv OUT.xc TEXTS... [-- DISTILL-OPTIONS...]     DEV: score, text_a, text_b: measured at the end; TEXTS: a sentence a line
set -eu
here=$(dirname "$0") xc=$1 teacher=$2 dev=$3 out=$4
shift 4
work=$out.work
mkdir -p "$work"
: >"$work/texts.part"
data=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in *.zst) zstd -dcq "$1" ;; *) cat "$1" ;; esac >>"$work/texts.part"
    data="$data${data:+, }\"$1\""
    shift
done
[ $# -eq 0 ] || shift
mv "$work/texts.part" "$work/texts"
awk 'NR % 64 == 1 || NR < 64' "$work/texts" >"$work/some"
step() { # FILE COMMAND...: unless it is there from a run that was stopped
    [ -e "$1" ] || { echo "$1" >&2; shift; "$@"; }
}
step "$work/vocabulary.xc" "$xc" compress "$teacher" --recipe "$here/vocabulary.yaml" --calibrate "$work/texts" --calibrate-rows 1000000 --no-golden -q -o "$work/vocabulary.xc" >/dev/null
step "$work/cut.xc" "$xc" compress "$work/vocabulary.xc" --recipe "$here/cut.yaml" --calibrate "$work/some" --calibrate-rows 512 --no-golden -q -o "$work/cut.xc" >/dev/null
step "$work/teacher8.xc" "$xc" compress "$teacher" --quantize int8 -q -o "$work/teacher8.xc" >/dev/null
{ cat "$here/general.yaml"; echo "data: [$data]"; } >"$work/general.yaml"
step "$work/student.xc" "$xc" distill "$work/teacher8.xc" -r "$work/general.yaml" -s "$work/cut.xc" -o "$work/student.xc" "$@"
"$xc" compress "$work/student.xc" --recipe "$here/integers.yaml" --store small -q -o "$out" | tail -n 2
"$xc" eval "$out" -t sts -d "$dev" -r "$teacher" -q
