#!/bin/sh
# test_long_documents.sh XCOMPRESS DIR CHECKPOINT: the recipes of examples/long-documents on tiny models: every kind from a specification, and a swapped model that learns from its original.
set -eu
xc=$1 here=$2/long-documents tiny=$3
tmp=$(mktemp -d "${TMPDIR:-/tmp}/xc-long.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
fail() { echo "test_long_documents: $*" >&2; exit 1; }

awk 'BEGIN { print "label\ttext"; for (i = 0; i < 24; i++) printf "%d\t[MAX %d [MIN 3 %d ] ]\n", (i % 4 > 1), i % 10, (i * 7) % 10 }' >"$tmp/train.tsv"
"$xc" convert "$here/listops" -o "$tmp/start.xc" --init random --seed 1 -q >/dev/null
"$xc" convert "$here/listops" -o "$tmp/again.xc" --init random --seed 1 -q >/dev/null
cmp -s "$tmp/start.xc" "$tmp/again.xc" || fail "a seed does not give the same model"
if "$xc" convert "$tmp/start.xc" -o "$tmp/no.xc" --init random -q 2>"$tmp/err"; then fail "weights were drawn over those of a file"; fi
grep -q 'has its own' "$tmp/err" || fail "$(cat "$tmp/err")"
echo '[MAX 3 [SM 4 9 ] ]' | "$xc" tokenize "$tmp/start.xc" --no-special | grep -qx '15 16 8 15 19 9 14 20 20' || fail "tokens of listops"
# Parts of listops rows: their values, once each, and no row with another label than its value
printf 'label\ttext\n4\t[MED 3 [MAX 1 4 ] [SM 8 7 ] 5 ]\n4\t[MIN [MED 9 4 1 ] [MAX 1 4 ] ]\n' >"$tmp/rows.tsv"
awk -v least=3 -v most=8 -f "$here/listops_parts.awk" "$tmp/rows.tsv" | tr '\n' ';' >"$tmp/parts"
[ "$(cat "$tmp/parts")" = "label	text;4	[MAX 1 4 ];5	[SM 8 7 ];4	[MED 9 4 1 ];" ] || fail "parts: $(cat "$tmp/parts")"
sed 's/^4/5/' "$tmp/rows.tsv" >"$tmp/wrong.tsv"
if awk -v least=3 -v most=8 -f "$here/listops_parts.awk" "$tmp/wrong.tsv" >/dev/null 2>"$tmp/err"; then fail "a wrong label was taken"; fi
grep -q 'row 2: the value is 4, the label 5' "$tmp/err" || fail "$(cat "$tmp/err")"
for kind in dense longformer linformer reformer synthesizer; do
    "$xc" compress "$tmp/start.xc" -r "$here/table/$kind.yaml" -c "$tmp/train.tsv" -o "$tmp/$kind.xc" --no-golden -q >"$tmp/said"
    [ $kind = dense ] || grep -q 'no attention' "$tmp/said" || fail "$kind: no controls: $(cat "$tmp/said")"
    "$xc" finetune "$tmp/$kind.xc" -t classify -d "$tmp/train.tsv" -e 1 --batch-rows 8 --attention-dropout 0 -o "$tmp/trained.xc" --no-golden -q >/dev/null
    "$xc" compress "$tmp/trained.xc" --quantize int8 -o "$tmp/int8.xc" --no-golden -q >/dev/null
    [ "$("$xc" eval "$tmp/int8.xc" -t classify -d "$tmp/train.tsv" -q --json | grep -c '"accuracy"')" = 1 ] || fail "$kind in int8 does not answer"
done

# A specification that names a kind itself
mkdir "$tmp/spec"
cp "$here/listops/vocab.txt" "$here/listops/tokenizer_config.json" "$tmp/spec"
for kind in '"kind": "linformer", "slots": 16' '"kind": "synthesizer", "scores": ["random", "dot"], "mixture": true, "rank": 4'; do
    sed "s/\"hidden_size\"/\"attention\": {$kind}, &/; s/4096/256/" "$here/listops/config.json" >"$tmp/spec/config.json"
    "$xc" convert "$tmp/spec" -o "$tmp/of.xc" --init random -q >/dev/null
    "$xc" finetune "$tmp/of.xc" -t classify -d "$tmp/train.tsv" -e 1 --batch-rows 8 --attention-dropout 0 -o "$tmp/trained.xc" --no-golden -q >/dev/null
done

printf 'label\ttext\n0\ta man is playing a guitar\n1\ttwo dogs run\n0\tit rains in the city\n1\tshe reads books\n' >"$tmp/texts.tsv"
"$xc" finetune "$tiny" -t classify -d "$tmp/texts.tsv" -e 1 -o "$tmp/teacher.xc" --no-golden -q >/dev/null
for kind in longformer linformer none; do
    "$xc" compress "$tmp/teacher.xc" -r "$here/$kind.yaml" -c "$tmp/texts.tsv" -o "$tmp/swapped.xc" --no-golden -q >/dev/null
    "$xc" distill "$tmp/teacher.xc" -r "$here/distill.yaml" --student "$tmp/swapped.xc" -t classify -d "$tmp/texts.tsv" --dev "$tmp/texts.tsv" -o "$tmp/out.xc" --no-golden -q >/dev/null
    "$xc" inspect "$tmp/out.xc" --json >"$tmp/said" && grep -q position_embeddings "$tmp/said" || fail "$kind"
done
if "$xc" compress "$tmp/teacher.xc" -r "$here/linformer.yaml" -o "$tmp/none.xc" -q 2>"$tmp/err"; then fail "maps were made of nothing"; fi
grep -q 'linformer.yaml:3: .*--calibrate\|--calibrate.*linformer.yaml:3\|linformer.yaml:3' "$tmp/err" || fail "no line: $(cat "$tmp/err")"
[ ! -e "$tmp/none.xc" ] || fail "a file was left"
