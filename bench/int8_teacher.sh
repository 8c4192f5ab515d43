#!/bin/sh
# Does a teacher that runs forward in int8 lower the student? The same distillation on SST-2 from an f32 teacher and from its int8 file, for three seeds.
#
#   bench/int8_teacher.sh XCOMPRESS TEACHER.xc DATA OUT [SEEDS]      SEEDS: "1 2 3"; TEACHER.xc: f32, with a head for SST-2
#     STEPS=200    updates of each of the two stages
#
# It goes on where it stopped: what a run said lies in OUT. Prints dev accuracy by seed, and the mean difference with its standard error.
set -eu
xc=$1 teacher=$2 data=$3 out=$4 seeds=${5:-1 2 3} steps=${STEPS:-200}
mkdir -p "$out"
[ -e "$out/int8.xc" ] || "$xc" compress "$teacher" --quantize int8 --no-golden -q -o "$out/int8.xc" >/dev/null
zstd -dcq "$data/sst2.train.tsv.zst" | head -n 8001 >"$out/sst2.tsv"
cat >"$out/recipe.yaml" <<END
task: classify
student: layers=3,hidden=192,heads=12,ffn=384
data: $out/sst2.tsv
dev: $data/sst2.dev.tsv.zst
student_from: $teacher
batch_tokens: 1024
stages:
  - {name: intermediate, epochs: 100, max_steps: $steps, lr: 1e-3, losses: {embedding: 1, hidden: 1, attention: 1}}
  - {name: prediction, epochs: 100, max_steps: $steps, lr: 6e-4, losses: {logits: 1}}
END
for seed in $seeds; do
    for of in f32 int8; do
        [ -e "$out/$of.$seed.json" ] && continue
        from=$teacher
        [ $of = f32 ] || from=$out/int8.xc
        "$xc" distill "$from" -r "$out/recipe.yaml" -o "$out/student.xc" --seed "$seed" --threads "${THREADS:-1}" --no-golden -q --json >"$out/part.json"
        mv "$out/part.json" "$out/$of.$seed.json"
    done
done
python3 - "$out" "$seeds" <<'END'
import json, statistics, sys
out, seeds = sys.argv[1], sys.argv[2].split()
last = lambda of, s: json.load(open(f"{out}/{of}.{s}.json"))["dev"]["last"]
d = [last("int8", s) - last("f32", s) for s in seeds]
for s in seeds: print(f"seed {s}: f32 teacher {last('f32', s):.4f}, int8 teacher {last('int8', s):.4f}")
print(f"int8 less f32: {statistics.mean(d):+.4f}, standard error {statistics.stdev(d) / len(d) ** 0.5 if len(d) > 1 else float('nan'):.4f}")
END
