# distill: a student learns, the same for any number of threads, goes on after a kill to the same bits, by every loss; and what is wrong is said before it trains.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
data=$XC_SOURCE_ROOT/tests/data

zstd -dcq "$data/subj.train.tsv.zst" | head -n 301 >train.tsv
zstd -dcq "$data/subj.dev.tsv.zst" | head -n 101 >dev.tsv
cut -f2 train.tsv | tail -n +2 | head -n 60 >lines.txt
run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv --batch-tokens 512 --lr 3e-3 --epochs 4 -o teacher.xc -q --seed 3
expect_code 0
spec=layers=1,hidden=16,heads=2,ffn=32
small="-t classify -d train.tsv --batch-tokens 512 -q"

# ---- it learns, and is a classifier like any other ----
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o a.xc --threads 1 --log log.jsonl --json --epochs 4 --lr 2e-3
expect_code 0
expect_json
[ "$(json '["dev"]["best"] > 0.6 and v["parameters"] < 18000')" = True ] || fail "it did not learn"
best=$(json '["dev"]["best"]')
grep -q '"losses":{"embedding":' log.jsonl && grep -q '"losses":{"logits":' log.jsonl || fail "the log has the losses of both stages"
run "$XC_BIN" eval a.xc -t classify -d dev.tsv --json
[ "$(json '["metrics"]["accuracy"]["value"]')" = "$best" ] || fail "eval measures something else"
run "$XC_BIN" inspect a.xc --graph
out_lacks distill
run "$XC_BIN" selftest a.xc
expect_code 0

# ---- the same bytes for any number of threads, others for another seed (of a random student) ----
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o b.xc --threads 3 --epochs 4 --lr 2e-3
expect_code 0
cmp -s a.xc b.xc || fail "3 threads train otherwise"
# shellcheck disable=SC2086
{
    run "$XC_BIN" distill teacher.xc -s $spec $small -o c.xc --init random --max-steps 2 --seed 1
    expect_code 0
    run "$XC_BIN" distill teacher.xc -s $spec $small -o d.xc --init random --max-steps 2 --seed 2
    expect_code 0
}
cmp -s c.xc d.xc && fail "the seed changes nothing"

# ---- products in bf16, by the recipe or the command line: another training, the same bytes for any number of threads ----
printf 'precision: bf16\n' >bf16.yaml
# shellcheck disable=SC2086
{
    run "$XC_BIN" distill teacher.xc -s $spec $small -r bf16.yaml -o c.xc --max-steps 2 --threads 1
    expect_code 0
    run "$XC_BIN" distill teacher.xc -s $spec $small --precision bf16 -o d.xc --max-steps 2 --threads 3
    expect_code 0
    cmp -s c.xc d.xc || fail "3 threads train otherwise in bf16"
    run "$XC_BIN" distill teacher.xc -s $spec $small -r bf16.yaml --precision f32 -o d.xc --max-steps 2
    expect_code 0
    cmp -s c.xc d.xc && fail "the precision changes nothing"
    printf 'precision: f16\n' >bf16.yaml
    run "$XC_BIN" distill teacher.xc -s $spec $small -r bf16.yaml -o d.xc
    expect_failure "must be one of f32, bf16"
}

# ---- killed in either stage and resumed: the same bytes ----
for wait in 3 120; do
    # shellcheck disable=SC2086
    "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o k.xc --epochs 4 --lr 2e-3 --checkpoint-every 1 --log k.jsonl >/dev/null 2>&1 &
    pid=$!
    while [ "$(cat k.jsonl 2>/dev/null | wc -l)" -lt $wait ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    if [ ! -e k.xc ]; then
        # shellcheck disable=SC2086
        run "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o k.xc --epochs 4 --lr 1e-3 --checkpoint-every 1 --resume
        expect_failure 'the checkpoint is of another training'
        # shellcheck disable=SC2086
        run "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o k.xc --epochs 4 --lr 2e-3 --checkpoint-every 1 --resume
        expect_code 0
    fi
    cmp -s a.xc k.xc || fail "the resumed training ends otherwise"
    rm -f k.xc k.jsonl
done

# ---- trained on the integers of the file: what was measured is what is in the file ----
printf 'passes:\n  - quantize: {format: int4, targets: [gather], smooth: no}\n  - quantize: {format: int8, targets: [linear, attention], smooth: no}\n' >both.yaml
for how in int8 int4 both.yaml; do
    # shellcheck disable=SC2086
    run "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o q.xc --threads 1 --epochs 3 --lr 2e-3 --quantize $how --json
    expect_code 0
    best=$(json '["dev"]["best"]')
    [ "$(json '["dev"]["best"] > 0.6 and v["parameters"] < 17000')" = True ] || fail "it did not learn"
    run "$XC_BIN" eval q.xc -t classify -d dev.tsv --json
    [ "$(json '["metrics"]["accuracy"]["value"]')" = "$best" ] || fail "the file with $how answers otherwise than was measured"
    run "$XC_BIN" selftest q.xc
    expect_code 0
done
run "$XC_BIN" inspect q.xc
out_has 'int4/g64'
out_has 'int8/row'
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o q2.xc --threads 3 --epochs 3 --lr 2e-3 --quantize both.yaml
cmp -s q.xc q2.xc || fail "3 threads train otherwise on integers"
# shellcheck disable=SC2086
"$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o k.xc --epochs 3 --lr 2e-3 --quantize both.yaml --checkpoint-every 1 --log k.jsonl >/dev/null 2>&1 &
pid=$!
while [ "$(cat k.jsonl 2>/dev/null | wc -l)" -lt 60 ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
# shellcheck disable=SC2086
[ -e k.xc ] || run "$XC_BIN" distill teacher.xc -s $spec $small --dev dev.tsv -o k.xc --epochs 3 --lr 2e-3 --quantize both.yaml --checkpoint-every 1 --resume
cmp -s q.xc k.xc || fail "the resumed training on integers ends otherwise"
rm -f k.xc k.jsonl
printf 'passes:\n  - quantize: {format: int8}\n' >smooth.yaml
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -s $spec $small -o x.xc --quantize smooth.yaml
expect_failure "needs 'smooth: no'"
err_has 'smooth.yaml:2'
printf 'passes:\n  - drop_layers: {keep: 1, by: last}\n' >drop.yaml
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -s $spec $small -o x.xc --quantize drop.yaml
expect_failure "only pass 'quantize'"

# ---- pruned while distilled: sparse int8, measured as it is written ----
cat >prune.yaml <<'END'
quantize: int8
prune: {what: movement=0.75@16x4, end: 0.5, every: 3, ignore: ["encoder.layer.0.attention"]}
END
for threads in 1 3; do
    # shellcheck disable=SC2086
    run "$XC_BIN" distill teacher.xc -r prune.yaml -s layers=2,hidden=32,heads=2,ffn=64 $small --dev dev.tsv -o p$threads.xc --threads $threads --epochs 2 --lr 2e-3 --json
    expect_code 0
done
best=$(json '["dev"]["best"]')
cmp -s p1.xc p3.xc || fail "3 threads prune otherwise"
run "$XC_BIN" inspect p1.xc
out_has 'int8/row block 16x4'
run "$XC_BIN" eval p1.xc -t classify -d dev.tsv --json
[ "$(json '["metrics"]["accuracy"]["value"]')" = "$best" ] || fail "eval of the sparse int8 student measures something else"
printf 'prune: {what: magnitude=2:4}\n' >nm.yaml
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -r nm.yaml -s $spec $small -o x.xc --quantize both.yaml
expect_failure 'not by a recipe'
printf 'prune: {end: 0.5}\n' >bad.yaml
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -r bad.yaml -s $spec $small -o x.xc
expect_failure "'prune' needs 'what'"
printf 'prune: {what: magnitude=2:4, when: 1}\n' >bad.yaml
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -r bad.yaml -s $spec $small -o x.xc
expect_failure "'when'"

# ---- every loss in one recipe, two teachers, several files ----
cat >all.yaml <<'END'
task: classify
student: layers=1,hidden=16,heads=1,ffn=32
data: [train.tsv, dev.tsv]
layers: [2]
relation_heads: 2
temperature: 2
label_smoothing: 0.1
stages:
  - name: layers
    max_steps: 2
    losses: {embedding: 1, hidden: 1, attention: 1, attention_relation: 1, value_relation: 1, cosine: 1, cls: 1}
  - name: answers
    max_steps: 2
    losses: {logits: 1, labels: 0.5}
END
run "$XC_BIN" distill teacher.xc --teacher teacher.xc --recipe all.yaml -o all.xc -q --log all.jsonl --json
expect_code 0
[ "$(json '["rows"]')" = 400 ] || fail "rows of both files"
for loss in embedding hidden attention attention_relation value_relation cosine cls logits labels; do
    grep -q "\"$loss\":" all.jsonl || fail "no '$loss' in the log"
done
# two teachers that are one: the same losses as one teaches
run "$XC_BIN" distill teacher.xc --recipe all.yaml -o one.xc -q --log one.jsonl
expect_code 0
for log in all one; do head -n 1 $log.jsonl | sed 's/.*"attention":\([0-9.e-]*\).*/\1/' >$log.loss; done
python3 -c "a,b=float(open('all.loss').read()),float(open('one.loss').read()); assert abs(a-b)<1e-6*a" || fail "the average of two equal teachers is not one of them"

# ---- sentence embeddings from texts alone; a student that is a model; pruned vocabulary ----
run "$XC_BIN" distill "$tiny" -t embed -d lines.txt -s layers=1,hidden=16,heads=2 -o e.xc -q --epochs 1 --batch-tokens 200
expect_code 0
printf 'passes:\n  - prune_vocabulary:\n      min_count: 1\n  - drop_layers:\n      keep: 1\n      by: last\n' >cut.yaml
run "$XC_BIN" compress teacher.xc --recipe cut.yaml --calibrate lines.txt --calibrate-rows 1000 -o cut.xc -q
expect_code 0
# shellcheck disable=SC2086
run "$XC_BIN" distill teacher.xc -s cut.xc $small -o v.xc --max-steps 3
expect_code 0
run "$XC_BIN" compress teacher.xc --quantize int8 -o teacher8.xc -q
expect_code 0
# shellcheck disable=SC2086
{
    run "$XC_BIN" distill teacher8.xc -s cut.xc $small -o v.xc --max-steps 3 --layers top
    expect_code 0
    run "$XC_BIN" distill teacher8.xc -s layers=1,hidden=16,heads=2 --student-from teacher.xc $small -o v.xc --max-steps 3
    expect_code 0
}

# ---- more texts: words replaced, kept in a file, the same each time; by neighbours and by a masked language model ----
head -n 21 train.tsv >few.tsv
run "$XC_BIN" finetune "$tiny" -t mlm -d lines.txt --max-steps 2 -o mlm.xc -q
expect_code 0
# shellcheck disable=SC2086
for model in '' "--augment-model $PWD/mlm.xc"; do
    rm -f a.augment
    run "$XC_BIN" distill teacher.xc -s $spec -t classify -d few.tsv -o g.xc --max-steps 2 --augment 3 $model --augment-cache a.augment -q --json
    expect_code 0
    [ "$(json '["rows"]')" = 80 ] || fail "20 rows and 3 copies of each"
    [ "$(wc -l <a.augment)" = 61 ] || fail "a line of the file for each copy"
    tail -n +2 few.tsv | cut -f2 | awk '{print; print; print}' >same.txt
    tail -n +2 a.augment | python3 -c "
import sys
new, old = [l.split() for l in sys.stdin], [l.split() for l in open('same.txt')]
assert all(len(a) == len(b) for a, b in zip(new, old))
n = sum(map(len, old)); changed = sum(x != y for a, b in zip(new, old) for x, y in zip(a, b))
assert 0.05 < changed / n < 0.45, changed / n" || fail "about 40 % of the words that have candidates change, their number stays"
    cp a.augment first.augment
    run "$XC_BIN" distill teacher.xc -s $spec -t classify -d few.tsv -o h.xc --max-steps 2 --augment 3 $model --augment-cache a.augment -q
    cmp -s g.xc h.xc || fail "texts from the file train otherwise"
    rm a.augment
    run "$XC_BIN" distill teacher.xc -s $spec -t classify -d few.tsv -o h.xc --max-steps 2 --augment 3 $model --augment-cache a.augment -q --threads 3
    cmp -s a.augment first.augment || fail "other words with 3 threads"
    head -n 30 first.augment >a.augment
    run "$XC_BIN" distill teacher.xc -s $spec -t classify -d few.tsv -o x.xc --max-steps 2 --augment 3 $model --augment-cache a.augment -q
    expect_failure 'the file of augmented texts ends early'
    err_has 'a.augment:31'
done

# ---- what goes wrong, before any training ----
bad() { # OPTIONS...
    # shellcheck disable=SC2086
    run "$XC_BIN" distill "$@" -o x.xc -q
}
bad "$tiny" -s layers=1 -t classify -d train.tsv
expect_failure "the teacher has no head for task 'classify'"
bad teacher8.xc -s layers=1 -t classify -d train.tsv
expect_failure 'the model is quantized'
bad teacher8.xc -s layers=1 --student-from "$tiny" -t classify -d train.tsv
expect_failure "the teacher has no head for task 'classify'"
bad teacher.xc -s layers=5 -t classify -d train.tsv
expect_failure 'the student has 5 layers, its teacher 2'
bad teacher.xc -s layers=1,heads=1 -t classify -d train.tsv
expect_failure "loss 'attention' compares heads one by one"
bad teacher.xc -s layers=1 -t classify -d train.tsv --layers 1,2
expect_failure 'the layer map has 2 entries, the student 1 layers'
bad teacher.xc -s layers=1 -t classify -d train.tsv --layers 7
expect_failure 'the layer map names layer 7 of a teacher with 2'
bad cut.xc -s teacher.xc -t classify -d train.tsv
expect_failure "is none of the teacher's"
bad teacher.xc -s layers=1 -t classify
expect_failure 'give --data'
bad teacher.xc -s layers=1 -d train.tsv
expect_failure 'give --task'
printf 'student: layers=1\ntask: classify\ndata: train.tsv\nlosses: {hidden: 1}\n' >wrong.yaml
bad teacher.xc --recipe wrong.yaml
expect_failure "losses"
err_has 'wrong.yaml:4'
run "$XC_BIN" distill teacher.xc -s layers=1 -t classify -d train.tsv
expect_usage "xcompress distill: give -o; see 'xcompress distill --help'"
[ ! -e x.xc ] || fail "a failed training left a file"
