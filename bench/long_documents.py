#!/usr/bin/env python3
"""The table of bench/long_documents.sh from the answers in OUT: accuracy with a bootstrap interval over rows, the paired differences to dense full attention and of int8
to f32, seconds an update and milliseconds a document in int8. Prints Markdown.

    long_documents.py OUT"""
import glob
import json
import os
import random
import sys

out = sys.argv[1]
KINDS = ["dense512", "dense", "longformer", "linformer", "reformer", "synthesizer"]


def lines(path):
    return open(path).read().split()


def runs(dataset, kind):
    return sorted(p[:-5] for p in glob.glob(os.path.join(out, f"{dataset}.{kind}.[0-9].json")))


def right(dataset, kind, which):
    """By row and fold: was the answer right?"""
    hits = {}
    for run in runs(dataset, kind):
        fold = run.rsplit(".", 1)[1]
        gold = lines(os.path.join(out, f"{dataset}{'' if fold == '0' else fold}.test.label"))
        answers = lines(f"{run}.{which}.answer")
        assert len(gold) == len(answers), run
        hits.update({(fold, i): int(g == a) for i, (g, a) in enumerate(zip(gold, answers))})
    return hits


def interval(x, digits=1):
    draw = random.Random(1)
    means = sorted(sum(draw.choices(x, k=len(x))) / len(x) for _ in range(1000))
    return f"[{100 * means[25]:.{digits}f}, {100 * means[974]:.{digits}f}]"


for dataset in ["listops", "imdb", "gutenberg", "hyperpartisan"]:
    done = [k for k in KINDS if runs(dataset, k)]
    if not done:
        continue
    print(f"\n| {dataset} | accuracy [95 %] | less dense, paired | int8 less f32, paired | s an update | ms a document, int8 |\n| --- | --- | --- | --- | --- | --- |")
    dense = right(dataset, "dense", "f32")
    for kind in done:
        f32, int8 = right(dataset, kind, "f32"), right(dataset, kind, "int8")
        x = list(f32.values())
        both = [k for k in f32 if k in dense]
        pair = [f32[k] - dense[k] for k in both]
        moved = [int8[k] - f32[k] for k in f32]
        facts = [json.load(open(r + ".json")) for r in runs(dataset, kind)]
        ms = [1000 * float(lines(r + ".seconds")[0]) for r in runs(dataset, kind)]
        diff = f"{100 * sum(pair) / len(pair):+.1f} {interval(pair)}" if pair and kind != "dense" else ""
        folds = "" if dataset != "hyperpartisan" or len(facts) == 5 else f" ({len(facts)} of 5 folds)"
        print(f"| {kind}{folds} | {100 * sum(x) / len(x):.1f} {interval(x)} | {diff} | {100 * sum(moved) / len(moved):+.2f} {interval(moved, 2)} | "
              f"{sum(f['seconds'] for f in facts) / sum(f['steps'] for f in facts):.2f} | {sum(ms) / len(ms):.1f} |")
