#!/usr/bin/env python3
"""Makes tests/vectors/prune_tokens_vectors.h: what tests/data/tiny-bert answers (mean of the tokens that stay) when tokens leave behind its attentions, computed by
hand in double precision: score of a token = mean over heads and queries of attention times the length of its value; the first token stays, and those whose score is at
least THRESHOLD times the mean, at most MOST of them. Queries are made 40 times larger, so that the maps are no plain means.

    gen_prune_tokens.py       needs torch, transformers"""
import os

import numpy as np
import torch
from transformers import BertModel

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTHS, MOST, THRESHOLD = [9, 1, 30, 17], [12, 7], [0.9, 0.8]

model = BertModel.from_pretrained(os.path.join(HERE, "../data/tiny-bert")).double().eval()
heads = model.config.num_attention_heads
rng = np.random.default_rng(5)
ids = [[2] + [int(x) for x in rng.integers(5, model.config.vocab_size, n - 1)] for n in LENGTHS]
margin = 1e9


def choose(score, layer):
    global margin
    n = len(score)
    over = score / score.mean()
    margin = min([margin] + [abs(x - THRESHOLD[layer]) for x in over[1:]])
    kept = [0] + [i for i in range(1, n) if over[i] >= THRESHOLD[layer]]
    if len(kept) > MOST[layer]:
        ranked = sorted(kept[1:], key=lambda i: -score[i])
        margin = min(margin, over[ranked[MOST[layer] - 2]] - over[ranked[MOST[layer] - 1]])
        kept = sorted([0] + ranked[: MOST[layer] - 1])
    return kept


def answer(text):
    x, rows = model.embeddings(torch.tensor([text]))[0], []
    for i, layer in enumerate(model.encoder.layer):
        a, n = layer.attention.self, len(x)
        q, k, v = (f(x).reshape(n, heads, -1).transpose(0, 1) for f in (a.query, a.key, a.value))
        p = torch.softmax(40 * q @ k.transpose(1, 2) / q.shape[2] ** 0.5, -1)
        score = (p.mean(1) * v.norm(dim=2)).mean(0)
        kept = choose(score.numpy(), i)
        y = layer.attention.output((p @ v).transpose(0, 1).reshape(n, -1)[kept], x[kept])
        x = layer.output(layer.intermediate(y), y)
        rows.append(len(kept))
    return x.mean(0).numpy(), rows


with torch.no_grad():
    made = [answer(t) for t in ids]
assert margin > 0.004, margin  # the runtime's scores are of int8 queries and keys
start = np.concatenate([[0], np.cumsum(LENGTHS)])
with open(os.path.join(HERE, "prune_tokens_vectors.h"), "w") as f:
    print("/* Made by gen_prune_tokens.py: do not edit. */", file=f)
    print(f"enum {{ PT_TEXTS = {len(ids)}, PT_LAYERS = {len(MOST)}, PT_COLS = {len(made[0][0])} }};", file=f)
    print("static const int pt_most[] = { %s };" % ", ".join(map(str, MOST)), file=f)
    print("static const double pt_threshold[] = { %s };" % ", ".join(map(str, THRESHOLD)), file=f)
    print("static const int64_t pt_start[] = { %s };" % ", ".join(map(str, start)), file=f)
    print("static const int32_t pt_ids[] = { %s };" % ", ".join(str(i) for t in ids for i in t), file=f)
    print("static const int pt_rows[][PT_LAYERS] = { %s };" % ", ".join("{ %s }" % ", ".join(map(str, r)) for _, r in made), file=f)
    print("static const float pt_answer[] = {", file=f)
    for y, _ in made:
        print("    " + ", ".join("%.9gf" % v if "." in "%.9g" % v else "%.9g.0f" % v for v in y) + ",", file=f)
    print("};", file=f)
