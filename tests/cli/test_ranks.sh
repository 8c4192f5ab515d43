# mpirun: several processes train one model, to the bytes that one makes; an error, or a lost process, ends all with one message; another number of them goes on.
# Not under sanitizers: Open MPI itself leaks, and its shared memory is nothing that ThreadSanitizer could see.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
data=$XC_SOURCE_ROOT/tests/data

zstd -dcq "$data/subj.train.tsv.zst" | head -n 201 >train.tsv
zstd -dcq "$data/subj.dev.tsv.zst" | head -n 41 >dev.tsv
train="-t classify -d train.tsv --batch-tokens 128 --lr 3e-3 -e 1 -q --threads 1"

# ---- a program without its module says so, once ----
cp "$XC_BIN" ./alone
export OMPI_COMM_WORLD_SIZE=2
# shellcheck disable=SC2086
run ./alone finetune "$tiny" $train -o x.xc
expect_failure 'has no MPI'
export OMPI_COMM_WORLD_RANK=1
# shellcheck disable=SC2086
run ./alone finetune "$tiny" $train -o x.xc
expect_code 1
expect_err
unset OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK

if ! command -v mpirun >/dev/null || [ ! -e "$(dirname "$XC_BIN")/xcompress_mpi.so" ] || [ "${XC_SANITIZE:-none}" != none ]; then
    [ "$failures" -eq 0 ] || exit 1
    echo "no MPI here"
    exit 77
fi
root=
[ "$(id -u)" != 0 ] || root=--allow-run-as-root
ranks() { # N COMMAND...
    n=$1
    shift
    # shellcheck disable=SC2086
    run mpirun $root --oversubscribe --mca btl_vader_single_copy_mechanism none -n "$n" "$@"
}
ours() { [ "$(grep -c '^xcompress: ' err)" -eq 1 ] || fail "expected one line of ours on stderr"; }

# ---- the same bytes, and the same curve to the last digit, for any number of ranks ----
for pair in '4 2' '7 4'; do
    accumulate=${pair% *}
    # shellcheck disable=SC2086
    {
        run "$XC_BIN" finetune "$tiny" $train --dev dev.tsv --accumulate $accumulate -o one.xc --log one.jsonl
        expect_code 0
        ranks "${pair#* }" "$XC_BIN" finetune "$tiny" $train --dev dev.tsv --accumulate $accumulate -o many.xc --log many.jsonl --json
        expect_code 0
    }
    expect_json
    cmp -s one.xc many.xc || fail "$n ranks train otherwise"
    sed 's/"seconds":[^,}]*//' many.jsonl >many.log
    sed 's/"seconds":[^,}]*//' one.jsonl | cmp -s - many.log || fail "the curve of $n ranks is another"
done
[ ! -e many.xc.train ] || fail "the checkpoint is still there"

# ---- distillation, with augmented texts; on integers ----
run "$XC_BIN" finetune "$tiny" -t classify -d train.tsv --max-steps 3 -q -o teacher.xc
distill="teacher.xc -s layers=1,hidden=16,heads=2,ffn=32 -t classify -d train.tsv --batch-tokens 200 --accumulate 3 --max-steps 4 -q --augment 1 --quantize int8"
# shellcheck disable=SC2086
{
    run "$XC_BIN" distill $distill -o one.xc --log one.jsonl --threads 1
    expect_code 0
    rm -f ./*.augment
    ranks 2 "$XC_BIN" distill $distill -o many.xc --log many.jsonl --threads 1
    expect_code 0
}
cmp -s one.xc many.xc || fail "2 ranks distill otherwise"
[ "$(sed 's/"seconds":[^,}]*//' one.jsonl | cksum)" = "$(sed 's/"seconds":[^,}]*//' many.jsonl | cksum)" ] || fail "the curves of the losses are others"

# ---- calibration: Hessians, the walk with its fit, ranges, and what each encoding does to the answers: the file that one process makes ----
cut -f2 train.tsv | tail -n +2 >lines.txt
for how in '--prune obs=0.5 --quantize int4' '--quantize mixed --target-bits 6' '--quantize int8 --static'; do
    # shellcheck disable=SC2086
    {
        run "$XC_BIN" compress "$tiny" $how --calibrate lines.txt -o one.xc -q
        expect_code 0
        ranks 2 "$XC_BIN" compress "$tiny" $how --calibrate lines.txt -o many.xc -q
        expect_code 0
    }
    cmp -s one.xc many.xc || fail "$how: 2 ranks calibrate otherwise"
done

# ---- a rank is killed: all stop; others, and more of them, go on from its last checkpoint ----
long="$train --accumulate 4 -e 20 --checkpoint-every 1"
# shellcheck disable=SC2086
run "$XC_BIN" finetune "$tiny" $long -o one.xc
cat >killed.sh <<'END'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" != 1 ] || echo $$ >rank1.pid
exec "$@"
END
chmod +x killed.sh
(
    while [ "$(cat k.jsonl 2>/dev/null | wc -l)" -lt 30 ]; do sleep 0.01; done
    kill -9 "$(cat rank1.pid)"
) &
# shellcheck disable=SC2086
ranks 2 ./killed.sh "$XC_BIN" finetune "$tiny" $long -o k.xc --log k.jsonl
[ "$code" -ne 0 ] || fail "a lost rank is no error"
err_has 'may be lost: the last checkpoint'
err_has 'exited on signal 9'
ours
[ ! -e k.xc ] || fail "a model without its second rank"
# shellcheck disable=SC2086
ranks 3 "$XC_BIN" finetune "$tiny" $long -o k.xc --resume
expect_code 0
cmp -s one.xc k.xc || fail "the resumed training ends otherwise"

# ---- what goes wrong on one rank alone, before and during the training; and on all ----
cat >elsewhere.sh <<'END'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" != 1 ] || cd /
exec "$@"
END
chmod +x elsewhere.sh
# shellcheck disable=SC2086
{
    ranks 3 ./elsewhere.sh "$XC_BIN" finetune "$tiny" $train --accumulate 3 -o x.xc
    expect_code 1
    ours
    err_has 'xcompress: rank 1: train.tsv: cannot open'
    ranks 2 "$XC_BIN" finetune "$tiny" $train --accumulate 1 -o x.xc
    expect_code 1
    ours
    err_has 'an update has 1 batch (--accumulate), too few for 2 ranks: for updates of the same size take 2 of 64 tokens'
    ranks 2 "$XC_BIN" finetune "$tiny" $train --accumulate 2 --lr 1000 --clip 0 --warmup 0 --optimizer sgd -o x.xc
    expect_code 1
    ours
    err_has 'is not finite at step'
}
ranks 2 "$XC_BIN" finetune "$tiny" --no-such-option
expect_code 2
[ "$(grep -c '^xcompress finetune: ' err)" -eq 1 ] || fail "expected one line of ours on stderr"
[ ! -e x.xc ] || fail "a failed training left a file"
