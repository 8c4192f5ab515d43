# Recipes: every one of examples/recipes runs, plans what it makes, and is reproduced from the file alone; mistakes name file and line.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
printf 'A man is playing a guitar.\nTwo dogs run in the city.\nIt rains.\n' >texts.txt

for recipe in "$XC_SOURCE_ROOT"/examples/recipes/*.yaml; do
    name=$(basename "$recipe" .yaml)
    # those that name layers 0 to 5 get a model of two
    sed 's/(0|5)/(0|1)/' "$recipe" >"$name.yaml"
    texts=
    ! grep -q -- --calibrate "$recipe" || texts='--calibrate texts.txt'
    run "$XC_BIN" compress "$tiny" --recipe "$name.yaml" $texts -o "$name.xc"
    expect_code 0
    run "$XC_BIN" compress "$tiny" --recipe "$name.yaml" $texts --plan --json
    expect_code 0
    expect_json
    # where measured on texts, widths are not known before
    grep -q -e speedup: -e flops: "$recipe" || [ "$(json '["output_bytes"]')" = "$(wc -c <"$name.xc")" ] || fail "$name: the plan is not exact"
    run "$XC_BIN" selftest "$name.xc"
    expect_code 0
    [ -z "$texts" ] || continue
    run "$XC_BIN" reproduce "$name.xc" --from "$tiny"
    expect_code 0
done

# ---- one path: the shorthand and the recipe make the same bytes ----
run "$XC_BIN" compress "$tiny" --quantize int8 -o short.xc
run "$XC_BIN" compress "$tiny" --recipe "$XC_SOURCE_ROOT/examples/recipes/int8.yaml" -o recipe.xc
cmp -s short.xc recipe.xc || fail "--quantize int8 and its recipe differ"

# ---- seeds: the recipe's goes into the file, the command line's before it ----
printf 'seed: 11\npasses: [quantize]\n' >seed.yaml
run "$XC_BIN" compress "$tiny" -r seed.yaml -o seed.xc
run "$XC_BIN" inspect seed.xc --manifest
out_has '"seed":11'

# ---- mistakes ----
printf 'passes:\n  - quantize:\n      targets: [linear, nowhere]\n' >bad.yaml
run "$XC_BIN" compress "$tiny" -r bad.yaml -o bad.xc
expect_code 1
expect_err "xcompress: bad.yaml:3: 'nowhere', a target of pass 'quantize', matches no node and no tensor"
[ ! -e bad.xc ] || fail "a file was made"
run "$XC_BIN" compress "$tiny" -r no.yaml -o bad.xc
expect_code 1
err_has "cannot open the recipe 'no.yaml'"
run "$XC_BIN" compress "$tiny" -r bad.yaml --quantize int8 -o bad.xc
expect_code 2
head -c 2000000 /dev/zero >zero.yaml
run "$XC_BIN" compress "$tiny" -r zero.yaml --plan
expect_code 1
err_has "larger than"

# ---- --prune: the same bytes as its recipe; zeros stay out of int8 linears; answers are the same everywhere ----
head -n 40 "$XC_SOURCE_ROOT/README.md" >texts.txt
for pair in "magnitude=2:4|prune: {pattern: nm, n: 2, m: 4}" "magnitude=0.75|prune: {sparsity: 0.75}" "layers=1|drop_layers: {keep: 1}" "vocabulary=1|prune_vocabulary: {min_count: 1}" \
            "speedup=1.5|shrink: {speedup: 1.5}" "wanda=0.5|prune: {saliency: wanda}" "obs=0.5|prune: {saliency: obs}" \
            "magnitude=0.75@16x4|prune: {pattern: block, sparsity: 0.75}" "magnitude=0.5@1x8|prune: {pattern: block, sparsity: 0.5, block_rows: 1, block_cols: 8}"; do
    printf 'passes:\n  - %s\n  - quantize: {format: int8}\n' "${pair#*|}" >prune.yaml
    run "$XC_BIN" compress "$tiny" --prune "${pair%%|*}" --quantize int8 -c texts.txt -o pruned.xc
    expect_code 0
    run "$XC_BIN" compress "$tiny" -r prune.yaml -c texts.txt -o by-recipe.xc
    expect_code 0
    cmp -s pruned.xc by-recipe.xc || fail "--prune ${pair%%|*} differs from its recipe"
    run "$XC_BIN" selftest pruned.xc
    expect_code 0
    case $pair in magnitude=2:4*)
        run "$XC_BIN" inspect pruned.xc
        out_has "2:4" ;;
    esac
done
for bad in magnitude nothing=1 =0.5 magnitude=x magnitude=2:x layers= magnitude=0.5@16 magnitude=0.5@x4 magnitude=@16x4; do
    run "$XC_BIN" compress "$tiny" --prune "$bad" -o bad.xc
    expect_code 1
    [ ! -e bad.xc ] || fail "--prune $bad made a file"
done
run "$XC_BIN" compress "$tiny" -r prune.yaml --prune magnitude=0.5 -o bad.xc
expect_code 2
run "$XC_BIN" compress "$tiny" --quantize int8 --set group=32 -o bad.xc
expect_code 1
err_has "int8-groups"
run "$XC_BIN" compress "$tiny" --quantize int8-groups --set group=32 --set activations=float --plan
expect_code 0
out_has "int8/g32"
out_has "smaller on disk only"

# ---- mixed precision: the shorthands and the recipe make the same bytes; a target is kept; what cannot be is said before the work ----
for pair in "--target-bytes 70000|target_bytes: 70000" "--target-bits 4.5|target_bits: 4.5" "--target-drop 0.0001|target_drop: 0.0001"; do
    printf 'passes:\n  - quantize:\n      format: mixed\n      %s\n' "${pair#*|}" >mixed.yaml
    # shellcheck disable=SC2086
    run "$XC_BIN" compress "$tiny" ${pair%%|*} -o mixed.xc
    expect_code 0
    out_has "* chosen; drop in all:"
    run "$XC_BIN" compress "$tiny" --recipe mixed.yaml --threads 1 -o by-recipe.xc
    cmp -s mixed.xc by-recipe.xc || fail "${pair%%|*} differs from its recipe"
    run "$XC_BIN" selftest mixed.xc
    expect_code 0
done
run "$XC_BIN" compress "$tiny" --target-bytes 66KB --store small -o mixed.xc
expect_code 0
[ "$(wc -c <mixed.xc)" -le 66000 ] || fail "larger than asked for"
printf 'passes:\n  - quantize:\n      format: mixed\n      target_bits: 4.5\n      candidates: [int8, int2/g32]\n' >mixed.yaml
run "$XC_BIN" compress "$tiny" -r mixed.yaml --plan --json
expect_code 0
expect_json
[ "$(json '["sensitivity"][0]["choices"][1]["encoding"]')" = int2/g32 ] || fail "the candidates are others"
for bad in "--target-bytes 10KB|target_bytes cannot be 10000" "--target-drop 1e-12|target_drop cannot be 1e-12" "--target-bits 1|target_bits cannot be 1" "--quantize mixed|needs one of target_bytes"; do
    # shellcheck disable=SC2086
    run "$XC_BIN" compress "$tiny" ${bad%%|*} -o bad.xc
    expect_failure "${bad#*|}"
    [ ! -e bad.xc ] && [ ! -e bad.xc.resume ] || fail "something was left"
done
run "$XC_BIN" compress "$tiny" --quantize int8 --target-bits 4 -o bad.xc
expect_code 2
printf 'passes:\n  - quantize:\n      format: mixed\n      target_bits: 4.5\n      candidates: [int8, [int4/g64]]\n' >mixed.yaml
run "$XC_BIN" compress "$tiny" -r mixed.yaml --plan
expect_code 1
err_has "mixed.yaml:5"

# ---- the size of a small file, from samples ----
for quantize in none int8; do
    run "$XC_BIN" compress "$tiny" --quantize $quantize --store small --plan --json
    expect_code 0
    expect_json
    guess=$(json '["small_bytes"]')
    run "$XC_BIN" compress "$tiny" --quantize $quantize --store small -o small.xc
    size=$(wc -c <small.xc)
    [ $((guess * 20)) -gt $((size * 19)) ] && [ $((guess * 20)) -lt $((size * 21)) ] || fail "small: $guess predicted, $size made"
done

# ---- a run in little memory makes the same bytes; another run of the same output leaves nothing beside it ----
run "$XC_BIN" compress "$tiny" --quantize int8 --max-memory 64KB -o little.xc
expect_code 0
cmp -s short.xc little.xc || fail "--max-memory changed the bytes"
[ ! -e little.xc.resume ] || fail "little.xc.resume was left"
