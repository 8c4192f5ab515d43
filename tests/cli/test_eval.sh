# eval: tasks, two models, the exported head, determinism, and what goes wrong.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
data=$XC_SOURCE_ROOT/tests/data

run "$XC_BIN" compress "$tiny" -o m.xc --quantize int8
expect_code 0
zstd -dcq "$data/subj.train.tsv.zst" | head -n 301 >train.tsv
zstd -dcq "$data/subj.dev.tsv.zst" | head -n 201 >dev.tsv
zstd -qf dev.tsv -o dev.tsv.zst
printf 'score\ttext_a\ttext_b\n5\ta man eats\ta man is eating\n1\ta man eats\ttwo dogs\n3\tone\ttwo\n0\tx\tsomething else\n' >sts.tsv

# ---- one model, two models ----
run "$XC_BIN" eval m.xc --task sts --data sts.tsv
expect_code 0
out_has 'sts on sts.tsv: 4 rows'
out_has 'spearman'
run "$XC_BIN" eval m.xc --task sts --data sts.tsv --reference "$tiny" --json
expect_code 0
expect_json
[ "$(json '["rows"]')" = 4 ] || fail "rows"
[ "$(json '["difference"]["pearson"]["ci95"].__len__()')" = 2 ] || fail "no paired interval"
[ "$(json '["cosine"]["min"] > 0.999')" = True ] || fail "int8 of the tiny model is far from it"
[ "$(json '["metrics"].keys() == {"spearman", "pearson"}')" = True ] || fail "metrics"
run "$XC_BIN" eval m.xc -t sts -d sts.tsv -m pearson --json
[ "$(json '["metrics"].keys() == {"pearson"}')" = True ] || fail "--metric"

# ---- probe, and the head as a model: the same numbers ----
run "$XC_BIN" eval m.xc -t probe --train train.tsv -d dev.tsv --json --export-head head.xc
expect_code 0
accuracy=$(json '["metrics"]["accuracy"]["value"]')
[ "$(json '["metrics"]["accuracy"]["ci95"][0] <= '"$accuracy"' <= v["metrics"]["accuracy"]["ci95"][1]')" = True ] || fail "the value lies outside its interval"
run "$XC_BIN" eval head.xc -t classify -d dev.tsv.zst --json
expect_code 0
[ "$(json '["metrics"]["accuracy"]["value"]')" = "$accuracy" ] || fail "the exported head answers otherwise"
run "$XC_BIN" selftest head.xc
expect_code 0
run "$XC_BIN" reproduce head.xc --from "$tiny" -q
expect_failure --train
run "$XC_BIN" reproduce head.xc --from "$tiny" --train dev.tsv -q
expect_failure dev.tsv
run "$XC_BIN" reproduce head.xc --from "$tiny" --train train.tsv --threads 2 -q
expect_code 0
out_has 'the same in all'
run "$XC_BIN" eval m.xc -t probe --train train.tsv -d dev.tsv -r "$tiny" --json
expect_code 0
[ "$(json '["flip_rate"] <= 0.1')" = True ] || fail "flip rate"
run "$XC_BIN" eval m.xc -t agreement -d "$data/tatoeba.de.txt.zst" -r "$tiny" --json
expect_code 0
[ "$(json '["metrics"]["cosine"]["value"] > 0.99')" = True ] || fail "agreement"

# ---- the same answer for any number of threads, another interval for another seed ----
for threads in 1 2 3; do
    run "$XC_BIN" eval head.xc -t classify -d dev.tsv --json --threads $threads
    grep -v seconds out >threads$threads
    cmp -s threads1 threads$threads || fail "$threads threads answer otherwise"
done
run "$XC_BIN" eval head.xc -t classify -d dev.tsv --json --seed 7
grep -v seconds out >seed
cmp -s threads1 seed && fail "the seed changes nothing"

# ---- wrong usage ----
run "$XC_BIN" eval m.xc --data sts.tsv
expect_usage "xcompress eval: give --task; see 'xcompress eval --help'"
run "$XC_BIN" eval m.xc --task sts
expect_usage "xcompress eval: give --data; see 'xcompress eval --help'"
run "$XC_BIN" eval m.xc --task nonsense --data sts.tsv
expect_usage "xcompress eval: unknown task 'nonsense'; tasks are sts, classify, pair, regress, tag, answer, choice, probe, agreement; see 'xcompress eval --help'"
run "$XC_BIN" eval m.xc -t probe -d dev.tsv
expect_usage "xcompress eval: task 'probe' needs --train; see 'xcompress eval --help'"
run "$XC_BIN" eval m.xc -t agreement -d dev.tsv
expect_usage "xcompress eval: task 'agreement' needs --reference; see 'xcompress eval --help'"
run "$XC_BIN" eval m.xc -t sts -d sts.tsv --export-head x.xc
expect_usage "xcompress eval: task 'sts' trains nothing: --train and --export-head are for probe; see 'xcompress eval --help'"

# ---- failures name file, line and cure ----
run "$XC_BIN" eval m.xc -t sts -d missing.tsv
expect_failure 'missing.tsv'
run "$XC_BIN" eval missing.xc -t sts -d sts.tsv
expect_failure 'missing.xc'
run "$XC_BIN" eval m.xc -t sts -d dev.tsv
expect_failure "dev.tsv:1: no columns 'text_a' and 'text_b'"
run "$XC_BIN" eval m.xc -t sts -d sts.tsv -m f1
expect_failure "task 'sts' has no metric 'f1' here; it has spearman, pearson"
printf 'score\ttext_a\ttext_b\n1\ta\tb\nx\ta\tb\n' >bad.tsv
run "$XC_BIN" eval m.xc -t sts -d bad.tsv
expect_failure "bad.tsv:3: score 'x' is not a number"
printf 'label\ttext\n0\ta\n2\tb\n' >bad.tsv
run "$XC_BIN" eval head.xc -t classify -d bad.tsv
expect_failure "bad.tsv:3: label '2' is none of the model's 2"
: >empty.tsv
run "$XC_BIN" eval m.xc -t sts -d empty.tsv
expect_failure "empty.tsv:1: an empty file; the first line must name the columns"
head -c 100 dev.tsv.zst >cut.tsv.zst
run "$XC_BIN" eval head.xc -t classify -d cut.tsv.zst
expect_failure 'cut.tsv.zst'
mkdir ro
chmod a-w ro
if [ "$(id -u)" != 0 ]; then
    run "$XC_BIN" eval m.xc -t probe --train train.tsv -d dev.tsv --export-head ro/h.xc
    expect_failure 'ro/h.xc'
fi
