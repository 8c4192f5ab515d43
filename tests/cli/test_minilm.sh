# The real checkpoint on real data, where both are there (XC_MINILM, XC_DATA; skipped otherwise): accuracy of fp32 and int8, a head, a budget.
. "$(dirname "$0")/lib.sh"
data=${XC_DATA:-$XC_SOURCE_ROOT/../shared/data}
if [ -z "${XC_MINILM:-}" ] || [ ! -d "$XC_MINILM" ] || [ ! -f "$data/stsb.dev.tsv.zst" ]; then
    echo "skipped: XC_MINILM or XC_DATA is not there"
    exit 77
fi

run "$XC_BIN" compress "$XC_MINILM" -o m8.xc --quantize int8 -q
expect_code 0
if [ "${XC_SANITIZE:-none}" != none ]; then # the same way on a few rows: the whole takes minutes there, and figures, memory and time are another build's
    zstd -dcq "$data/stsb.dev.tsv.zst" | head -n 201 >few.tsv
    run "$XC_BIN" eval m8.xc -t sts -d few.tsv -r "$XC_MINILM" --json -q
    expect_code 0
    [ "$(json '["cosine"]["mean"] >= 0.998')" = True ] || fail "int8 embeddings are too far from fp32"
    exit 0 # the trap of lib.sh looks at the failures so far
fi
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

# ---- a plan's forecast: memory within a third; time is another machine's business, but not by an order of magnitude ----
for format in int8 int4; do
    run "$XC_BIN" compress "$XC_MINILM" --quantize $format --plan --json -q
    expect_json
    cp out plan
    run "$XC_BIN" compress "$XC_MINILM" --quantize $format -o f.xc --json -q
    echo "$format: $(python3 -c 'import json; p, d = json.load(open("plan"))["predicted"], json.load(open("out")); print(p["seconds"], d["seconds"], p["peak_rss_mb"], d["peak_rss_mb"])') (seconds and MB, foreseen and taken)"
    python3 -c 'import json; p, d = json.load(open("plan"))["predicted"], json.load(open("out")); assert 0.1 < p["seconds"] / d["seconds"] < 10 and 0.67 < p["peak_rss_mb"] / d["peak_rss_mb"] < 1.5' || fail "the forecast is far off"
done

# ---- mixed precision beats uniform int4 at the same bytes, by the profile of the one and the measured drop of the other (accuracy: bench/mixed.sh) ----
bytes=$(wc -c <f.xc)
run "$XC_BIN" compress "$XC_MINILM" --target-bytes "$bytes" --set candidates=int8,int4/g32,int4/g64,int3/g64 -o mixed.xc -q --json
expect_code 0
[ "$(wc -c <mixed.xc)" -le "$bytes" ] || fail "larger than asked for"
python3 -c '
import json
r = json.load(open("out"))
uniform = r["drop"]["attention"] + sum(c["cost"] for s in r["sensitivity"] for c in s["choices"] if c["encoding"] == "int4/g64")
print("drop: int4 in groups of 64", uniform, "mixed", r["drop"])
assert r["drop"]["measured"] < 0.8 * uniform and 0.8 < r["drop"]["measured"] / r["drop"]["predicted"] < 1.25' || fail "mixed precision gains too little, or drops do not add up"
