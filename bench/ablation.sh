#!/bin/sh
# Ablation of distillation, as the paper's tables: without each loss, without augmentation, each layer map, each initialisation; on the first 8,000 rows of
# SST-2, and with sentence embeddings on stsb. A run that is done is not done again: what each said lies in OUT, and the command goes on where it stopped.
#
#   bench/ablation.sh XCOMPRESS TEACHER.xc DATA OUT [SEEDS]      DATA: sst2.train.tsv.zst, sst2.dev.tsv.zst; SEEDS: "1 2 3"
#   STS=TEACHER                                                  also stsb: an embedding model (f32); texts of stsb.train without their scores
#   THREADS=1 ONLY=REGEX                                         threads of each run; only runs whose name matches
#
# Prints one JSON object: by run the mean, the least and the most of the metric on dev.
set -eu
xc=$1 teacher=$2 data=$3 out=$4 seeds=${5:-1 2 3}
threads=${THREADS:-1} only=${ONLY:-.}
mkdir -p "$out"
spec=layers=3,hidden=192,heads=12,ffn=384
[ -e "$out/train.tsv" ] || zstd -dcq "$data/sst2.train.tsv.zst" | head -n 8001 >"$out/train.tsv"
[ -e "$out/teacher8.xc" ] || "$xc" compress "$teacher" --quantize int8 -o "$out/teacher8.xc" -q >/dev/null

# run NAME SEED TASK TEACHER FROM DATA DEV RECIPE-LINES...
run() {
    name=$1 seed=$2 task=$3 big=$4 from=$5 rows=$6 dev=$7
    shift 7
    echo "$name" | grep -Eq "$only" || return 0
    [ -e "$out/$name.$seed.json" ] && return 0
    printf '%s\n' "task: $task" "data: $rows" "dev: $dev" "student_from: $from" "batch_tokens: 1024" "$@" >"$out/$name.yaml"
    grep -q '^student:' "$out/$name.yaml" || echo "student: $spec" >>"$out/$name.yaml"
    "$xc" distill "$big" -r "$out/$name.yaml" -o "$out/run.xc" --seed "$seed" --threads "$threads" --no-golden -q --json >"$out/run.json"
    mv "$out/run.json" "$out/$name.$seed.json"
    echo "$name seed $seed: $(cut -c1-300 "$out/$name.$seed.json" | tr -d '\n')" >&2
}

# stages LOSSES-OF-LAYERS LOSSES-OF-ANSWERS
stages() {
    echo "stages:"
    [ -z "$1" ] || printf '  - {name: intermediate, epochs: 1, lr: 1e-3, losses: {%s}}\n' "$1"
    printf '  - {name: prediction, epochs: %s, lr: 6e-4, losses: {%s}}\n' "$([ -z "$1" ] && echo 2 || echo 1)" "$2"
}

sst2() { # NAME SEED RECIPE-LINES...
    name=$1 seed=$2
    shift 2
    run "sst2.$name" "$seed" classify "$out/teacher8.xc" "$teacher" "$out/train.tsv" "$data/sst2.dev.tsv.zst" "$@"
}

for seed in $seeds; do
    all='embedding: 1, hidden: 1, attention: 1'
    sst2 all "$seed" "$(stages "$all" 'logits: 1')"
    sst2 without-embedding "$seed" "$(stages 'hidden: 1, attention: 1' 'logits: 1')"
    sst2 without-hidden "$seed" "$(stages 'embedding: 1, attention: 1' 'logits: 1')"
    sst2 without-attention "$seed" "$(stages 'embedding: 1, hidden: 1' 'logits: 1')"
    sst2 without-layers "$seed" "$(stages '' 'logits: 1')"
    sst2 labels-alone "$seed" "$(stages '' 'labels: 1')"
    sst2 labels-for-logits "$seed" "$(stages "$all" 'labels: 1')"
    sst2 relations-for-attention "$seed" "$(stages 'embedding: 1, hidden: 1, attention_relation: 1, value_relation: 1' 'logits: 1')"
    sst2 cosine-for-hidden "$seed" "$(stages 'embedding: 1, cosine: 1, attention: 1' 'logits: 1')"
    sst2 cls-for-hidden "$seed" "$(stages 'embedding: 1, cls: 1, attention: 1' 'logits: 1')"
    sst2 temperature-2 "$seed" "temperature: 2" "$(stages "$all" 'logits: 1')"
    sst2 layers-top "$seed" "layers: top" "$(stages "$all" 'logits: 1')"
    sst2 layers-bottom "$seed" "layers: [1, 2, 3]" "$(stages "$all" 'logits: 1')"
    sst2 init-select "$seed" "init: select" "$(stages "$all" 'logits: 1')"
    sst2 init-random "$seed" "init: random" "$(stages "$all" 'logits: 1')"
    sst2 augmented "$seed" "augment: {count: 1, cache: $out/augment.$seed}" "$(stages "$all" 'logits: 1')"
done

if [ -n "${STS:-}" ]; then
    [ -e "$out/pairs.txt" ] || zstd -dcq "$data/stsb.train.tsv.zst" | tail -n +2 | tr '\t' '\n' | grep '[a-zA-Z]' >"$out/pairs.txt"
    sts() {
        name=$1 seed=$2
        shift 2
        run "stsb.$name" "$seed" embed "$STS" "$STS" "$out/pairs.txt" "$data/stsb.dev.tsv.zst" "student: layers=3,ffn=384" "$@"
    }
    for seed in $seeds; do
        all='embedding: 1, hidden: 1, attention: 1' answer='output: 100, output_cosine: 1'
        sts all "$seed" "$(stages "$all" "$answer")"
        sts without-layers "$seed" "$(stages '' "$answer")"
        sts without-attention "$seed" "$(stages 'embedding: 1, hidden: 1' "$answer")"
        sts init-random "$seed" "init: random" "$(stages "$all" "$answer")"
    done
fi

python3 - "$out" <<'END'
import collections, glob, json, os, sys
runs = collections.defaultdict(list)
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.[0-9]*.json"))):
    runs[os.path.basename(path).rsplit(".", 2)[0]].append(json.load(open(path)))
print(json.dumps({name: {"metric": r[0]["dev"]["metric"], "mean": sum(x["dev"]["best"] for x in r) / len(r), "least": min(x["dev"]["best"] for x in r),
                         "most": max(x["dev"]["best"] for x in r), "seeds": len(r), "seconds": sum(x["seconds"] for x in r) / len(r), "rows": r[0]["rows"]} for name, r in runs.items()}, indent=1))
END
