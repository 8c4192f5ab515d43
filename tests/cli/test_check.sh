# check: verdicts, exit codes, reports, and budgets that are wrong. The examples have the whole way.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert

run "$XC_BIN" compress "$tiny" -o m.xc --quantize int8
bytes=$(wc -c <m.xc)
printf 'score\ttext_a\ttext_b\n5\ta man eats\ta man is eating\n1\ta man eats\ttwo dogs\n3\tone\ttwo\n0\tx\tsomething else\n' >sts.tsv

xml() { # the report is well-formed and says FAILURES SKIPPED
    python3 - "$1" "$2" "$3" <<'PY' || fail "$1 is not the report expected"
import sys
import xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot().find("testsuite")
cases = suite.findall("testcase")
assert int(suite.get("tests")) == len(cases)
assert len([c for c in cases if c.find("failure") is not None]) == int(suite.get("failures")) == int(sys.argv[2])
assert len([c for c in cases if c.find("skipped") is not None]) == int(suite.get("skipped")) == int(sys.argv[3])
PY
}

# ---- exact limits: at the limit is within, a byte less is over ----
echo "model: {max_bytes: $bytes}" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml --junit j.xml --markdown m.md
expect_code 0
out_has 'm.xc: within'
xml j.xml 0 0
echo "model: {max_bytes: $((bytes - 1))}" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml --junit j.xml --markdown m.md
expect_code 3
out_has 'm.xc: over, failed'
xml j.xml 1 0
grep -q '\*\*over\*\*' m.md || fail "the Markdown does not say over"
run "$XC_BIN" check m.xc --budget b.yaml --json
expect_code 3
expect_json
[ "$(json '["verdict"]')" = over ] || fail "verdict"
[ "$(json '["budgets"][0]["value"]')" = "$bytes.0" ] || fail "value"

# ---- a checkpoint is a model too; its files count ----
echo "model: {max_bytes: 1MB, max_bits_per_weight: 32}" >b.yaml
run "$XC_BIN" check "$tiny" --budget b.yaml
expect_code 0
echo "model: {max_bits_per_weight: 31.9}" >b.yaml
run "$XC_BIN" check "$tiny" --budget b.yaml
expect_code 3

# ---- accuracy: min is exact; a drop of a model from itself is nothing at all ----
echo "accuracy: [{task: sts, data: sts.tsv, metric: pearson, reference: m.xc, max_drop: 0, min: -1}]" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml --json
expect_code 0
[ "$(json '["budgets"][1]["ci95"]')" = "[0.0, 0.0]" ] || [ "$(json '["budgets"][1]["ci95"]')" = "[-0.0, -0.0]" ] || fail "the drop of a model from itself"
echo "accuracy: [{task: sts, data: sts.tsv, metric: pearson, min: 1}]" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml
expect_code 3

# ---- latency, start, memory: generous and impossible ----
echo "latency: [{tokens: 16, max_ms: 10000}, {tokens: 16, max_ms: 0.000001, or: {baseline: m.xc, max_ratio: 100}}]
memory: {max_rss: 8GB}
start: {max_ms: 60000}" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml
expect_code 0
out_has 'start to first answer'
echo "latency: [{tokens: 16, max_ms: 0.000001}]
memory: {max_rss: 1kB}
start: {max_ms: 0.000001}" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml --junit j.xml
expect_code 3
out_has 'measured 3 times'
xml j.xml 3 0

# ---- names that XML and Markdown would trip over ----
cp m.xc 'a<b>&"|`.xc'
echo "model: {max_bytes: 1}" >b.yaml
run "$XC_BIN" check 'a<b>&"|`.xc' --budget b.yaml --junit j.xml --markdown m.md
expect_code 3
xml j.xml 1 0

# ---- wrong ----
run "$XC_BIN" check m.xc
expect_usage "xcompress check: give --budget; see 'xcompress check --help'"
run "$XC_BIN" check m.xc --budget missing.yaml
expect_failure 'missing.yaml'
printf 'model:\n  max_byte: 3MB\n' >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml
expect_failure "b.yaml:2:3: unknown key 'max_byte' in model; known: max_bytes, max_bits_per_weight"
echo "accuracy: [{task: nonsense, data: sts.tsv, min: 0}]" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml
expect_failure "line 1 of the budget: unknown task 'nonsense'"
echo "accuracy: [{task: sts, data: missing.tsv, min: 0}]" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml
expect_failure 'missing.tsv'
echo "latency: [{tokens: 100000, max_ms: 1}]" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml
expect_failure '100000 tokens, the model has 512 positions'
echo "start: {max_ms: 1}" >b.yaml
run "$XC_BIN" check m.xc --budget b.yaml --junit no/such/folder/j.xml
expect_failure 'no/such/folder'
