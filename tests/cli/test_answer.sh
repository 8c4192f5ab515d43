# answer: question answering from random weights to the file, by the program alone: finetune, eval, answer, compress, distill, check, convert. Names, places and times stand in any
# order, so that a model must find the one that is asked for; some have two words.
. "$(dirname "$0")/lib.sh"

# rows SEED N
rows() {
    awk -v seed="$1" -v n="$2" 'BEGIN {
        srand(seed)
        split("anna,bob,carl,dora lee,emma stone", a, ","); split("paris,rome,new york,old town,oslo", b, ","); split("monday,friday,next week,may,june", c, ",")
        print "question\tcontext\tanswer"
        for (i = 0; i < n; i++) {
            w[1] = a[1 + int(rand() * 5)]; w[2] = b[1 + int(rand() * 5)]; w[3] = c[1 + int(rand() * 5)]
            k = 1 + int(rand() * 3); f = 1 + int(rand() * 3); g = 1 + (f + int(rand() * 2)) % 3
            print (k == 1 ? "who" : k == 2 ? "where" : "when") " was it?\t" w[f] " and " w[g] ", then " w[6 - f - g] ".\t" w[k]
        }
    }'
}
rows 1 600 >train.tsv
rows 2 150 >dev.tsv
words='[PAD] [UNK] [CLS] [SEP] [MASK] who where when was it ? . , and then anna bob carl dora lee emma stone paris rome new york old town oslo monday friday next week may june'
small='"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 40, "type_vocab_size": 2, "hidden_act": "gelu"'
for model in bert longformer blind; do
    mkdir $model
    printf '%s\n' $words >$model/vocab.txt
done
echo "{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"], $small, \"max_position_embeddings\": 24}" >bert/config.json
long="\"model_type\": \"longformer\", $small, \"max_position_embeddings\": 25, \"attention_window\": 4, \"pad_token_id\": 0, \"sep_token_id\": 3"
echo "{\"architectures\": [\"LongformerForQuestionAnswering\"], $long}" >longformer/config.json
echo "{\"architectures\": [\"LongformerModel\"], $long}" >blind/config.json

# learn MODEL OUT [OPTION...]: from random weights
learn() {
    from=$1 to=$2
    shift 2
    run "$XC_BIN" convert "$from" -o start.xc --init random --seed 1 -q
    expect_code 0
    run "$XC_BIN" finetune start.xc -t answer -d train.tsv --dev dev.tsv -o "$to" --epochs 10 --batch-tokens 256 --lr 3e-3 --dropout 0 --attention-dropout 0 --threads 1 -q --json "$@"
    expect_code 0
}
# reached MIN MAX: f1 of the weights that are kept
reached() { awk -v f="$(json '["dev"]["best"]')" -v lo="$1" -v hi="$2" 'BEGIN { exit !(f >= lo && f <= hi) }' || fail "f1 is $(json '["dev"]["best"]'), not $1 to $2"; }

# ---- BERT ----
learn bert bert.xc
[ "$(json '["new_head"]')" = True ] || fail "the head is new"
[ "$(json '["dev"]["metric"]')" = f1 ] || fail "metric"
reached 0.99 1
run "$XC_BIN" eval bert.xc -t answer -d dev.tsv -q --json
expect_code 0
[ "$(json '["rows"]')" = 150 ] || fail "rows"
[ "$(json '["metrics"]["exact_match"]["value"]')" = 1.0 ] || fail "exact match"
learn bert again.xc --threads 3 --max-steps 20
learn bert one.xc --threads 1 --max-steps 20
cmp -s again.xc one.xc || fail "the file depends on the number of threads"
printf 'where was it?\tmay and Emma Stone, then new  york.\nwho was it?\tbob and rome, then june.\n' >lines
run "$XC_BIN" answer bert.xc --file lines -q
expect_code 0
cut -f1 out >answers
printf 'new  york\nbob\n' | cmp -s - answers || fail "the answers"
run "$XC_BIN" answer bert.xc --file lines -q --json
expect_json
[ "$(json '["rows"]')" = 2 ] || fail "rows of answer"
[ "$(json '["answers"][0]["begin"]')" = 25 ] || fail "place of the answer"
[ "$(json '["answers"][0]["answer"]')" = 'new  york' ] || fail "answer"
for q in int8 int4; do # the question is answered by integers as well
    run "$XC_BIN" compress bert.xc --quantize $q -o $q.xc -q
    expect_code 0
    run "$XC_BIN" eval $q.xc -t answer -d dev.tsv -r bert.xc -q --json
    expect_code 0
    awk -v f="$(json '["metrics"]["f1"]["value"]')" 'BEGIN { exit !(f > 0.97) }' || fail "$q: f1"
    json '["flip_rate"], v["difference"]["f1"]["value"]' >/dev/null || fail "a paired comparison"
done
printf 'accuracy: [{task: answer, data: dev.tsv, metric: exact_match, min: 0.97, reference: bert.xc, max_drop: 0.03}]\n' >budget.yaml
run "$XC_BIN" check int8.xc --budget budget.yaml
expect_code 0

# ---- long texts: windows that share tokens ----
awk -F'\t' 'NR == 1 { print; next } NR < 60 { print $1 "\tand then it was " $2 " and then it was, and then it was then.\t" $3 }' dev.tsv >long.tsv
run "$XC_BIN" eval bert.xc -t answer -d long.tsv -q --json
expect_code 0
awk -v f="$(json '["metrics"]["f1"]["value"]')" -v t="$(json '["tokens"]')" 'BEGIN { exit !(f > 0.3 && t > 59 * 30) }' || fail "answers in long texts"
run "$XC_BIN" eval bert.xc -t answer -d long.tsv --stride 17 -q --json
expect_failure "take a smaller --stride"

# ---- a student ----
run "$XC_BIN" distill bert.xc -t answer -d train.tsv --dev dev.tsv -s layers=1 --init random -o student.xc --seed 2 --threads 1 -q --json -r /dev/stdin <<R
stages:
  - {name: prediction, epochs: 12, lr: 3e-3, losses: {logits: 1}}
dropout: 0
attention_dropout: 0
batch_tokens: 256
R
expect_code 0
reached 0.9 1

# ---- Longformer: a window of two tokens to each side does not reach the question, which is global ----
learn longformer long.xc --epochs 14
[ "$(json '["new_head"]')" = False ] || fail "the head was there"
reached 0.95 1
cp out with
learn blind blind.xc --epochs 5
reached 0 0.7
run "$XC_BIN" inspect long.xc --graph
out_has 'segment.1(%ids) end_id=3 second=false'
run "$XC_BIN" eval long.xc -t answer -d dev.tsv -q --json
expect_code 0
json '["metrics"]' >want
printf 'passes:\n  - drop_layers: {keep: 1, by: last}\n' >drop.yaml # the flags go to the layers that stay
run "$XC_BIN" compress long.xc -r drop.yaml -o dropped.xc -q
expect_code 0
run "$XC_BIN" inspect dropped.xc --graph
out_has 'second=false'
out_lacks 'layer.1.attention'
run "$XC_BIN" convert long.xc -o hf -q
expect_code 0
grep -q LongformerForQuestionAnswering hf/config.json || fail "the class of the checkpoint"
run "$XC_BIN" eval hf -t answer -d dev.tsv -q --json
json '["metrics"]' | cmp -s want - || fail "the directory answers otherwise"
printf 'passes:\n  - prune_vocabulary\n' >cut.yaml
sed 1d dev.tsv | tr '\t' ' ' | grep -v 'oslo' >texts
run "$XC_BIN" compress long.xc -r cut.yaml --calibrate texts -o cut.xc -q
expect_code 0
run "$XC_BIN" inspect cut.xc --graph
out_has 'segment.1(%ids) end_id='
grep -v oslo dev.tsv >some.tsv
run "$XC_BIN" eval cut.xc -t answer -d some.tsv -r long.xc -q --json
[ "$(json '["flip_rate"]')" = 0.0 ] || fail "a smaller vocabulary answers otherwise"
run "$XC_BIN" finetune hf -t answer -d train.tsv -o more.xc --max-steps 2 -q --json
[ "$(json '["new_head"]')" = False ] || fail "the head of the directory is there"
run "$XC_BIN" convert blind.xc -o enc -q # trained on a plain encoder: no checkpoint of transformers has such attention
expect_code 1

# ---- SQuAD's JSON, questions without an answer ----
python3 - <<'PY'
import json
rows = [line.rstrip("\n").split("\t") for line in open("dev.tsv")][1:]
data = [{"paragraphs": [{"context": c, "qas": [{"id": str(i), "question": q, "answers": [{"text": a, "answer_start": c.index(a)}]}]}]} for i, (q, c, a) in enumerate(rows)]
json.dump({"version": "1.1", "data": data}, open("dev.json", "w"))
PY
run "$XC_BIN" eval bert.xc -t answer -d dev.json -q --json
expect_code 0
[ "$(json '["metrics"]["exact_match"]["value"]')" = 1.0 ] || fail "exact match of the JSON"
awk -F'\t' 'NR > 1 && NR % 3 == 0 { $2 = "and then it was."; $3 = "" } { print $1 "\t" $2 "\t" $3 }' train.tsv >train2.tsv
awk -F'\t' 'NR > 1 && NR % 3 == 0 { $2 = "and then it was."; $3 = "" } { print $1 "\t" $2 "\t" $3 }' dev.tsv >dev2.tsv
run "$XC_BIN" finetune bert.xc -t answer -d train2.tsv --dev dev2.tsv -o two.xc --epochs 3 --batch-tokens 256 --lr 2e-3 --threads 1 -q --json
expect_code 0
[ "$(json '["new_head"]')" = False ] || fail "the head was there"
reached 0.97 1
printf 'who was it?\tand then it was.\n' >lines
run "$XC_BIN" answer two.xc --may-lack --file lines -q
expect_code 0
[ "$(cut -f1 out)" = "" ] || fail "an answer where there is none"

# ---- multiple choice: which of three words is in the text; in Longformer the choice is what is global ----
# choices SEED N
choices() {
    awk -v seed="$1" -v n="$2" 'BEGIN {
        srand(seed)
        m = split("anna bob carl paris rome oslo monday friday may june", w, " ")
        print "choice1\tlabel\ttext\tchoice0\tchoice2"
        for (i = 0; i < n; i++) {
            for (k = m; k > 1; k--) { j = 1 + int(rand() * k); t = w[k]; w[k] = w[j]; w[j] = t }
            k = int(rand() * 3)
            for (j = 0; j < 3; j++) c[j] = j == k ? w[1 + int(rand() * 3)] : w[4 + j]
            print c[1] "\t" k "\t" w[1] " and " w[2] " and " w[3] "\t" c[0] "\t" c[2]
        }
    }'
}
choices 1 500 >train.tsv
choices 2 150 >dev.tsv
mkdir chooser
cp longformer/vocab.txt chooser
echo "{\"architectures\": [\"LongformerForMultipleChoice\"], $long}" >chooser/config.json
run "$XC_BIN" convert chooser -o start.xc --init random --seed 1 -q
run "$XC_BIN" finetune start.xc -t choice -d train.tsv --dev dev.tsv -o choice.xc --epochs 6 --batch-tokens 256 --lr 4e-3 --dropout 0 --attention-dropout 0 --threads 1 -q --json
expect_code 0
[ "$(json '["new_head"]')" = False ] || fail "the head was there"
reached 0.6 1
accuracy=$(json '["dev"]["best"]')
run "$XC_BIN" convert choice.xc -o mc -q
expect_code 0
grep -q LongformerForMultipleChoice mc/config.json || fail "the class of the checkpoint"
run "$XC_BIN" eval mc -t choice -d dev.tsv -q --json
[ "$(json '["metrics"]["accuracy"]["value"]')" = "$accuracy" ] || fail "the directory answers otherwise"
run "$XC_BIN" compress mc --quantize int8 -o mc8.xc -q
run "$XC_BIN" eval mc8.xc -t choice -d dev.tsv -r choice.xc -q --json
awk -v a="$(json '["metrics"]["accuracy"]["value"]')" -v b="$accuracy" 'BEGIN { exit !(a > b - 0.05) }' || fail "int8 chooses worse" # half trained: many rows are close
printf 'anna and bob\tanna\nanna and bob\tmay\n' >lines
run "$XC_BIN" classify choice.xc --pairs --file lines -q
expect_code 0
[ "$(wc -l <out)" = 2 ] || fail "a number for each choice"
run "$XC_BIN" distill choice.xc -t choice -d train.tsv -s layers=1 -o student.xc --threads 1 -q --json -r /dev/stdin <<R
stages:
  - {name: prediction, epochs: 1, max_steps: 10, losses: {logits: 1, labels: 1}}
R
expect_code 0

# ---- a checkpoint without such a head gets one, and is a checkpoint of that class ----
printf 'question\tcontext\tanswer\nwho ran?\tTwo dogs ran home.\tdogs\n' >few.tsv
printf 'label\ttext\tchoice0\tchoice1\n1\tone cat\tran\tsat\n' >fewc.tsv
for task in answer choice; do
    [ $task = answer ] && data=few.tsv class=BertForQuestionAnswering || data=fewc.tsv class=BertForMultipleChoice
    run "$XC_BIN" finetune "$XC_SOURCE_ROOT/tests/data/tiny-bert" -t $task -d $data -o new.xc --max-steps 2 --threads 1 --no-golden -q --json
    expect_code 0
    [ "$(json '["new_head"]')" = True ] || fail "the head is new"
    rm -rf new
    run "$XC_BIN" convert new.xc -o new -q
    expect_code 0
    grep -q $class new/config.json || fail "the class of the checkpoint"
    run "$XC_BIN" eval new -t $task -d $data -q --json
    json '["metrics"]' >want
    run "$XC_BIN" eval new.xc -t $task -d $data -q --json
    json '["metrics"]' | cmp -s want - || fail "the directory answers otherwise"
done

# ---- mistakes ----
run "$XC_BIN" eval bert.xc -t tag -d dev.tsv -q
expect_failure "task 'tag' needs a tagger; this is a model for 'answer'"
run "$XC_BIN" answer "$XC_SOURCE_ROOT/tests/data/tiny-bert" --file lines
expect_failure "not for question answering"
printf 'no tab\n' >lines
run "$XC_BIN" answer bert.xc --file lines
expect_failure "lines:1: no tab between two texts"
run "$XC_BIN" eval bert.xc -t tag -d dev.tsv --stride 3
expect_usage "xcompress eval: --stride is for task answer, which cuts long texts into windows; see 'xcompress eval --help'"
printf 'question\tcontext\tanswer\nwho was it?\tanna\tbob\n' >bad.tsv
run "$XC_BIN" finetune bert.xc -t answer -d bad.tsv -o no.xc -q
expect_failure "bad.tsv:2: answer 'bob' is not in its context"
[ ! -e no.xc ] || fail "a file was left behind"
