# bench/ablation.sh on a tiny model: a run of each kind and seed; what is there is not made again, and a run that was killed is; the tables of the log.
. "$(dirname "$0")/lib.sh"
bench=$XC_SOURCE_ROOT/bench
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
mkdir data
for part in train dev; do zstd -dcq "$XC_SOURCE_ROOT/tests/data/subj.$part.tsv.zst" | head -n 61 | zstd -q >data/sst2.$part.tsv.zst; done
awk 'BEGIN { print "score\ttext_a\ttext_b"; for (i = 0; i < 8; i++) print i % 6 "\ta man eats " i " eggs\ttwo dogs run " i * i " miles" }' | zstd -q >data/stsb.train.tsv.zst
cp data/stsb.train.tsv.zst data/stsb.dev.tsv.zst
run "$XC_BIN" finetune "$tiny" -t classify -d data/sst2.train.tsv.zst --max-steps 2 -o t.xc -q
expect_code 0
export NARROW=layers=1,hidden=16,heads=2,ffn=32 SHORT=layers=1,ffn=32 CUT=layers=2,heads=1,ffn=16 SHRINK='keep_heads: 0.5, keep_neurons: 0.25' RANK=8 BOTTOM=1 STEPS=1 ROWS=40 JOBS=2
run sh "$bench/ablation.sh" "$XC_BIN" t.xc "$tiny" data runs 1
expect_code 0
[ "$(wc -l <runs/ablation.tsv)" = 30 ] || fail "a line for each of 29 runs"
for name in sst2.without-embedding sst2.without-augmentation sst2.layers-top sst2.cut-factorised stsb.init-random; do grep -q "^$name	1	[a-z]*	-*0.[0-9]*	2	" runs/ablation.tsv || fail "no run '$name' of two updates"; done
out_has '| without-attention |'
err_has 'stsb.all 1'
cp runs/ablation.tsv first.tsv

# ---- one run is lost, half of another is there: those two are made again, to the same figures ----
rm runs/sst2.all.1.json
mv runs/stsb.layers-top.1.json runs/stsb.layers-top.1.part
run sh "$bench/ablation.sh" "$XC_BIN" t.xc "$tiny" data runs 1
expect_code 0
[ "$(sort err | tr '\n' ' ')" = "sst2.all 1 stsb.layers-top 1 " ] || fail "other runs than the two were made"
cut -f1-7 first.tsv >a
cut -f1-7 runs/ablation.tsv >b
cmp -s a b || fail "runs that are made again say something else"
run env ONLY=nothing sh "$bench/ablation.sh" "$XC_BIN" t.xc "$tiny" data runs 1
[ "$code" = 2 ] || fail "no run of that name, and no word of it"

# ---- tables in a page ----
printf 'Before.\n<!-- ablation.tsv -->\nold\n<!-- end of ablation.tsv -->\nAfter.\n' >page.md
run "$bench/ablation_table.py" --check first.tsv page.md
expect_code 1
run "$bench/ablation_table.py" first.tsv page.md
expect_code 0
run "$bench/ablation_table.py" --check first.tsv page.md
expect_code 0
[ "$(grep -c '^| ' page.md)" = 33 ] && grep -q After page.md && ! grep -q old page.md || fail "the page is not what the log says"
run "$bench/ablation_table.py" --check "$XC_SOURCE_ROOT/docs/ablation.tsv" "$XC_SOURCE_ROOT/docs/distillation.md"
expect_code 0
