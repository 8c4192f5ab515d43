#!/bin/sh
# Every recipe of finetune.sh in a tiny form: it runs, measures and writes a model that evaluates. Needs zstd. usage: test_finetune.sh XCOMPRESS EXAMPLES CHECKPOINT DATA
set -eu

XCOMPRESS=$1 examples=$2 checkpoint=$3 data=$4
export XCOMPRESS
work=$(mktemp -d "${TMPDIR:-/tmp}/xc_finetune_XXXXXX")
trap 'rm -rf "$work"' EXIT

zstd -dcq "$data/subj.train.tsv.zst" | head -n 101 >"$work/rows.tsv"
printf 'score\ttext_a\ttext_b\n5\ta man eats\ta man is eating\n1\ta man eats\ttwo dogs\n3\tone\ttwo\n0\tx\tsomething else\n' >"$work/pairs.tsv"
for task in sst2 subj trec6 stsb; do
    rows=$work/rows.tsv kind=classify
    if [ "$task" = stsb ]; then rows=$work/pairs.tsv kind=sts; fi
    sh "$examples/finetune.sh" "$task" "$checkpoint" "$rows" "$rows" "$work/$task.xc" --max-steps 2 --precision bf16 -q --json >"$work/$task.json"
    python3 - "$work/$task.json" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
assert r["steps"] == (1 if r["task"] == "embed" else 2) and "best" in r["dev"], r
assert (r["trained_parameters"] < r["parameters"]) == (r["task"] == "classify"), r
PY
    "$XCOMPRESS" eval "$work/$task.xc" --task $kind --data "$rows" >/dev/null
done
code=0
sh "$examples/finetune.sh" nli "$checkpoint" a b c 2>"$work/err" || code=$?
[ "$code" -eq 2 ] && grep -q "no recipe for 'nli'" "$work/err"
