#!/bin/sh
# Teachers from a sentence encoder: the recipes of docs/training.md, which gives what they reach from all-MiniLM-L6-v2.
# usage: finetune.sh TASK CHECKPOINT TRAIN DEV OUT.xc [OPTIONS of finetune]        TASK: sst2, subj, trec6, stsb; XCOMPRESS names the program
set -eu

task=$1 checkpoint=$2 train=$3 dev=$4 out=$5
shift 5
# Words keep their embeddings in the classifiers: half of the parameters, which few rows of data would move anyway.
case $task in
stsb) set -- --task embed --epochs 1 --batch-rows 32 --batch-tokens 4096 --lr 5e-5 --ema 0.99 "$@" ;;
trec6) set -- --task classify --epochs 4 --batch-rows 32 --lr 1e-4 --freeze embeddings.word_embeddings "$@" ;;
subj) set -- --task classify --epochs 2 --batch-rows 32 --lr 1e-4 --freeze embeddings.word_embeddings "$@" ;;
sst2) set -- --task classify --epochs 2 --batch-rows 96 --batch-tokens 4096 --lr 1.5e-4 --layer-decay 0.9 --ema 0.99 --eval-every 100 --freeze embeddings.word_embeddings "$@" ;;
*)
    echo "finetune.sh: no recipe for '$task': sst2, subj, trec6, stsb" >&2
    exit 2
    ;;
esac
exec "${XCOMPRESS:-xcompress}" finetune "$checkpoint" --data "$train" --dev "$dev" -o "$out" --attention-dropout 0 --seed 1 "$@"
