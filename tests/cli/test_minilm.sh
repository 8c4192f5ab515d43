# The real checkpoint on real data, where both are there (XC_MINILM, XC_DATA; skipped otherwise): accuracy of fp32 and int8, a head, a budget.
. "$(dirname "$0")/lib.sh"
data=${XC_DATA:-$XC_SOURCE_ROOT/../shared/data}
if [ -z "${XC_MINILM:-}" ] || [ ! -d "$XC_MINILM" ] || [ ! -f "$data/stsb.dev.tsv.zst" ]; then
    echo "skipped: XC_MINILM or XC_DATA is not there"
    exit 77
fi

run "$XC_BIN" compress "$XC_MINILM" -o m8.xc --quantize int8 -q
expect_code 0
for part in dev test_a; do
    run "$XC_BIN" eval m8.xc -t sts -d "$data/stsb.$part.tsv.zst" -r "$XC_MINILM" --json -q
    expect_code 0
    cp out "$part.json"
    echo "stsb.$part: int8 $(json '["metrics"]["spearman"]["value"]'), fp32 $(json '["reference"]["metrics"]["spearman"]["value"]'), cosine mean $(json '["cosine"]["mean"]') min $(json '["cosine"]["min"]')"
    [ "$(json '["difference"]["spearman"]["value"] > -0.001')" = True ] || fail "int8 loses more than 0.10 points"
    [ "$(json '["cosine"]["mean"] >= 0.998 and v["cosine"]["min"] >= 0.99')" = True ] || fail "int8 embeddings are too far from fp32"
done
cp dev.json out # sentence-transformers gives 0.8672 on this file
[ "$(json '["reference"]["metrics"]["spearman"]["value"].__format__(".4f")')" = 0.8672 ] || fail "fp32 on stsb dev"

run "$XC_BIN" eval m8.xc -t probe --train "$XC_SOURCE_ROOT/tests/data/subj.train.tsv.zst" -d "$XC_SOURCE_ROOT/tests/data/subj.dev.tsv.zst" --json -q --export-head subj.xc
expect_code 0
[ "$(json '["metrics"]["accuracy"]["value"] > 0.85')" = True ] || fail "probe on subj"
run "$XC_BIN" selftest subj.xc
expect_code 0

cat >b.yaml <<YAML
model: {max_bytes: 23.5MB, max_bits_per_weight: 8.5}
accuracy: [{task: sts, data: "$data/stsb.test_a.tsv.zst", metric: spearman, min: 0.79, reference: "$XC_MINILM", max_drop: 0.005}]
memory: {max_rss: 200MB}
YAML
run "$XC_BIN" check m8.xc --budget b.yaml -q
expect_code 0
