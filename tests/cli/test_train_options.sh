# finetune and distill: an option of training that had no effect, or another one than it says, would be seen here. (What needs a whole training, a kill or
# other files is in finetune and distill.) Updates are small and few; their size and direction are compared with what the option means.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
data=$XC_SOURCE_ROOT/tests/data

zstd -dcq "$data/subj.train.tsv.zst" | head -n 61 >train.tsv
cat >lib.py <<'END_PY'
import json, math, struct, sys
from array import array

def weights(folder):
    "Every tensor of a safetensors folder: name -> (shape, numbers)"
    raw = open(folder + "/model.safetensors", "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    out = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name == "__metadata__": continue
        x = array("f")
        x.frombytes(raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
        out[name.removeprefix("bert.")] = (t["shape"], x)
    return out

def change(a, b):
    "b - a, of what both have, end to end"
    a, b = weights(a), weights(b)
    return [y - x for name in sorted(set(a) & set(b)) for x, y in zip(a[name][1], b[name][1])]

def length(x): return math.sqrt(sum(v * v for v in x))
def near(a, b, by=1e-3): assert abs(a - b) <= by * abs(b), (a, b)
def log(name): return [json.loads(l) for l in open(name + ".jsonl")]
def losses(name): return [l["loss"] for l in log(name) if "loss" in l]
END_PY
check() { # TEXT: python on lib.py, from stdin
    { cat lib.py; cat; } >check.py
    python3 check.py 2>check.err || fail "$1: $(tail -n 1 check.err)"
}
tune() { # NAME OPTIONS...: NAME.xc and its log NAME.jsonl
    name=$1
    shift
    run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv --batch-rows 20 --batch-tokens 100000 --dropout 0 --attention-dropout 0 --warmup 0 --schedule constant --no-golden -q -o "$name.xc" --log "$name.jsonl" "$@"
    expect_code 0
}
moved() { # NAME OPTIONS...: and its weights in the folder NAME
    tune "$@" --pooling pooler
    run "$XC_BIN" convert "$1.xc" -o "$1" -q
    expect_code 0
}
sgd="--optimizer sgd --lr 1 --weight-decay 0"

# ---- one update of SGD without momentum has the length rate * clip; with no limit, rate * the gradient's ----
# shellcheck disable=SC2086
{
    moved zero --lr 0 --max-steps 1 # the head is new: it is made from the seed
    moved clip1 $sgd --momentum 0 --max-steps 1 --clip 0.01
    moved clip2 $sgd --momentum 0 --max-steps 1 --clip 0.001
    moved free $sgd --momentum 0 --max-steps 1 --clip 0
    moved two $sgd --momentum 0 --max-steps 2 --clip 0.001
    moved half $sgd --momentum 0.5 --max-steps 2 --clip 0.001
    moved decayed $sgd --momentum 0 --max-steps 1 --clip 1e-30 --weight-decay 0.1
    moved adam --optimizer adamw --lr 0.1 --max-steps 1 --clip 1e-30 --weight-decay 0.5
    moved adam9 --optimizer adamw --lr 1e-3 --max-steps 2 --momentum 0.9
    moved adam0 --optimizer adamw --lr 1e-3 --max-steps 2 --momentum 0
}
check "--clip, --lr" <<'END_PY'
near(length(change("zero", "clip1")), 0.01)
near(length(change("zero", "clip2")), 0.001)
norm = log("free")[0]["gradient_norm"]
assert norm > 0.02, norm # longer than the limits above
near(length(change("zero", "free")), norm)
END_PY
check "--momentum of SGD: the second update has half of the first once more" <<'END_PY'
first, more = change("zero", "clip2"), change("two", "half")
near(length(more), 0.5 * length(first), 0.01)
near(sum(a * b for a, b in zip(first, more)), 0.5 * length(first) ** 2, 0.01)
END_PY
check "--momentum of AdamW" <<'END_PY'
assert length(change("adam9", "adam0")) > 0.05 * length(change("zero", "adam9"))
END_PY
for of in decayed:0.9 adam:0.95; do
    check "--weight-decay: matrices shrink by rate * decay, biases and norms do not (${of%:*})" <<END_PY
a, b = weights("zero"), weights("${of%:*}")
for name, (shape, x) in a.items():
    factor = ${of#*:} if len(shape) > 1 else 1
    assert all(abs(q - factor * p) <= 1e-6 * abs(p) + 1e-9 for p, q in zip(x, b[name][1])), name
END_PY
done

# ---- which rows, which rates ----
tune plain --lr 1e-3 --epochs 2
tune cosine --lr 1e-3 --epochs 2 --schedule cosine
tune linear --lr 1e-3 --epochs 2 --schedule linear
tune summed --lr 1e-3 --epochs 2 --accumulate 3
tune other --lr 1e-3 --epochs 2 --seed 7
tune cut --lr 1e-3 --epochs 2 --max-tokens 6
tune small --lr 1e-3 --epochs 2 --batch-rows 5
tune tokens --lr 1e-3 --epochs 2 --batch-rows 0 --batch-tokens 200 --max-tokens 60
tune dropped --lr 1e-3 --epochs 2 --dropout 0.3
tune dropped2 --lr 1e-3 --epochs 2 --attention-dropout 0.3
tune pooled --lr 1e-3 --epochs 2 --pooling max
check "batches and rates" <<'END_PY'
plain = log("plain")
assert len(plain) == 6 and all(l["lr"] == 1e-3 for l in plain), "--epochs, --batch-rows, --schedule constant"
for i, (c, l) in enumerate(zip(log("cosine"), log("linear"))):
    near(c["lr"], 1e-3 * 0.5 * (1 - math.cos(math.pi * (6 - i) / 6)))
    near(l["lr"], 1e-3 * (6 - i) / 6)
assert len(log("summed")) == 2, "--accumulate: 3 batches are one update"
near(log("summed")[-1]["tokens"], plain[-1]["tokens"], 0)
assert log("cut")[-1]["tokens"] <= 6 * 120 < plain[-1]["tokens"], "--max-tokens"
assert len(log("small")) == 24, "--batch-rows"
t = [l["tokens"] for l in log("tokens")]
assert len(t) > 20 and max(b - a for a, b in zip([0] + t, t)) <= 200, "--batch-tokens"
assert losses("other") != losses("plain"), "--seed"
assert losses("dropped")[0] != losses("plain")[0] and losses("dropped2")[0] != losses("plain")[0] and losses("dropped") != losses("dropped2"), "--dropout, --attention-dropout"
assert losses("pooled")[0] != losses("plain")[0], "--pooling"
END_PY

# ---- what a task reads ----
printf 'text_a\ttext_b\na man eats\ta man is eating\ntwo dogs\tdogs\nit rains\tno sun today\n' >pairs.tsv
cut -f2 train.tsv | tail -n +2 >lines.txt
pairs() { # NAME OPTIONS...
    name=$1
    shift
    run "$XC_BIN" finetune "$tiny" -t embed -d pairs.tsv --dropout 0 --attention-dropout 0 --max-steps 1 --lr 0 -q -o "$name.xc" --log "$name.jsonl" "$@"
    expect_code 0
}
pairs scale20
pairs scale2 --contrast-scale 2
pairs scale0 --contrast-scale 1e-3
for side in 2 3; do
    tail -n +2 pairs.tsv | cut -f$((side - 1)) >side.txt
    run "$XC_BIN" embed scale20.xc --file side.txt -o side$side.npy
    expect_code 0
done
check "--contrast-scale: the loss is the cross-entropy of cosines times the scale" <<'END_PY'
def rows(name):
    raw = open(name, "rb").read()
    x = array("f")
    x.frombytes(raw[10 + struct.unpack("<H", raw[8:10])[0]:])
    return [x[i * (len(x) // 3):(i + 1) * (len(x) // 3)] for i in range(3)]
a, b = rows("side2.npy"), rows("side3.npy")
cosine = [[sum(x * y for x, y in zip(p, q)) / length(p) / length(q) for q in b] for p in a]
for name, scale in ("scale20", 20), ("scale2", 2), ("scale0", 1e-3):
    near(losses(name)[0], sum(math.log(sum(math.exp(scale * c) for c in row)) - scale * row[i] for i, row in enumerate(cosine)) / 3, 1e-4)
END_PY
for share in 0.15 0.02 0.9; do
    run "$XC_BIN" finetune "$tiny" -t mlm -d lines.txt --mask $share --max-steps 1 --lr 0 -q -o mlm.xc --log mask$share.jsonl
    expect_code 0
done
check "--mask" <<'END_PY'
assert len({losses("mask" + s)[0] for s in ("0.15", "0.02", "0.9")}) == 3
END_PY
# a share over all layers is another one in each; int4 is in the file that is asked for
# shellcheck disable=SC2086
for over in layer global; do
    run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv --max-steps 4 --prune magnitude=0.5 --prune-begin 0 --prune-end 0.5 --prune-threshold $over --export int4 -q -o $over.xc
    expect_code 0
    run "$XC_BIN" inspect $over.xc
    out_has 'int4'
done
cmp -s layer.xc global.xc && fail "--prune-threshold changes nothing"

# ---- distill ----
run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv --max-steps 8 --lr 3e-3 -q --no-golden -o teacher.xc --seed 3
expect_code 0
learn() { # NAME OPTIONS...
    name=$1
    shift
    run "$XC_BIN" distill teacher.xc -s layers=1,hidden=16,heads=2,ffn=32 -t classify -d train.tsv -q -o "$name.xc" --log "$name.jsonl" "$@"
    expect_code 0
}
few="--max-steps 2 --batch-tokens 300"
# shellcheck disable=SC2086
{
    learn d0 $few
    learn d1 $few --init random
    learn d2 $few --init select
    learn d3 $few --layers 1
    learn d4 $few --temperature 4
    learn d5 $few --lr 1e-2
    learn d6 $few --accumulate 2
    learn d7 --epochs 1 --batch-tokens 100 --max-tokens 5
    learn d8 $few --no-golden
    learn d9 --epochs 1 --batch-tokens 100 --max-tokens 30
    learn d10 --epochs 2 --batch-tokens 100 --max-tokens 30
}
check "options of distill" <<'END_PY'
part = lambda name, i, loss: log(name)[i]["losses"][loss]
plain = log("d0")
assert len(plain) == 4, "--max-steps: of each stage"
assert len({losses(d)[0] for d in ("d0", "d1", "d2", "d3")}) == 4, "--init, --layers"
assert losses("d4")[:2] == losses("d0")[:2] and part("d4", 2, "logits") != part("d0", 2, "logits"), "--temperature: of the answers"
assert log("d5")[0]["lr"] != plain[0]["lr"] and max(l["lr"] for l in log("d5")) <= 1e-2, "--lr"
near(log("d5")[0]["lr"] / plain[0]["lr"], 1e-2 / 5e-4)
assert log("d6")[0]["tokens"] > 1.5 * plain[0]["tokens"], "--accumulate"
assert log("d7")[-1]["tokens"] <= 2 * 60 * 5 < log("d9")[-1]["tokens"] <= 2 * 60 * 30, "--max-tokens: in two stages"
assert len(log("d10")) == 2 * len(log("d9")), "--epochs"
t = [l["tokens"] for l in log("d9")]
assert max(b - a for a, b in zip([0] + t, t)) <= 100, "--batch-tokens"
END_PY
[ "$(wc -c <d8.xc)" -lt "$(wc -c <d0.xc)" ] || fail "--no-golden: the samples are still there"
# measured so often, by this number; the state lies where it was asked for, and as often
# shellcheck disable=SC2086
learn d11 --max-steps 4 --batch-tokens 100 --dev train.tsv --eval-every 2 --metric f1 --checkpoint d.state --checkpoint-every 1 --json
[ "$(json '["dev"]["metric"]')" = f1 ] || fail "--metric"
[ "$(grep -c '"dev"' d11.jsonl)" -eq 3 ] || fail "--eval-every: before the stage that trains the answers, and twice in it"
[ ! -e d11.xc.train ] && [ ! -e d.state ] || fail "--checkpoint: the state is still there"
