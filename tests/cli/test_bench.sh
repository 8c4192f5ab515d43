# bench: the keys that others read, and options that make no sense.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert

run "$XC_BIN" compress "$tiny" -o m.xc --quantize int8
run "$XC_BIN" bench m.xc --tokens 16 --runs 20 --threads 1 --json
expect_code 0
expect_json
[ "$(json '["threads"]') $(json '["batch"]') $(json '["tokens"]') $(json '["latency_ms"]["runs"]')" = '1 1 16 20' ] || fail "what was asked for"
[ "$(json '["latency_ms"]["p5"] <= v["latency_ms"]["median"] <= v["latency_ms"]["p95"]')" = True ] || fail "order of quantiles"
[ "$(json '["throughput"]["tokens_per_s"] / v["throughput"]["sequences_per_s"]')" = 16.0 ] || fail "throughput"
[ "$(json '["open_ms"] > 0 and v["peak_rss_mb"] > 0.5')" = True ] || fail "the fresh process"
printf 'one text\nanother\n' >texts.txt
run "$XC_BIN" bench "$tiny" --tokens 1,8,512 --batch 2 --runs 3 --file texts.txt --json
expect_code 0
[ "$(json '["lengths"][2]["tokens"]') $(json '["texts"]["rows"]')" = '512 2' ] || fail "lengths and texts"
[ "$(json '["throughput"]["sequences_per_s"] * v["latency_ms"]["median"] / 1e3 - 2 < 1e-9')" = True ] || fail "two sequences a run"
[ "$(json '["throughput"]["sequences_per_s"] * v["latency_ms"]["median"] / 1e3 > 1.999')" = True ] || fail "two sequences a run"
run "$XC_BIN" bench m.xc --runs 3
expect_code 0
out_has 'median ms'
for wrong in 0 -1 x 1,,2 1, ''; do
    run "$XC_BIN" bench m.xc "--tokens=$wrong"
    expect_usage "xcompress bench: --tokens takes lengths from 1, separated by commas, not '$wrong'; see 'xcompress bench --help'"
done
run "$XC_BIN" bench m.xc --tokens 513 --runs 1
expect_failure '513 tokens, the model has 512 positions'
run "$XC_BIN" bench missing.xc
expect_failure 'missing.xc'
