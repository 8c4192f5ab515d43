#!/bin/sh
# Ablation of distillation, as the paper's tables: without each loss, without augmentation, each layer map, each initialisation; on the first 8,000 rows of
# SST-2 and, as pairs that are compared by their embeddings, on stsb. Every run has the same number of updates and is measured once, at its end.
#
#   bench/ablation.sh XCOMPRESS TEACHER.xc STS-TEACHER DATA OUT [SEEDS]      SEEDS: "1 2 3"
#     TEACHER.xc   f32, with a head for SST-2 (finetune makes it); STS-TEACHER: an embedding model in f32, a checkpoint or .xc
#     DATA         sst2.train.tsv.zst, sst2.dev.tsv.zst, stsb.train.tsv.zst, stsb.dev.tsv.zst
#     JOBS=2       runs at once, one thread each (as many as there are processors when not given)
#     STEPS=80     updates of each of the two stages; ROWS=8000: of SST-2; LIMIT=N: no run begins after N seconds; ONLY=REGEX: only runs of such names
#     NARROW= SHORT= CUT= SHRINK= RANK= BOTTOM=   shapes of the students, for teachers of another shape
#
# It goes on where it stopped: what a run said lies in OUT, and a run that is there is not made again. Writes OUT/ablation.tsv, a line a run, and prints the
# tables of docs/distillation.md; `bench/ablation_table.py docs/ablation.tsv docs/distillation.md` puts them there.
set -eu
xc=$1 teacher=$2 sts=$3 data=$4 out=$5 seeds=${6:-1 2 3}
jobs=${JOBS:-$(nproc)} steps=${STEPS:-80} rows=${ROWS:-8000} limit=${LIMIT:-1000000} only=${ONLY:-.}
here=$(dirname "$0") began=$(date +%s)
mkdir -p "$out"
rm -f "$out/jobs"

# ---- what the runs read ----
compress() { # FROM TO OPTIONS...
    from=$1 to=$2
    shift 2
    [ -e "$to" ] || "$xc" compress "$from" "$@" --no-golden -q -o "$to" >/dev/null
}
texts() { zstd -dcq "$data/$1" | tail -n +2 | cut -f2- | tr '\t' '\n' | awk 'NF && n++ < '"$2"; }
zstd -dcq "$data/sst2.train.tsv.zst" | awk "NR <= $rows + 1" >"$out/sst2.tsv"
texts sst2.train.tsv.zst 512 >"$out/texts"
texts stsb.train.tsv.zst $((2 * rows)) >"$out/stsb.txt"
compress "$teacher" "$out/sst2.teacher8.xc" --quantize int8
compress "$sts" "$out/stsb.teacher8.xc" --quantize int8
# Students of one shape that begin in several ways: layers, heads and neurons chosen by the error that is left, then with a factorised word table.
printf 'passes:\n  - drop_layers: {%s}\n  - shrink: {%s}\n' 'keep: 3, by: even' 'keep_heads: 0.6667, keep_neurons: 0.2084' >"$out/cut.yaml"
[ -z "${SHRINK:-}" ] || printf 'passes:\n  - shrink: {%s}\n' "$SHRINK" >"$out/cut.yaml"
printf '  - low_rank: {targets: ["re:embeddings\\\\.word_embeddings.*"], rank: %d}\n' "${RANK:-128}" | cat "$out/cut.yaml" - >"$out/factorised.yaml"
for kind in cut factorised; do compress "$teacher" "$out/$kind.xc" --recipe "$out/$kind.yaml" --calibrate "$out/texts" --calibrate-rows 512; done

# ---- the runs: a recipe each, and its name in `jobs` ----
recipe() { # TASK NAME LINES...
    task=$1 name=$1.$2
    shift 2
    echo "$name" | grep -Eq "$only" || return 0
    case $task in
    sst2) set -- "task: classify" "data: $out/sst2.tsv" "dev: $data/sst2.dev.tsv.zst" "student_from: $teacher" "$@" ;;
    stsb) set -- "task: embed" "data: $out/stsb.txt" "dev: $data/stsb.dev.tsv.zst" "student_from: $sts" "$@" ;;
    esac
    printf '%s\n' "batch_tokens: 1024" "$@" >"$out/$name.yaml"
    echo "$name" >>"$out/jobs"
}
stages() { # LOSSES-OF-LAYERS LOSSES-OF-ANSWERS
    last=$steps
    echo "stages:"
    if [ -n "$1" ]; then printf '  - {name: intermediate, epochs: 100, max_steps: %d, lr: 1e-3, losses: {%s}}\n' "$steps" "$1"; else last=$((2 * steps)); fi
    printf '  - {name: prediction, epochs: 100, max_steps: %d, lr: 6e-4, losses: {%s}}\n' $last "$2"
}
more='augment: {count: 2}' all='embedding: 1, hidden: 1, attention: 1' both='embedding: 1, hidden: 1, attention_relation: 1, value_relation: 1' bottom="layers: [${BOTTOM:-1, 2, 3}]"
narrow="student: ${NARROW:-layers=3,hidden=192,heads=12,ffn=384}" short="student: ${SHORT:-layers=3,ffn=384}" cut="student: ${CUT:-layers=3,heads=8,ffn=320}"
sst2() { name=$1; shift; recipe sst2 "$name" "$narrow" "$more" "$@"; }
sst2 all "$(stages "$all" 'logits: 1')"
sst2 without-embedding "$(stages 'hidden: 1, attention: 1' 'logits: 1')"
sst2 without-hidden "$(stages 'embedding: 1, attention: 1' 'logits: 1')"
sst2 without-attention "$(stages 'embedding: 1, hidden: 1' 'logits: 1')"
sst2 without-layers "$(stages '' 'logits: 1')"
sst2 labels-for-logits "$(stages "$all" 'labels: 1')"
sst2 labels-alone "$(stages '' 'labels: 1')"
recipe sst2 without-augmentation "$narrow" "$(stages "$all" 'logits: 1')"
sst2 relations-for-attention "$(stages "$both" 'logits: 1')"
sst2 cosine-for-hidden "$(stages 'embedding: 1, cosine: 1, attention: 1' 'logits: 1')"
sst2 cls-for-hidden "$(stages 'embedding: 1, cls: 1, attention: 1' 'logits: 1')"
sst2 temperature-2 "temperature: 2" "$(stages "$all" 'logits: 1')"
sst2 layers-top "layers: top" "$(stages "$all" 'logits: 1')"
sst2 layers-bottom "$bottom" "$(stages "$all" 'logits: 1')"
sst2 init-select "init: select" "$(stages "$all" 'logits: 1')"
sst2 init-random "init: random" "$(stages "$all" 'logits: 1')"
recipe sst2 cut-by-weights "$cut" "$more" "relation_heads: 4" "$(stages "$both" 'logits: 1')"
recipe sst2 cut-by-error "student: $out/cut.xc" "$more" "relation_heads: 4" "$(stages "$both" 'logits: 1')"
recipe sst2 cut-factorised "student: $out/factorised.xc" "$more" "relation_heads: 4" "$(stages "$both" 'logits: 1')"
recipe sst2 cut-random "$cut" "init: random" "$more" "relation_heads: 4" "$(stages "$both" 'logits: 1')"
answer='output: 100, output_cosine: 1'
stsb() { name=$1; shift; recipe stsb "$name" "$short" "$more" "$@"; }
stsb all "$(stages "$all" "$answer")"
stsb without-embedding "$(stages 'hidden: 1, attention: 1' "$answer")"
stsb without-hidden "$(stages 'embedding: 1, attention: 1' "$answer")"
stsb without-attention "$(stages 'embedding: 1, hidden: 1' "$answer")"
stsb without-layers "$(stages '' "$answer")"
recipe stsb without-augmentation "$short" "$(stages "$all" "$answer")"
stsb layers-top "layers: top" "$(stages "$all" "$answer")"
stsb layers-bottom "$bottom" "$(stages "$all" "$answer")"
stsb init-random "init: random" "$(stages "$all" "$answer")"

[ -e "$out/jobs" ] || { echo "ablation: no run has a name like '$only'" >&2; exit 2; }

# ---- all of them, seed by seed: a shell with a run each ----
# The first updates of a task and seed alone make its augmented texts, which all its runs then read.
# shellcheck disable=SC2016
one='name=$1 seed=$2 steps=$3 task=${1%%.*}
    if [ -e "$OUT/$name.$seed.json" ] || [ "$(date +%s)" -ge "$UNTIL" ]; then exit 0; fi
    set -- "$OUT/$task.teacher8.xc" -r "$OUT/$name.yaml" --seed "$seed" --augment-cache "$OUT/$task.$seed.augment" --threads 1 --no-golden -q --json -o "$OUT/$name.$seed.xc"
    if [ "$steps" -gt 0 ]; then
        [ -e "$OUT/$task.$seed.augment" ] || "$XC" distill "$@" --max-steps 1 >/dev/null
    else
        "$XC" distill "$@" >"$OUT/$name.$seed.part"
        mv "$OUT/$name.$seed.part" "$OUT/$name.$seed.json"
        echo "$name $seed" >&2
    fi
    rm -f "$OUT/$name.$seed.xc"'
XC=$xc OUT=$out UNTIL=$((began + limit))
export XC OUT UNTIL
for first in 1 0; do
    for seed in $seeds; do
        while read -r name; do
            case $first.$name in 1.*.all | 0.*) echo "$name $seed $first" ;; esac
        done <"$out/jobs"
    done | xargs -r -P "$jobs" -L 1 sh -euc "$one" ablation
done
python3 "$here/ablation_table.py" --from "$out" "$out/ablation.tsv"
