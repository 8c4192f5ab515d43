# report: the page in HTML and Markdown, from files and from runs; the same bytes twice; nothing from outside; what is wrong is said.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# Every tag closed, no script, nothing loaded, each picture hidden from or told to those who do not see it.
sound() {
    python3 - "$1" <<'PY' || fail "$1 is not a sound page"
import html.parser, sys
VOID = {"meta", "link", "br"}
class Check(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.stack, self.svg, self.tables = [], 0, 0
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert tag not in ("script", "img", "iframe", "object"), tag
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("src", "href") or value == "data:,", (tag, name, value)
        if tag == "svg":
            self.svg += 1
            assert attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and attrs.get("aria-label")), attrs
        self.tables += tag == "table"
        if tag not in VOID: self.stack.append(tag)
    def handle_startendtag(self, tag, attrs):
        assert tag in ("rect", "path"), tag
    def handle_endtag(self, tag):
        assert self.stack and self.stack.pop() == tag, tag
text = open(sys.argv[1], encoding="utf-8").read()
assert text.startswith("<!DOCTYPE html>") and "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
check = Check()
check.feed(text)
check.close()
assert not check.stack and check.svg > 5 and check.tables > 4, (check.stack, check.svg, check.tables)
for need in ('lang="en"', 'name="viewport"', "prefers-color-scheme:dark", "@media print", "default-src 'none'"): assert need in text, need
PY
}

printf 'A man is playing a guitar.\nTwo dogs run in the city.\n' >texts.txt
printf 'score\ttext_a\ttext_b\n5\ta man eats\ta man is eating\n1\ta man eats\ttwo dogs\n3\tone\ttwo\n0\tx\tsomething else\n' >sts.tsv
run "$XC_BIN" compress "$tiny" -o a.xc --quantize int8 --calibrate texts.txt -q
echo "model: {max_bytes: 1kB, max_bits_per_weight: 32}" >b.yaml
run "$XC_BIN" eval a.xc -t sts -d sts.tsv -r "$tiny" --json -q
cp out eval.json
run "$XC_BIN" bench a.xc --tokens 4,16 --runs 10 --json -q
cp out bench.json
run "$XC_BIN" check a.xc -b b.yaml --json -q
cp out check.json

# ---- a model among its relatives ----
printf 'name\tbytes\tms\tvalue\tlow\thigh\na\t90000\t0.4\t0.80\t0.77\t0.83\n<b>&\t2700000\t0.91\t0.87\t0.85\t0.89\n' >curve.tsv
run "$XC_BIN" report a.xc --relatives curve.tsv
expect_code 0
out_has 'The line is this model'
out_has 'M0.0 200.0h0M1000.0 0.0h0'
out_has '&lt;b&gt;&amp;'
out_has '2.70 MB'
cp out curve.html
sound curve.html
run "$XC_BIN" report a.xc --relatives curve.tsv --markdown
out_has '| a | 90.0 kB | 0.4 ms | 0.8000 [0.7700, 0.8300] |'
for bad in 'a\t1\t1' 'a\t1\t1\t0\t0\t0\t0' 'a\t0\t1\t0.5\t0.4\t0.6' 'a\tx\t1\t0.5\t0.4\t0.6' 'a\t1\t1\t0.7\t0.4\t0.6'; do
    printf "name\tbytes\tms\tvalue\tlow\thigh\n$bad\n" >bad.tsv
    run "$XC_BIN" report a.xc --relatives bad.tsv -o bad.html
    expect_failure 'bad.tsv:2'
    [ ! -e bad.html ] || fail "a page was left"
done
printf 'bytes\tms\n' >bad.tsv
run "$XC_BIN" report a.xc --relatives bad.tsv
expect_failure 'must name the columns'

# ---- HTML ----
run "$XC_BIN" report a.xc
expect_code 0
cp out plain.html
sound plain.html
run "$XC_BIN" report a.xc -o page.html --from "$tiny" --eval eval.json --bench bench.json --check check.json
expect_code 0
expect_out
sound page.html
run "$XC_BIN" report a.xc --from "$tiny" --eval eval.json --bench bench.json --check check.json
same page.html out
for word in '<h2>Budget' '<h2>Accuracy' '<h2>Latency' '<h2>Size' '<h2>Error and sparsity' '<h2>Weights' '<h2>How it was made' 'spearman' '16 tokens' 'over' 'model.safetensors' 'before' 'encoder.layer.1'; do
    grep -qF "$word" page.html || fail "the page lacks $word"
done
! grep -qF "$XC_SOURCE_ROOT" page.html || fail "the page has a path of this machine"
run "$XC_BIN" report a.xc -l encoder.layer.0.attention.self.key.weight --layer embeddings.word_embeddings.weight
expect_code 0
out_has '<h3>encoder.layer.0.attention.self.key.weight</h3>'
out_has '<h3>embeddings.word_embeddings.weight</h3>'
run "$XC_BIN" report "$tiny" # a checkpoint: no manifest, no errors
expect_code 0
cp out checkpoint.html
sound checkpoint.html
cp a.xc 'a<b>&"$.xc'
run "$XC_BIN" report 'a<b>&"$.xc'
expect_code 0
out_has '<h1>a&lt;b&gt;&amp;&quot;$.xc</h1>'
cp out evil.html
sound evil.html

# ---- evidence made now ----
run "$XC_BIN" report a.xc -o ran.html -t sts -d sts.tsv -r "$tiny" --tokens 8 -b b.yaml -q
expect_code 0
sound ran.html
for word in 'spearman' '8 tokens' 'model bytes'; do grep -qF "$word" ran.html || fail "the page lacks $word"; done
sed -n '/<h2>Accuracy/,/<h2>Latency/p' page.html | grep -v '^<h2>\|4 tokens' >want
sed -n '/<h2>Accuracy/,/<h2>Latency/p' ran.html | grep -v '^<h2>\|8 tokens' >got
same want got # eval by itself and eval run by report say the same

# ---- Markdown ----
run "$XC_BIN" report a.xc --markdown --eval eval.json --bench bench.json --check check.json
expect_code 0
out_has '### a.xc'
out_has '| model bytes | ≤ 1.000 kB |'
out_has '**over**'
out_has '| sts spearman | 4 |'
out_has '1. quantize: '
cp out m1
run "$XC_BIN" report a.xc --markdown --eval eval.json --bench bench.json --check check.json -o m2
same m1 m2

# ---- curves of a training; updates that a resumed one made again count once ----
{
    echo '{"step":0,"epoch":0,"metric":"accuracy","dev":0.5,"best":0.5}'
    for i in 1 2 3 4 2 3 4 5; do echo "{\"step\":$i,\"epoch\":0,\"loss\":$((10 - i)).5,\"tokens\":${i}000}"; done
    echo '{"step":5,"epoch":1,"metric":"accuracy","dev":0.75,"best":0.75}'
} >train.jsonl
run "$XC_BIN" report a.xc --log train.jsonl
expect_code 0
cp out curves.html
sound curves.html
for word in '<h2>Training</h2>' 'train.jsonl: 5 updates, 5000 tokens' 'loss over 5 updates: from 9.5 to 5.5, between 5.5 and 9.5' 'accuracy over 5 updates: from 0.5 to 0.75' \
    'd="M200.0 2.0L400.0 51.0L600.0 100.0L800.0 149.0L1000.0 198.0"'; do
    grep -qF "$word" curves.html || fail "the page lacks $word"
done
run "$XC_BIN" report a.xc --log train.jsonl --markdown
out_has '| train.jsonl | 5 | 5000 | 9.5 to 5.5 | accuracy 0.5 to 0.75 |'
echo '{"step":6,"loss":"high"}' >>train.jsonl
run "$XC_BIN" report a.xc --log train.jsonl
expect_failure 'train.jsonl:11'
: >train.jsonl
run "$XC_BIN" report a.xc --log train.jsonl
expect_failure 'no update is in this log'

# ---- wrong ----
run "$XC_BIN" report
expect_code 2
run "$XC_BIN" report a.xc --task sts
expect_usage "xcompress report: --task and --data go together; see 'xcompress report --help'"
run "$XC_BIN" report missing.xc
expect_failure missing.xc
run "$XC_BIN" report a.xc -o no/such/dir/x.html
expect_failure no/such/dir
run "$XC_BIN" report a.xc -o a.xc
expect_failure a.xc
run "$XC_BIN" selftest a.xc --quick
expect_code 0
run "$XC_BIN" report a.xc --layer nonsense
expect_failure "no tensor 'nonsense'"
run "$XC_BIN" report a.xc --from "$XC_SOURCE_ROOT/tests/vectors/arch/bert"
expect_code 1
run "$XC_BIN" report a.xc --eval bench.json
expect_failure 'bench.json'
run "$XC_BIN" report a.xc --check b.yaml
expect_failure 'b.yaml'
run "$XC_BIN" report a.xc -o x.html -t sts -d missing.tsv -q
expect_code 1
err_has missing.tsv
[ ! -e x.html ] || fail "a failure left a page"
