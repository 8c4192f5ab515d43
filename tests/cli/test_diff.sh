# diff: equal files, files that differ in one thing at a time, other models, and what cannot be read.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
arch=$XC_SOURCE_ROOT/tests/vectors/arch

run "$XC_BIN" compress "$tiny" -o a.xc --quantize int8 -q
run "$XC_BIN" compress "$tiny" -o small.xc --quantize int8 --store small -q
run "$XC_BIN" compress "$tiny" -o f32.xc -q
run "$XC_BIN" compress "$tiny" -o seed.xc --quantize int8 --seed 7 -q
run "$XC_BIN" compress "$tiny" -o some.xc --quantize int8 --ignore re:.*layer.1.* -q

run "$XC_BIN" inspect a.xc --json
n=$(json '["layers"].__len__()')

# ---- equal ----
run "$XC_BIN" diff a.xc a.xc
expect_code 0
out_has "Equal: $n tensors"
run "$XC_BIN" diff a.xc small.xc
expect_code 0
out_has 'stored differently'
run "$XC_BIN" diff "$tiny" "$tiny" --json
expect_code 0
expect_json
[ "$(json '["equal"]')" = True ] || fail "a checkpoint is not itself"

# ---- one thing ----
run "$XC_BIN" diff a.xc seed.xc
expect_code 1
expect_err
out_has 'manifest seed'
out_has '  - 0'
out_has '  + 7'
out_has "tensors: $n equal, 0 differ"
run "$XC_BIN" diff a.xc some.xc --json
expect_code 1
expect_json
[ "$(json '["equal"]')" = False ] || fail "equal"
python3 - <<'PY' || fail "some.xc differs from a.xc in layer 1 and in how it was made"
import json
d = json.load(open("out"))
assert {f["what"] for f in d["facts"]} >= {"manifest recipe", "golden samples"}, d["facts"]
assert d["tensors"] and all("layer.1" in t["name"] or "layer.0.output" in t["name"] for t in d["tensors"]), d["tensors"]
assert all(t["a"] is None or t["b"] is None or t["error"] is not None and t["error"] < 0.02 for t in d["tensors"])
q = next(t for t in d["tensors"] if t["name"].endswith("layer.1.attention.self.query.weight"))
assert q["a"]["encoding"] == "int8/row" and q["b"]["encoding"] == "f32" and 0 < q["error"] < 0.02, q
assert d["nodes"] and all(n["a"] != n["b"] for n in d["nodes"])
PY
run "$XC_BIN" diff "$tiny" a.xc
expect_code 1
out_has '  - (missing)'
out_has 'quantized=false  >  ... quantized=true'

# ---- other models are told in words ----
run "$XC_BIN" diff a.xc "$arch/bert"
expect_code 1
out_has 'Different widths:'
run "$XC_BIN" diff "$arch/distilbert" "$arch/bert"
expect_code 1
out_has 'Different'
run "$XC_BIN" diff "$arch/distilbert" "$arch/bert" --json
expect_code 1
expect_json

# ---- wrong ----
run "$XC_BIN" diff a.xc
expect_code 2
run "$XC_BIN" diff a.xc missing.xc
expect_failure missing.xc
expect_out
head -c 2000 a.xc >cut.xc
run "$XC_BIN" diff cut.xc a.xc
expect_failure cut.xc
expect_out
