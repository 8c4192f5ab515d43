# compress, inspect, convert, selftest, reproduce: a checkpoint to a file and back, and all that can go wrong on the way.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
other=$XC_SOURCE_ROOT/tests/vectors/arch/bert

same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# ---- the straight way ----
run "$XC_BIN" compress "$tiny" -o a.xc --quantize int8
expect_code 0
[ -s a.xc ] || fail "no file was made"
run "$XC_BIN" compress "$tiny" -o b.xc --quantize int8 --threads 2 --json
expect_code 0
expect_json
[ "$(json '["output_bytes"]')" = "$(wc -c <b.xc)" ] || fail "output_bytes is not the size of the file"
same a.xc b.xc
run "$XC_BIN" compress "$tiny" --quantize int8 --plan --json
expect_code 0
expect_json
[ "$(json '["output_bytes"]')" = "$(wc -c <a.xc)" ] || fail "the plan is not exact"
printf 'passes:\n  - low_rank: {targets: ["re:embeddings.word_embeddings.*"], rank: 16}\n' >factorised.yaml # a linear stands before the table of positions
run "$XC_BIN" compress "$tiny" -r factorised.yaml --no-golden -q -o factorised.xc
run "$XC_BIN" compress factorised.xc --quantize int8 --plan
expect_code 0
out_has "it would take"
run "$XC_BIN" compress "$tiny" -o plan.xc --quantize int8 --plan
expect_code 0
[ ! -e plan.xc ] || fail "--plan made a file"
run "$XC_BIN" compress "$tiny" -o small.xc --quantize int8 --store small
expect_code 0
[ "$(wc -c <small.xc)" -lt "$(wc -c <a.xc)" ] || fail "--store small is not smaller"
run "$XC_BIN" compress "$tiny" -o adaptive.xc --quantize int8 --attention adaptive:eps=1e-3
expect_code 0
run "$XC_BIN" inspect adaptive.xc --graph
expect_code 0
out_has 'kind=adaptive'
out_has 'eps=0.001'
run "$XC_BIN" selftest adaptive.xc
expect_code 0
run "$XC_BIN" compress "$tiny" -o no.xc --attention adaptive:eps=0.9
expect_failure "'eps' of pass 'adaptive' is '0.9'"
run "$XC_BIN" compress "$tiny" -o multipole.xc --quantize int8 --attention multipole:eps=0.25
expect_code 0
run "$XC_BIN" inspect multipole.xc --graph
expect_code 0
out_has 'kind=multipole'
out_has "eps=0.25"
run "$XC_BIN" selftest multipole.xc
expect_code 0
run "$XC_BIN" compress "$tiny" -o no.xc --attention multipole:eps=nan
expect_failure "'eps' of pass 'adaptive' is 'nan'"
run "$XC_BIN" compress "$tiny" -o no.xc --attention sparse
expect_failure "--attention 'sparse' is not KIND"
run "$XC_BIN" compress "$tiny" --plan --attention longformer:window=8
expect_code 0
out_has 'longformer, window 8'
[ ! -e no.xc ] || fail "a refused option left a file"
run "$XC_BIN" compress "$tiny" -o int4.xc --quantize int4 --json
expect_code 0
expect_json
[ "$(wc -c <int4.xc)" -lt "$(wc -c <a.xc)" ] || fail "int4 is not smaller than int8"
run "$XC_BIN" selftest int4.xc
expect_code 0
run "$XC_BIN" reproduce int4.xc --from "$tiny"
expect_code 0
run "$XC_BIN" compress "$tiny" -o x.xc --quantize int4 --set method=gptq
expect_code 1
grep -q -e --calibrate err || fail "gptq without texts: the cure is not named"
run "$XC_BIN" compress "$tiny" -o x.xc --quantize int4 --set group=48
expect_code 1
grep -q "32|64|128|256" err || fail "the groups that there are are not named"
printf 'A man is playing a guitar.\nTwo dogs run in the city.\n' >texts.txt
run "$XC_BIN" compress "$tiny" -o s.xc --quantize int8 --static --calibrate texts.txt --json
expect_code 0
expect_json
[ "$(json '["calibration"]["texts"]')" = 2 ] || fail "two texts were given"

for f in a.xc small.xc s.xc; do
    run "$XC_BIN" selftest $f
    expect_code 0
done
run "$XC_BIN" selftest a.xc --json
expect_code 0
expect_json
[ "$(json '["ok"]')" = True ] || fail "not ok"
run "$XC_BIN" reproduce a.xc --from "$tiny"
expect_code 0
run "$XC_BIN" reproduce a.xc --from "$tiny" --json
expect_code 0
expect_json
[ "$(json '["same"]')" = True ] && [ "$(json '["sections_same"] > 5')" = True ] || fail "reproduce --json"
run "$XC_BIN" reproduce small.xc --from "$tiny" # what is stored is compared, not how
expect_code 0
run "$XC_BIN" reproduce s.xc --from "$tiny"
expect_failure --calibrate
run "$XC_BIN" reproduce s.xc --from "$tiny" --calibrate texts.txt --threads 2
expect_code 0
printf 'Other texts.\nTwo of them.\n' >other.txt
run "$XC_BIN" reproduce s.xc --from "$tiny" --calibrate other.txt
expect_failure other.txt
run "$XC_BIN" reproduce a.xc --from "$other"
[ "$code" -ne 0 ] || fail "another checkpoint made the same file"

for m in a.xc "$tiny"; do
    run "$XC_BIN" inspect "$m"
    expect_code 0
    run "$XC_BIN" inspect "$m" --json
    expect_code 0
    expect_json
done
run "$XC_BIN" inspect a.xc --manifest
expect_code 0
expect_json
out_lacks "$XC_SOURCE_ROOT"
run "$XC_BIN" inspect a.xc --graph
expect_code 0
cp out graph.txt
run "$XC_BIN" inspect small.xc --graph
expect_code 0
same out graph.txt

# ---- there and back ----
run "$XC_BIN" convert "$tiny" -o f32.xc
expect_code 0
run "$XC_BIN" convert f32.xc -o back
expect_code 0
run "$XC_BIN" convert back -o again.xc --json
expect_code 0
expect_json
run "$XC_BIN" inspect f32.xc --graph
cp out graph.txt
run "$XC_BIN" inspect again.xc --graph
same out graph.txt
run "$XC_BIN" compress back -o c.xc --quantize int8 --quiet
expect_code 0
run "$XC_BIN" inspect a.xc --json
cp out a.json
run "$XC_BIN" inspect c.xc --json
python3 -c 'import json; a, c = (json.load(open(f))["layers"] for f in ("a.json", "out")); exit(sorted(map(str, a)) != sorted(map(str, c)))' || fail "compressed after a round trip, the layers differ"

# a quantized model, whose graph has scales, as a checkpoint and compressed again
cp "$XC_SOURCE_ROOT/tests/data/tatoeba.en.txt.zst" lines.zst
run "$XC_BIN" convert a.xc -o plain --json
expect_code 0
expect_json
[ "$(json '["bytes"]')" = "$(wc -c <plain/model.safetensors)" ] || fail "bytes of the directory's weights"
run "$XC_BIN" inspect a.xc --graph
out_has .smooth
run "$XC_BIN" inspect plain --graph
out_lacks .smooth
run "$XC_BIN" compress plain -o d.xc --quantize int8 --quiet
expect_code 0
run "$XC_BIN" inspect d.xc --graph
cp out d.graph
run "$XC_BIN" inspect a.xc --graph
same out d.graph
for m in plain d.xc; do
    run "$XC_BIN" eval $m -t agreement -d lines.zst -r a.xc --json -q
    expect_code 0
    [ "$(json '["cosine"]["min"] > 0.99')" = True ] || fail "$m: what the round trip changed"
done
run "$XC_BIN" convert "$XC_SOURCE_ROOT/tests/vectors/arch/bert_f16_k312" -o half
expect_code 0
grep -q '"dtype": "F16"' half/model.safetensors || fail "f16 weights were not written as stored"
run "$XC_BIN" convert "$XC_SOURCE_ROOT/tests/vectors/arch/bert_f16_k312" -o half --dtype f32
expect_code 0
! grep -q '"dtype": "F16"' half/model.safetensors || fail "--dtype f32"
# fewer tokens, layers, neurons, more positions: config.json says so, layers are numbered anew, and the directory gives the same answers, bit for bit
printf 'passes:\n  - prune_vocabulary\n  - drop_layers: {targets: ["re:.*layer\\\\.0\\\\..*"]}\n  - shrink: {keep_neurons: 0.5}\n  - swap_attention: {kind: dense, positions: 1024}\n' >smaller.yaml
zstd -dcq lines.zst | head -n 20 >few.txt
run "$XC_BIN" compress "$tiny" -r smaller.yaml -c few.txt --no-golden -q -o few.xc
expect_code 0
run "$XC_BIN" convert few.xc -o few -q
expect_code 0
python3 -c 'import json; c = json.load(open("few/config.json")); exit(not 10 < c["vocab_size"] < 345 or [c[k] for k in ("num_hidden_layers", "intermediate_size", "max_position_embeddings")] != [1, 32, 1024])' ||
    fail "sizes in config.json"
for m in few.xc few; do
    run "$XC_BIN" tokenize $m --file few.txt
    cp out ids.$m
    run "$XC_BIN" embed $m --file few.txt -q -o $m.npy
    expect_code 0
done
cmp -s ids.few.xc ids.few || fail "token ids of a smaller model after a round trip"
cmp -s few.xc.npy few.npy || fail "embeddings of a smaller model after a round trip"

printf 'passes:\n  - shrink: {keep_heads: 0.5}\n' >heads.yaml
run "$XC_BIN" compress "$tiny" -r heads.yaml -c few.txt --no-golden -q -o heads.xc
run "$XC_BIN" convert heads.xc -o heads -q
expect_code 1
err_has "axis 0 has 16 elements, config.json asks for 32"

# a head that finetune made: on BERT's pooler it is a class of transformers, whose names have the prefix; on the mean it is none
printf 'label\ttext\n0\tone\n1\ttwo\n0\tthree\n1\tfour\n' >rows.tsv
for pooling in pooler mean first; do
    run "$XC_BIN" finetune "$tiny" -t classify -d rows.tsv --pooling $pooling --max-steps 2 --no-golden -q -o $pooling.xc
    expect_code 0
    run "$XC_BIN" convert $pooling.xc -o made.$pooling -q
    [ $pooling = pooler ] || { expect_code 1; err_has "the model's classifier reads the"; err_has "--pooling pooler"; [ ! -e made.$pooling ] || fail "something was written"; }
done
run "$XC_BIN" classify pooler.xc --file few.txt -q
cp out answers
run "$XC_BIN" classify made.pooler --file few.txt -q
expect_code 0
same out answers
python3 - made.pooler/model.safetensors <<'END' || fail "names of an encoder below a new head"
import json, struct, sys
data = open(sys.argv[1], "rb").read()
names = [n for n in json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]]) if n != "__metadata__"]
sys.exit(not all(n.startswith(("bert.", "classifier.")) for n in names) or "bert.pooler.dense.weight" not in names)
END

run "$XC_BIN" convert a.xc -o half.xc --dtype f16
expect_code 2
run "$XC_BIN" convert a.xc -o half --store small
expect_code 2

# ---- wrong usage ----
run "$XC_BIN" compress "$tiny" -o x.xc --quantize int9
expect_code 2
[ "$(wc -l <err)" -eq 1 ] || fail "wrong usage is not one line"
err_has int9
for args in "compress" "compress $tiny" "convert $tiny" "inspect" "selftest" "reproduce a.xc" "compress $tiny $tiny -o x.xc" "compress $tiny -o x.xc --threads x"; do
    run "$XC_BIN" $args
    expect_code 2
done

# ---- failures: exit code 1, one line, no output ----
run "$XC_BIN" compress missing -o x.xc --quiet
expect_failure missing
run "$XC_BIN" inspect missing.xc
expect_failure missing.xc
run "$XC_BIN" selftest missing.xc
expect_failure missing.xc
run "$XC_BIN" selftest "$tiny"
expect_failure tiny-bert
run "$XC_BIN" convert missing -o x.xc --quiet
expect_failure missing
run "$XC_BIN" reproduce a.xc --from missing --quiet
expect_failure missing
run "$XC_BIN" compress "$tiny" -o no/such/dir/x.xc --quantize int8 --quiet
expect_failure no/such/dir
run "$XC_BIN" compress "$tiny" -o x.xc --quantize int8 --quiet --calibrate missing.txt
expect_failure missing.txt
run "$XC_BIN" compress "$tiny" -o x.xc --quantize int8 --quiet --static
expect_code 2
err_has --calibrate
mkdir readonly
chmod a-w readonly
if [ ! -w readonly ]; then # root may write anywhere
    run "$XC_BIN" compress "$tiny" -o readonly/x.xc --quantize int8 --quiet
    expect_failure readonly
fi
[ ! -e x.xc ] || fail "a failure left a file"

# ---- damaged files ----
size=$(wc -c <a.xc)
for n in 0 1 8 31 63 64 100 200 1000 $((size / 2)) $((size - 1)); do
    head -c "$n" a.xc >cut.xc
    for verb in inspect selftest; do
        run "$XC_BIN" $verb cut.xc
        expect_failure cut.xc
    done
    run "$XC_BIN" convert cut.xc -o x.xc --quiet
    expect_failure cut.xc
done
for n in 1 100 5000 100000; do
    python3 -c 'import random, sys; random.seed(int(sys.argv[1])); sys.stdout.buffer.write(random.randbytes(int(sys.argv[1])))' "$n" >random.xc
    run "$XC_BIN" inspect random.xc
    expect_failure random.xc
done
i=0
while [ $i -lt 12 ]; do # one flipped bit anywhere is found
    python3 -c 'import sys; b = bytearray(open("a.xc", "rb").read()); at = len(b) * (2 * int(sys.argv[1]) + 1) // 24; b[at] ^= 16; open("flip.xc", "wb").write(b)' $i
    run "$XC_BIN" selftest flip.xc --quick
    [ "$code" -ne 0 ] || cmp -s flip.xc a.xc || echo "flip $i is in padding?"
    [ "$code" -eq 0 ] || expect_failure flip.xc
    i=$((i + 1))
done
[ ! -e x.xc ] || fail "a failure left a file"

# ---- the old file stays ----
cp a.xc old.xc
run sh -c 'ulimit -f 8; trap "" XFSZ; exec "$0" compress "$1" -o old.xc --quiet' "$XC_BIN" "$tiny"
[ "$code" -eq 1 ] || fail "a file of 180 KB was written where 4 KB were allowed"
same old.xc a.xc
for delay in 0.001 0.003 0.005 0.01 0.02 0.03; do
    "$XC_BIN" compress "$tiny" -o old.xc --quantize int8 --quiet >out 2>err &
    pid=$!
    sleep $delay
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    same old.xc a.xc # the same bytes, whether it was replaced or not
done
for sig in INT TERM; do
    "$XC_BIN" compress "$tiny" -o old.xc --quantize int8 --quiet >out 2>err &
    pid=$!
    sleep 0.005
    kill -$sig $pid 2>/dev/null
    wait $pid 2>/dev/null
    same old.xc a.xc
done
if [ -w /dev/full ]; then
    ran='inspect >/dev/full'
    : >out
    "$XC_BIN" inspect a.xc --graph >/dev/full 2>err
    code=$?
    [ "$code" -eq 1 ] || fail "a result that was not written is no success"
fi
