# tokenize, embed, classify, tag: a line is a text, whatever is in it.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
data=$XC_SOURCE_ROOT/tests/data

run "$XC_BIN" compress "$tiny" -o m.xc --quantize int8
expect_code 0
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
rows() { python3 -c 'import sys; h = open(sys.argv[1], "rb").read(128); print(h[:6] == b"\x93NUMPY" and eval(h[10:])["shape"])' "$1"; }

# ---- lines: CR LF, empty, NUL, invalid UTF-8, no end ----
printf 'a man\r\n\na\0b\n\377\376\nlast' >lines.txt
run "$XC_BIN" tokenize m.xc --file lines.txt
expect_code 0
[ "$(wc -l <out)" = 5 ] || fail "not a line of ids for every line"
[ "$(sed -n 2p out)" = '2 3' ] || fail "an empty text is [CLS] [SEP]"
cp out plain
zstd -q lines.txt
run "$XC_BIN" tokenize m.xc --file lines.txt.zst
same out plain
"$XC_BIN" tokenize m.xc <lines.txt >out
same out plain
"$XC_BIN" tokenize "$tiny" <lines.txt >out
same out plain
run "$XC_BIN" tokenize m.xc -f lines.txt --json
expect_json
[ "$(json '["rows"]')" = 5 ] || fail "rows"
[ "$(json '["ids"][1]')" = '[2, 3]' ] || fail "ids"
run "$XC_BIN" tokenize m.xc -f lines.txt --no-special
[ "$(sed -n 2p out)" = '' ] || fail "--no-special"
: >empty.txt
run "$XC_BIN" tokenize m.xc -f empty.txt
expect_code 0
expect_out

# ---- long lines ----
python3 -c 'print("word " * 200000)' >long.txt
run "$XC_BIN" tokenize m.xc -f long.txt
[ "$(wc -w <out)" = 512 ] || fail "not cut to 512 ids"
run "$XC_BIN" tokenize m.xc -f long.txt --max-tokens 10
[ "$(wc -w <out)" = 10 ] || fail "not cut to 10 ids"
run "$XC_BIN" tokenize m.xc -f long.txt --no-truncate
[ "$(wc -w <out)" -ge 200002 ] || fail "--no-truncate cut"
run "$XC_BIN" embed m.xc -f long.txt -o long.npy
expect_code 0
err_has 'warning: 1 texts were cut to the model'

# ---- embed: .npy and text are the same numbers, for any batch and threads ----
zstd -dcq "$data/tatoeba.en.txt.zst" | head -n 300 >some.txt
run "$XC_BIN" embed m.xc -f some.txt -o a.npy --json
expect_code 0
expect_json
[ "$(json '["rows"]') $(json '["cols"]')" = '300 32' ] || fail "rows and cols"
[ "$(rows a.npy)" = '(300, 32)' ] || fail "header"
[ "$(wc -c <a.npy)" = $((128 + 300 * 32 * 4)) ] || fail "size"
for how in '--batch 1' '--batch 7' '--threads 1' '--threads 3 --batch 64'; do
    # shellcheck disable=SC2086
    run "$XC_BIN" embed m.xc -f some.txt -o b.npy $how
    same a.npy b.npy
done
"$XC_BIN" embed m.xc <some.txt >text
python3 - <<'PY' || fail "text and .npy differ"
import struct
raw = open("a.npy", "rb").read()[128:]
rows = [[float(x) for x in line.split()] for line in open("text")]
flat = [x for row in rows for x in row]
assert struct.pack("<%df" % len(flat), *flat) == raw
PY
run "$XC_BIN" embed m.xc -f empty.txt -o e.npy
expect_code 0
[ "$(rows e.npy)" = '(0, 32)' ] || fail "no rows"
run "$XC_BIN" embed m.xc -f missing.txt -o x.npy
expect_failure 'missing.txt'
[ ! -e x.npy ] || fail "a failure left a file"
run "$XC_BIN" embed m.xc -f some.txt -o no/such/x.npy
expect_failure 'no/such'

# ---- classify ----
run "$XC_BIN" eval m.xc -t probe --train "$data/subj.train.tsv.zst" -d "$data/subj.dev.tsv.zst" --export-head head.xc -q
expect_code 0
run "$XC_BIN" classify head.xc -f some.txt
expect_code 0
[ "$(grep -cE '^[01]	(0\.[5-9][0-9]*|1\.000000)$' out)" = 300 ] || fail "not a label and a probability for every line"
run "$XC_BIN" classify head.xc -f some.txt --all --json
expect_json
[ "$(json '["answers"][0][0]["probability"] >= v["answers"][0][1]["probability"]')" = True ] || fail "order"
printf 'a\tb\nno tab\n' >pairs.txt
run "$XC_BIN" classify head.xc --pairs -f pairs.txt
expect_failure "pairs.txt:2: no tab between two texts: 'no tab'"
run "$XC_BIN" classify m.xc -f some.txt
expect_failure "is a model for 'embed', not a classifier"
run "$XC_BIN" embed head.xc -f some.txt
expect_failure "is a model for 'classify', which gives no embedding"

# ---- tag ----
run "$XC_BIN" tag m.xc -f some.txt
expect_failure "is a model for 'embed', not a tagger"
mkdir tagger
cp "$XC_SOURCE_ROOT/tests/vectors/arch/bert_tag/config.json" "$XC_SOURCE_ROOT/tests/vectors/arch/bert_tag/model.safetensors" tagger
{ printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; for c in a b c d e f g h i j k l m n o p q r s t u v w x y z; do printf '%s\n##%s\n' $c $c; done; printf '.\n,\n?\n'; } >tagger/vocab.txt
printf 'ab  c\td\r\n\n a\0b \n' >words.txt
run "$XC_BIN" tag tagger -f words.txt
expect_code 0
[ "$(cut -f 1 out | tr '\n' '/')" = 'ab/c/d///a/b//' ] || fail "words"
[ "$(grep -cE '	(O|B-X|I-X)$' out)" = 5 ] || fail "tags"
grep -v '^$' out >gold.conll
run "$XC_BIN" eval tagger -t tag -d gold.conll --json
expect_code 0
run "$XC_BIN" tag tagger -f words.txt --json
expect_json
[ "$(json '["sentences"][0]["words"]')" = "['ab', 'c', 'd']" ] || fail "json words"
