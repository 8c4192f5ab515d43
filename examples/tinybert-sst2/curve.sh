#!/bin/sh
# Students of several sizes, by one recipe each: bytes, latency and accuracy of all, as a table and as pictures.
#
#   curve.sh XCOMPRESS TEACHER.xc TRAIN.tsv DEV.tsv OUT [DISTILL-OPTIONS...]     JOBS=2: students made at once, THREADS=1 each; ONLY=REGEX: of such names
#
# It goes on where it stopped. OUT gets NAME.xc, curve.tsv and curve.html; latency (64 tokens, one thread) is measured anew each time, one after another, so
# that students made on one machine are timed on another: only their .xc and .json files need to be there.
set -eu
here=$(cd "$(dirname "$0")" && pwd) xc=$1 teacher=$2 train=$3 dev=$4 out=$5
shift 5
mkdir -p "$out"
# name, layers, share of heads, share of neurons, rank of the word table
cat >"$out/students" <<END
tiny 2 0.3334 0.0834 48
small 2 0.5 0.125 64
medium 3 0.6667 0.2084 128
tall 4 0.5 0.25 128
whole 6 0.5 0.1667 128
END
texts() { case $1 in *.zst) zstd -dcq "$1" ;; *) cat "$1" ;; esac | awk -F'\t' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "text") c = i; next } { print $c }'; }
# shellcheck disable=SC2016
one='name=$1 layers=$2 heads=$3 neurons=$4 rank=$5
    shift 5
    [ ! -e "$OUT/$name.json" ] || exit 0
    work=$OUT/$name.work
    mkdir -p "$work"
    drop="  - drop_layers: {keep: $layers, by: even}"
    [ "$layers" -lt "$LAYERS" ] || drop=
    printf "passes:\n%s\n  - shrink: {keep_heads: %s, keep_neurons: %s}\n  - low_rank: {targets: [\"re:embeddings\\\\\\\\.word_embeddings.*\"], rank: %s}\n" "$drop" "$heads" "$neurons" "$rank" >"$work/cut.yaml"
    step() { [ -e "$1" ] || { shift; "$@" >/dev/null; }; }
    step "$work/cut.xc" "$XC" compress "$OUT/vocabulary.xc" --recipe "$work/cut.yaml" --calibrate "$OUT/texts" --calibrate-rows 512 --no-golden --threads "$THREADS" -q -o "$work/cut.xc"
    step "$work/first.xc" "$XC" distill "$OUT/teacher8.xc" -r "$HERE/first.yaml" -s "$work/cut.xc" -d "$TRAIN" --dev "$DEV" --threads "$THREADS" -q -o "$work/first.xc" "$@"
    step "$work/second.xc" "$XC" distill "$OUT/teacher8.xc" -r "$HERE/second.yaml" -s "$work/first.xc" -d "$TRAIN" --dev "$DEV" --quantize "$HERE/integers.yaml" --threads "$THREADS" -q -o "$work/second.xc" "$@"
    "$XC" convert "$work/second.xc" --store small -q -o "$OUT/$name.xc" >/dev/null
    "$XC" eval "$OUT/$name.xc" -t classify -d "$DEV" --threads "$THREADS" -q --json >"$work/eval.json"
    mv "$work/eval.json" "$OUT/$name.json"
    echo "$name" >&2'
XC=$xc OUT=$out TRAIN=$train DEV=$dev HERE=$here THREADS=${THREADS:-1} LAYERS=${LAYERS:-6}
export XC OUT TRAIN DEV HERE THREADS LAYERS
todo=
while read -r name rest; do
    if [ ! -e "$out/$name.json" ] && echo "$name" | grep -Eq "${ONLY:-.}"; then todo="$todo$name $rest
"; fi
done <"$out/students"
if [ -n "$todo" ]; then
    texts "$train" >"$out/texts"
    [ -e "$out/vocabulary.xc" ] || "$xc" compress "$teacher" --recipe "$here/vocabulary.yaml" --calibrate "$out/texts" --calibrate-rows 1000000 --no-golden -q -o "$out/vocabulary.xc" >/dev/null
    [ -e "$out/teacher8.xc" ] || "$xc" compress "$teacher" --quantize int8 --no-golden -q -o "$out/teacher8.xc" >/dev/null
    printf %s "$todo" | while read -r line; do echo "$line" "$@"; done | xargs -r -P "${JOBS:-2}" -L 1 sh -euc "$one" curve
fi

# ---- the curve ----
[ -e "$out/teacher.json" ] || "$xc" eval "$teacher" -t classify -d "$dev" -q --json >"$out/teacher.json"
printf 'name\tbytes\tms\tvalue\tlow\thigh\n' >"$out/curve.tsv"
row() { # NAME FILE EVAL
    "$xc" bench "$2" --tokens 64 --threads 1 --json -q >"$out/bench.json"
    python3 - "$1" "$2" "$3" "$out/bench.json" <<'END'
import json, os, sys
name, model, said, bench = sys.argv[1:]
m = json.load(open(said))["metrics"]["accuracy"]
print("%s\t%d\t%.3f\t%.4f\t%.4f\t%.4f" % (name, os.path.getsize(model), json.load(open(bench))["latency_ms"]["median"], m["value"], m["ci95"][0], m["ci95"][1]))
END
}
while read -r name _; do
    [ ! -e "$out/$name.xc" ] || row "$name" "$out/$name.xc" "$out/$name.json" >>"$out/curve.tsv"
done <"$out/students"
[ ! -e "$out/medium.xc" ] || "$xc" report "$out/medium.xc" --relatives "$out/curve.tsv" -o "$out/curve.html"
cat "$out/curve.tsv"
