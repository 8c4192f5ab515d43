# finetune: it learns, the same for any number of threads, goes on after a kill to the same bits, and says what is wrong before it trains.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
data=$XC_SOURCE_ROOT/tests/data

zstd -dcq "$data/subj.train.tsv.zst" | head -n 401 >train.tsv
zstd -dcq "$data/subj.dev.tsv.zst" | head -n 101 >dev.tsv
train="--task classify --data train.tsv --batch-tokens 512 --lr 3e-3 --epochs 4 --dropout 0.1 -q"

# ---- it learns; the file is a classifier like any other ----
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o a.xc --threads 1 --log log.jsonl --json
expect_code 0
expect_json
[ "$(json '["dev"]["best"] > 0.6 and v["dev"]["best"] > v["dev"]["first"] and v["loss"] < 0.68 and v["new_head"]')" = True ] || fail "it did not learn"
best=$(json '["dev"]["best"]')
steps=$(json '["steps"]')
[ "$(grep -c '"loss"' log.jsonl)" = "$steps" ] || fail "a line of the log for each update"
[ ! -e a.xc.train ] || fail "the checkpoint is still there"
run "$XC_BIN" eval a.xc -t classify -d dev.tsv --json
expect_code 0
[ "$(json '["metrics"]["accuracy"]["value"]')" = "$best" ] || fail "eval measures something else"
run "$XC_BIN" selftest a.xc
expect_code 0
run "$XC_BIN" compress a.xc --quantize int8 -o a8.xc -q
expect_code 0
run "$XC_BIN" eval a8.xc -t classify -d dev.tsv -r a.xc --json
[ "$(json '["flip_rate"] <= 0.1')" = True ] || fail "the int8 model answers otherwise"

# ---- the same bytes for any number of threads, others for another seed ----
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o b.xc --threads 3
expect_code 0
cmp -s a.xc b.xc || fail "3 threads train otherwise"
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o c.xc --seed 5
cmp -s a.xc c.xc && fail "the seed changes nothing"

# ---- products in bf16: another training, the same bytes for any number of threads ----
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o h.xc --precision bf16 --threads 1 --json
expect_code 0
[ "$(json '["dev"]["best"] > 0.6')" = True ] || fail "it did not learn in bf16"
cmp -s a.xc h.xc && fail "--precision changes nothing"
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o h3.xc --precision bf16 --threads 3
cmp -s h.xc h3.xc || fail "3 threads train otherwise in bf16"

# ---- less memory: values are computed again in the backward pass, to the same bytes ----
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o m.xc --max-memory 100MB --json
expect_code 0
[ "$(json '["recomputed"] == False and v["planned_bytes"] < 1e8')" = True ] || fail "nothing needs to be computed again in 100 MB"
bytes=$(json '["planned_bytes"]')
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o m2.xc --max-memory "$(python3 -c "print(int($bytes) - 1000)")" --json
expect_code 0
[ "$(json "[\"recomputed\"] == True and v[\"planned_bytes\"] < $bytes - 1000")" = True ] || fail "nothing is computed again"
cmp -s a.xc m.xc || fail "--max-memory changes the result"
cmp -s a.xc m2.xc || fail "computing again changes the result"
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train -o x.xc --max-memory 100KB
expect_failure 'lower --batch-tokens'
err_has 'more than --max-memory'

# ---- killed and resumed: the same bytes ----
for try in 1 2 3 4 5; do
    # shellcheck disable=SC2086
    "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --checkpoint-every 1 >/dev/null 2>&1 &
    pid=$!
    while [ ! -e k.xc.train ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    sleep 0.0$try
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -e k.xc ] || break
    rm -f k.xc k.xc.train
done
[ -e k.xc.train ] || fail "no checkpoint"
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --checkpoint-every 1 --lr 1e-3 --resume
expect_failure 'the checkpoint is of another training'
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --checkpoint-every 1 --resume
expect_code 0
cmp -s a.xc k.xc || fail "the resumed training ends otherwise"

# ---- asked to stop: the state is written, and it goes on from there ----
rm -f k.xc
# shellcheck disable=SC2086
"$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --log k.jsonl >out 2>err &
pid=$!
while ! grep -q loss k.jsonl 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -TERM $pid 2>/dev/null
wait $pid
code=$?
if [ ! -e k.xc ]; then
    ran="finetune under SIGTERM"
    expect_code 143
    err_has "its state is in 'k.xc.train': --resume goes on"
    # shellcheck disable=SC2086
    run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --resume
    expect_code 0
fi
cmp -s a.xc k.xc || fail "the training that was stopped ends otherwise"
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train -o k.xc --resume
expect_failure 'no checkpoint to go on from'

# ---- reversible blocks: where computing again does not fit, they give their inputs back; the same bytes for any number of threads, and resumed ----
mkdir deep
cp "$tiny/vocab.txt" "$tiny/tokenizer_config.json" deep
cat >deep/config.json <<END
{"model_type": "reformer", "architectures": ["ReformerModel"], "hidden_size": 32, "feed_forward_size": 64, "attention_head_size": 16, "num_attention_heads": 2, "num_hashes": 2,
 "num_buckets": 8, "lsh_attn_chunk_length": 8, "local_attn_chunk_length": 8, "lsh_num_chunks_before": 1, "local_num_chunks_before": 1, "lsh_num_chunks_after": 0, "local_num_chunks_after": 0,
 "axial_pos_embds": false, "hash_seed": 1, "hidden_act": "gelu", "is_decoder": false, "vocab_size": 345, "max_position_embeddings": 128, "layer_norm_eps": 1e-6, "pad_token_id": 0,
 "num_hidden_layers": 8, "attn_layers": ["lsh", "local", "lsh", "local", "lsh", "local", "lsh", "local"]}
END
run "$XC_BIN" convert deep -o deep.xc --init random --seed 1 -q
expect_code 0
head -n 201 train.tsv >few.tsv
deep="-t classify -d few.tsv --batch-tokens 2048 --lr 1e-3 -e 1 -q"
# shellcheck disable=SC2086
run "$XC_BIN" finetune deep.xc $deep -o kept.xc --json
expect_code 0
[ "$(json '["reversible_blocks"] == 0 and not v["recomputed"]')" = True ] || fail "something is recovered without a limit"
loss=$(json '["loss"]')
# shellcheck disable=SC2086
run "$XC_BIN" finetune deep.xc $deep -o rev.xc --max-memory 9MB --json --threads 1
expect_code 0
[ "$(json "[\"reversible_blocks\"] == 16 and v[\"recomputed\"] and v[\"planned_bytes\"] < 9e6 and abs(v[\"loss\"] - $loss) < 1e-4")" = True ] || fail "the blocks are not reversed, or train otherwise"
# shellcheck disable=SC2086
run "$XC_BIN" finetune deep.xc $deep -o rev3.xc --max-memory 9MB --threads 3
cmp -s rev.xc rev3.xc || fail "3 threads reverse otherwise"
# shellcheck disable=SC2086
"$XC_BIN" finetune deep.xc $deep -o revk.xc --max-memory 9MB --checkpoint-every 1 --log revk.jsonl >/dev/null 2>&1 &
pid=$!
while ! grep -q loss revk.jsonl 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -TERM $pid 2>/dev/null
wait $pid
if [ -e revk.xc.train ]; then
    # shellcheck disable=SC2086
    run "$XC_BIN" finetune deep.xc $deep -o revk.xc --checkpoint-every 1 --resume
    expect_failure 'the checkpoint is of another training'
    # shellcheck disable=SC2086
    run "$XC_BIN" finetune deep.xc $deep -o revk.xc --max-memory 9MB --checkpoint-every 1 --resume
    expect_code 0
fi
cmp -s rev.xc revk.xc || fail "the resumed training of reversible blocks ends otherwise"

# ---- pruning while training: the file has the zeros that were measured, int8 leaves them out; threads and resuming change nothing ----
sparse="--prune-begin 0.1 --prune-end 0.5 --prune-every 3 --prune-ignore encoder.layer.0.attention"
for prune in magnitude=2:4 movement=0.75@16x4; do
    # shellcheck disable=SC2086
    run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o s.xc --prune $prune $sparse --threads 1 --json
    expect_code 0
    expect_json
    [ "$(json '["sparsity"] > 0.49 and v["dev"]["best_step"] >= 0.5 * v["steps"]')" = True ] || fail "$prune: zeros, and when the best was measured"
    best=$(json '["dev"]["best"]')
    run "$XC_BIN" eval s.xc -t classify -d dev.tsv --json
    [ "$(json '["metrics"]["accuracy"]["value"]')" = "$best" ] || fail "$prune: eval measures something else"
    # shellcheck disable=SC2086
    run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o t.xc --prune $prune $sparse --threads 3
    cmp -s s.xc t.xc || fail "$prune: 3 threads train otherwise"
    run "$XC_BIN" compress s.xc --quantize int8 -o s8.xc -q
    expect_code 0
    run "$XC_BIN" inspect s8.xc
    case $prune in
    *:*) out_has 'int8/row 2:4' ;;
    *) out_has 'int8/row block 16x4' ;;
    esac
    run "$XC_BIN" eval s8.xc -t classify -d dev.tsv -r s.xc --json
    [ "$(json '["flip_rate"] <= 0.1')" = True ] || fail "$prune: the int8 model answers otherwise"
done
updates() { # so many are in the log
    n=$(grep -c '"loss"' k.jsonl 2>/dev/null)
    [ "${n:-0}" -ge "$1" ]
}
for try in 1 2 3 4 5; do # killed in the middle of the schedule
    rm -f k.xc k.xc.train k.jsonl
    # shellcheck disable=SC2086
    "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --prune $prune $sparse --checkpoint-every 1 --log k.jsonl >/dev/null 2>&1 &
    pid=$!
    while ! updates 60 && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -e k.xc ] || break
done
[ -e k.xc.train ] || fail "no checkpoint"
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --prune $prune --prune-begin 0.2 --checkpoint-every 1 --resume
expect_failure 'the checkpoint is of another training'
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o k.xc --prune $prune $sparse --checkpoint-every 1 --resume
expect_code 0
cmp -s s.xc k.xc || fail "$prune: the resumed training ends otherwise"
# ---- what is measured is what is written: the sparse int8 file has exactly the accuracy that training saw ----
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv -o e.xc --prune magnitude=0.75@16x4 --export int8 --json
expect_code 0
best=$(json '["dev"]["best"]')
run "$XC_BIN" inspect e.xc
[ "$(grep -c 'int8/row block 16x4' out)" = 12 ] || fail "some weights are not sparse"
run "$XC_BIN" eval e.xc -t classify -d dev.tsv --json
[ "$(json '["metrics"]["accuracy"]["value"]')" = "$best" ] || fail "eval of the int8 file measures something else"
run "$XC_BIN" selftest e.xc
expect_code 0
run "$XC_BIN" inspect e.xc --manifest
out_has '"export": "int8"'
# and it is what compress makes of the f32 file
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train -o e.xc --prune magnitude=0.75@16x4 --export int8
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $train -o t.xc --prune magnitude=0.75@16x4
run "$XC_BIN" compress t.xc --quantize int8 -o t8.xc -q
cut -f2 dev.tsv | "$XC_BIN" classify e.xc >e.out
cut -f2 dev.tsv | "$XC_BIN" classify t8.xc >t8.out
[ -s e.out ] || fail "no answers"
cmp -s e.out t8.out || fail "compress makes another int8 model of the same weights"

# zeros made in one shot stay
run "$XC_BIN" compress "$tiny" --prune magnitude=2:4 -o p.xc -q
# shellcheck disable=SC2086
run "$XC_BIN" finetune p.xc $train -o t.xc --prune keep --json
[ "$(json '["sparsity"]')" = 0.5 ] || fail "keep: zeros have gone"
run "$XC_BIN" inspect t.xc
out_has 'f32 2:4'
# shellcheck disable=SC2086
run "$XC_BIN" finetune p.xc $train -o t.xc --max-steps 3
run "$XC_BIN" inspect t.xc
out_lacks 'f32 2:4'

# ---- every task, every option once ----
printf 'score\ttext_a\ttext_b\n5\ta man eats\ta man is eating\n1\ta man eats\ttwo dogs\n3\tone\ttwo\n0\tx\tsomething else\n' >sts.tsv
printf 'text_a\ttext_b\na man eats\ta man is eating\ntwo dogs\tdogs\n' >pairs.tsv
printf 'label\ttext_a\ttext_b\nyes\ta man eats\ta man is eating\nno\ta man\ttwo dogs\n' >nli.tsv
printf 'we\tO\nlove\tO\nnew\tB-LOC\nyork\tI-LOC\n\nno\tO\nman\tB-PER\n' >t.conll
cut -f2 train.tsv | head -n 40 | tail -n 39 >lines.txt
few="--max-steps 3 -q -o t.xc --lr 1e-3"
# shellcheck disable=SC2086
{
    run "$XC_BIN" finetune "$tiny" -t embed -d sts.tsv --dev sts.tsv $few --optimizer sgd --schedule cosine --accumulate 2 --batch-rows 2
    expect_code 0
    run "$XC_BIN" eval t.xc -t sts -d sts.tsv
    expect_code 0
    run "$XC_BIN" finetune "$tiny" -t embed -d pairs.tsv $few --ema 0.9 --layer-decay 0.8
    expect_code 0
    run "$XC_BIN" finetune "$tiny" -t regress -d sts.tsv --dev sts.tsv $few --pooling max
    expect_code 0
    run "$XC_BIN" finetune "$tiny" -t pair -d nli.tsv --dev nli.tsv $few --pooling pooler --label-smoothing 0.1
    expect_code 0
    mv t.xc pair.xc
    run "$XC_BIN" finetune pair.xc -t classify -d train.tsv $few --freeze embeddings --freeze 're:encoder[.]layer[.]0'
    expect_code 0
    run "$XC_BIN" finetune "$tiny" -t tag -d t.conll --dev t.conll $few
    expect_code 0
    run "$XC_BIN" eval t.xc -t tag -d t.conll
    expect_code 0
    run "$XC_BIN" finetune "$tiny" -t mlm -d lines.txt --dev lines.txt $few
    expect_code 0
}

# ---- options do what they say ----
changed() { # OPTIONS...: the tensors of $tiny that three updates change, and by how much
    run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv --batch-tokens 256 --max-steps 3 --lr 1e-3 -q -o c.xc --log c.jsonl "$@"
    expect_code 0
    run "$XC_BIN" diff "$tiny" c.xc --json
    python3 -c 'import json
for t in json.load(open("out"))["tensors"]:
    if t["a"] and t["b"]: print(t["name"], t["error"])' >changed.txt
}
changed
grep -q '^embeddings' changed.txt && grep -q '^encoder.layer.0' changed.txt && grep -q '^encoder.layer.1' changed.txt || fail "something does not train"
cp changed.txt all.txt
changed --freeze embeddings --freeze 're:.*layer[.]0'
! grep -q '^embeddings\|layer.0' changed.txt && grep -q '^encoder.layer.1' changed.txt || fail "--freeze: what is trained"
changed --layer-decay 0
[ ! -s changed.txt ] || fail "--layer-decay 0: only the head has a rate"
changed --layer-decay 0.5
python3 - <<'END' || fail "--layer-decay 0.5: layers below move less, by halves"
def read(name): return {l.split()[0]: float(l.split()[1]) for l in open(name)}
a, b = read("all.txt"), read("changed.txt")
for key, factor in (("encoder.layer.1", 0.5), ("encoder.layer.0", 0.25), ("embeddings", 0.125)):
    r = [b[n] / a[n] for n in b if n.startswith(key) and n in a and n.endswith("weight") and a[n] > 1e-3]
    assert r and 0.7 * factor < sum(r) / len(r) < 1.3 * factor, (key, r)
END
changed --ema 0.999999
python3 -c 'assert all(float(l.split()[1]) < 1e-6 for l in open("changed.txt"))' || fail "--ema: the average of nearly nothing but the beginning"
changed --warmup 1 --schedule constant --attention-dropout 0 --dropout 0
[ "$(python3 -c 'import json; print([round(json.loads(l)["lr"], 9) for l in open("c.jsonl")])')" = '[0.00025, 0.0005, 0.00075]' ] || fail "--warmup: the rates"
cp c.jsonl smooth0.jsonl
changed --warmup 1 --schedule constant --attention-dropout 0 --dropout 0 --label-smoothing 0.5
[ "$(python3 -c 'import json
a, b = (json.loads(open(f).readline())["loss"] for f in ("smooth0.jsonl", "c.jsonl")); print(abs(a - b) > 1e-4)')" = True ] || fail "--label-smoothing changes no loss"
# measured every 4 updates, by another metric, until two measurements in a row are no better (nothing moves here); the state lies where it was asked for
run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv --dev dev.tsv --batch-tokens 256 --lr 1e-30 --eval-every 4 --patience 2 --metric f1 --checkpoint p.state --checkpoint-every 5 -q -o c.xc --log c.jsonl --json
expect_code 0
[ "$(json '["stopped_early"] and v["steps"] == 8 and v["dev"]["metric"] == "f1" and v["dev"]["best_step"] == 0')" = True ] || fail "--eval-every, --patience, --metric"
[ "$(grep -c '"dev"' c.jsonl)" = 3 ] || fail "measured before the first update and every four"
[ ! -e p.state ] || fail "the checkpoint is still there"
"$XC_BIN" finetune "$tiny" -t classify -d train.tsv --batch-tokens 256 --checkpoint p.state --checkpoint-every 1 --max-steps 20000 -e 1000 -q -o never.xc >out 2>err &
pid=$!
while [ ! -e p.state ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
[ -e p.state ] && [ ! -e never.xc.train ] || fail "--checkpoint: another file"

# ---- what goes wrong, before any training ----
bad() { # OPTIONS... -- TEXT
    run "$XC_BIN" finetune "$tiny" -o x.xc -q "$@"
}
bad -t classify -d sts.tsv
expect_failure "no column 'text'"
bad -t pair -d train.tsv
expect_failure "no columns 'text_a' and 'text_b'"
printf 'label\ttext\n' >empty.tsv
bad -t classify -d empty.tsv
expect_failure 'no rows'
printf 'label\ttext\na\tx\na\ty\n' >one.tsv
bad -t classify -d one.tsv
expect_failure "all rows have the label 'a'"
printf 'label\ttext\n0\tx\n7\ty\n' >other.tsv
bad -t classify -d train.tsv --dev other.tsv
expect_failure "label '7' is none of the model's 2"
err_has 'other.tsv:3'
bad -t classify -d train.tsv --freeze nothing.like.this
expect_failure 'matches no tensor'
bad -t classify -d train.tsv --freeze 're:.*'
expect_failure 'every tensor is frozen'
bad -t classify -d train.tsv --prune magnitude
expect_failure 'is no way to prune'
bad -t classify -d train.tsv --prune magnitude=0.5 --ema 0.9
expect_failure 'moving average'
bad -t classify -d train.tsv --prune magnitude=0.5 --prune-ignore nothing.like.this
expect_failure "'nothing.like.this', which is to be left unpruned, matches no tensor"
bad -t classify -d train.tsv --prune magnitude=0.5 --prune-ignore encoder
expect_failure 'nothing to prune'
bad -t classify -d train.tsv --prune keep
expect_failure 'no zeros to keep'
bad -t classify -d train.tsv --lr 1000 --clip 0 --warmup 0 --optimizer sgd
expect_failure 'is not finite at step'
err_has "the first layer with such a number is '"
run "$XC_BIN" finetune a8.xc -t classify -d train.tsv -o x.xc -q
expect_failure 'quantized'
# ---- a bare Longformer under a new head: the first token is global, as in transformers' classifier ----
cp -r "$XC_SOURCE_ROOT/tests/vectors/arch/longformer" long
awk 'BEGIN { print "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]"; for (i = 5; i < 60; i++) print "w" i }' >long/vocab.txt
printf 'label\ttext\n0\tw5 w6\n1\tw7 w8 w9\n' >long.tsv
run "$XC_BIN" finetune long -t classify -d long.tsv -o long.xc --max-steps 1 -q
expect_code 0
run "$XC_BIN" inspect long.xc --graph
out_has 'global_first=1'
run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv
expect_usage "xcompress finetune: give -o; see 'xcompress finetune --help'"
run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv -o x.xc --patience 2
expect_usage "xcompress finetune: --patience, --metric and --eval-every need --dev; see 'xcompress finetune --help'"
run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv -o x.xc --prune-ignore encoder
expect_usage "xcompress finetune: --prune-ignore needs --prune; see 'xcompress finetune --help'"
[ ! -e x.xc ] || fail "a failed training left a file"
