#!/bin/bash
# The table of docs/long-documents.md: small models of every kind of attention, trained from a common start on long documents.
#
#   bench/long_documents.sh XCOMPRESS MODEL DATA OUT [JOBS]      MODEL: all-MiniLM-L6-v2; JOBS at a time, one thread each; then prints the table (python3)
#   ONLY=REGEX     of the runs (SET.KIND.FOLD) only those that match;      SMALL=N  a share 1/N of the rows, to try it;      THREADS=1  of a run
#
# The start: listops, a random dense model of examples/long-documents/listops, trained on the bracketed parts of the training rows, shorter ones first; the other sets, two
# layers of MODEL with a third of their heads and neurons. A run that is done is not done again: its answers lie in OUT. Needs zstd, awk, xargs.
set -eu
export XC=$1 MODEL=$2 DATA=$3 OUT=$4 SMALL=${SMALL:-1} THREADS=${THREADS:-1}
export HERE; HERE=$(cd "$(dirname "$0")/.." && pwd)
export RECIPES=${RECIPES:-$HERE/examples/long-documents}
jobs=${5:-2} only=${ONLY:-.}

# rows NAME FILE: a label and a text a row; NAME.tsv with a header, NAME.txt the texts alone
rows() {
    awk -F'\t' 'NR > 1' "$2" >"$OUT/$1.rows"
    { printf 'label\ttext\n'; cat "$OUT/$1.rows"; } >"$OUT/$1.tsv"
    cut -f2 "$OUT/$1.rows" >"$OUT/$1.txt"
    cut -f1 "$OUT/$1.rows" >"$OUT/$1.label"
    rm "$OUT/$1.rows"
}
# some N FILE...: a header and N rows spread evenly over the files
some() {
    n=$(($1 / SMALL))
    shift
    for f; do zstd -dcq "$f" | tail -n +2; done >"$OUT/all"
    { echo header; awk -v n="$n" -v all="$(wc -l <"$OUT/all")" 'NR == 1 || int(NR * n / all) != int((NR - 1) * n / all)' "$OUT/all"; }
    rm "$OUT/all"
}

# stage FROM TO PARTS STEPS TOKENS RATE: FROM learns the bracketed parts of listops rows that have up to PARTS tokens
stage() {
    "$XC" finetune "$1" -t classify -d "$OUT/listops.parts$3.tsv" -o "$2" --max-steps $((($4 + SMALL - 1) / SMALL)) --batch-tokens "$5" --lr "$6" --dropout 0 --attention-dropout 0 --weight-decay 0 --precision bf16 --seed 1 --threads "$THREADS" --no-golden -q --json >"$2.json"
}
listops_start() {
    zstd -dcqf "$DATA/listops.train.tsv.zst" >"$OUT/a"
    least=3
    for most in 32 128 500; do
        awk -v least=$least -v most=$most -f "$RECIPES/listops_parts.awk" "$OUT/a" >"$OUT/listops.parts$most.tsv"
        least=$((most + 1))
    done
    "$XC" convert "$RECIPES/listops" -o "$OUT/a.xc" --init random --seed 1 -q >/dev/null
    stage "$OUT/a.xc" "$OUT/b.xc" 32 800 4096 2e-3
    stage "$OUT/b.xc" "$OUT/a.xc" 128 500 8192 1e-3
    stage "$OUT/a.xc" "$OUT/listops.start.xc" 500 120 16384 7e-4
    rm "$OUT"/a "$OUT"/[ab].xc*
}

prepare() {
    mkdir -p "$OUT"
    [ -e "$OUT/ready" ] && return
    some 960 "$DATA/listops.train.tsv.zst" >"$OUT/a" && rows listops.train "$OUT/a"
    some 1000 "$DATA/listops.dev.tsv.zst" >"$OUT/a" && rows listops.test "$OUT/a"
    some 2500 "$DATA/imdb.train.tsv.zst" >"$OUT/a" && rows imdb.train "$OUT/a"
    some 1000 "$DATA/imdb.test_a.tsv.zst" >"$OUT/a" && rows imdb.test "$OUT/a"
    some 140 "$DATA/gutenberg_authors.train.tsv.zst" >"$OUT/a" && rows gutenberg.train "$OUT/a"
    some 239 "$DATA/gutenberg_authors.dev.tsv.zst" >"$OUT/a" && rows gutenberg.test "$OUT/a"
    some 480 "$DATA/hyperpartisan.train.tsv.zst" "$DATA/hyperpartisan.dev.tsv.zst" >"$OUT/b"
    for fold in 1 2 3 4 5; do
        awk -v f=$fold 'NR == 1 || NR % 5 != f - 1' "$OUT/b" >"$OUT/a" && rows "hyperpartisan$fold.train" "$OUT/a"
        awk -v f=$fold 'NR == 1 || NR % 5 == f - 1' "$OUT/b" >"$OUT/a" && rows "hyperpartisan$fold.test" "$OUT/a"
    done
    rm "$OUT/a" "$OUT/b"
    listops_start
    "$XC" compress "$MODEL" -r "$RECIPES/table/start.yaml" -c "$OUT/imdb.train.tsv" --calibrate-rows 64 --max-tokens 512 -o "$OUT/start.xc" --no-golden -q >/dev/null
    touch "$OUT/ready"
}

# job SET.KIND.FOLD
job() {
    IFS=. read -r set kind fold <<<"$1"
    [ -e "$OUT/$1.json" ] && return
    data=$set$([ "$fold" = 0 ] || echo "$fold") start=$OUT/start.xc extra="--freeze embeddings.word_embeddings"
    case $set in
    listops) start=$OUT/listops.start.xc extra='--lr 5e-4 --batch-rows 32 --epochs 1 --dropout 0 --weight-decay 0' ;;
    imdb) extra="$extra --lr 2e-4 --batch-rows 8 --epochs 1" ;;
    gutenberg) extra="$extra --lr 3e-3 --layer-decay 0.3 --batch-rows 2 --epochs 2" ;;
    hyperpartisan) extra="$extra --lr 1e-3 --layer-decay 0.4 --batch-rows 4 --epochs 2" ;;
    esac
    w=$OUT/$1
    if [ "$kind" = dense512 ]; then
        "$XC" compress "$start" --max-tokens 512 -o "$w.start.xc" --no-golden -q --threads 1 >/dev/null
    else
        "$XC" compress "$start" -r "$RECIPES/table/$kind.yaml" -c "$OUT/$data.train.tsv" --calibrate-rows 32 -o "$w.start.xc" --no-golden -q --threads 1 >"$w.swap"
    fi
    if [ "$set" = listops ]; then # what the swap cost is learnt again on parts, which take less time than whole rows
        stage "$w.start.xc" "$w.a.xc" 32 150 4096 1e-3
        stage "$w.a.xc" "$w.b.xc" 128 100 8192 1e-3
        stage "$w.b.xc" "$w.start.xc" 500 50 16384 7e-4
        rm "$w".[ab].xc
    fi
    # shellcheck disable=SC2086
    "$XC" finetune "$w.start.xc" -t classify -d "$OUT/$data.train.tsv" -o "$w.xc" $extra --batch-tokens 40000 --attention-dropout 0 --precision bf16 --seed 1 --threads "$THREADS" --no-golden -q --json >"$w.finetune"
    "$XC" compress "$w.xc" --quantize int8 -o "$w.int8.xc" --no-golden -q --threads 1 >/dev/null
    "$XC" classify "$w.xc" --file "$OUT/$data.test.txt" --threads "$THREADS" -q | cut -f1 | cut -d' ' -f1 >"$w.f32.answer"
    a=$(date +%s.%N)
    "$XC" classify "$w.int8.xc" --file "$OUT/$data.test.txt" --threads 1 -q | cut -f1 | cut -d' ' -f1 >"$w.int8.answer"
    b=$(date +%s.%N)
    awk -v a="$a" -v b="$b" -v n="$(wc -l <"$OUT/$data.test.txt")" 'BEGIN { printf "%.6f\n", (b - a) / n }' >"$w.seconds"
    rm -f "$w.start.xc" "$w.xc" "$w.int8.xc"
    mv "$w.finetune" "$w.json"
    echo "$1 done" >&2
}

if [ -n "${LONG_DOCUMENTS_JOB:-}" ]; then
    job "$LONG_DOCUMENTS_JOB"
    exit
fi
prepare
# the longest first
for set in gutenberg listops imdb hyperpartisan; do
    for kind in dense synthesizer reformer linformer longformer dense512; do
        for fold in $([ $set = hyperpartisan ] && echo 1 2 3 4 5 || echo 0); do echo "$set.$kind.$fold"; done
    done
done | grep -E "$only" | xargs -P "$jobs" -I{} env LONG_DOCUMENTS_JOB={} bash "$0" "$XC" "$MODEL" "$DATA" "$OUT" || echo "not all runs ended" >&2
python3 "$HERE/bench/long_documents.py" "$OUT"
