#!/usr/bin/env python3
"""Answers of `xcompress answer` beside those of transformers and the steps of its run_qa.py: windows by the fast tokenizer (only_second, stride), the 20 best begins and ends, at
most 30 tokens, letters by its offsets.

    compare_answer.py XCOMPRESS CHECKPOINT DATA.tsv MAX_TOKENS STRIDE      needs torch, transformers; CHECKPOINT is a directory that both read, MAX_TOKENS its limit

Prints how many answers are the same text, and those that are not."""
import json
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer


def answer(model, tok, question, context, length, stride):
    f = tok(question, context, truncation="only_second", max_length=length, stride=stride, return_overflowing_tokens=True, return_offsets_mapping=True)
    best, text = -np.inf, ""
    for i in range(len(f["input_ids"])):
        kw = {k: torch.tensor(f[k][i])[None] for k in ("input_ids", "attention_mask", "token_type_ids") if k in f}
        with torch.no_grad():
            y = model(**kw)
        start, end = y.start_logits[0].numpy(), y.end_logits[0].numpy()
        offsets = [o if s == 1 else None for o, s in zip(f["offset_mapping"][i], f.sequence_ids(i))]
        for s in np.argsort(start)[-1:-21:-1]:
            for e in np.argsort(end)[-1:-21:-1]:
                if offsets[s] is None or offsets[e] is None or e < s or e - s + 1 > 30:
                    continue
                if start[s] + end[e] > best:
                    best, text = start[s] + end[e], context[offsets[s][0] : offsets[e][1]]
    return text, best


def main():
    program, checkpoint, data, length, stride = sys.argv[1:3] + sys.argv[3:4] + [int(x) for x in sys.argv[4:6]]
    torch.set_num_threads(1)
    model, tok = AutoModelForQuestionAnswering.from_pretrained(checkpoint, attn_implementation="eager").eval(), AutoTokenizer.from_pretrained(checkpoint)
    rows = [line.rstrip("\n").split("\t") for line in open(data, encoding="utf-8")]
    q, c = rows[0].index("question"), rows[0].index("context")
    lines = "".join(f"{r[q]}\t{r[c]}\n" for r in rows[1:])
    out = subprocess.run([program, "answer", checkpoint, "--stride", str(stride), "-q", "--json"], input=lines.encode(), capture_output=True, check=True).stdout
    ours, same, off = json.loads(out)["answers"], 0, 0.0
    for i, r in enumerate(rows[1:]):
        text, score = answer(model, tok, r[q], r[c], length, stride)
        off = max(off, abs(score - ours[i]["score"]))
        if text == ours[i]["answer"]:
            same += 1
        else:
            print(f"{i + 1}: transformers '{text}' ({score:.5f}), ours '{ours[i]['answer']}' ({ours[i]['score']:.5f})")
    print(f"{same} of {len(rows) - 1} answers are the same; scores differ by {off:.1e} at most")


main()
