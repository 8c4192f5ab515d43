#!/usr/bin/env python3
"""Makes tests/vectors/swap_vectors.h: what pass swap_attention takes from the attention maps of tests/data/tiny-bert, with queries made 40 times larger so that the maps are
no plain means: windows by mass, slots of Linformer, scores of Synthesizer, the scale of Reformer; transformers and numpy, in double precision.

    gen_swap.py       needs torch, transformers, tokenizers"""
import os

import numpy as np
import torch
from transformers import BertModel, BertTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["A man is playing a guitar.", "Two dogs run in the city.", "It rains.", "She reads 24 books and writes two more!", "the plane lands on water"]
MASS, SLOTS, RANK, PRIOR = 0.8, 6, 3, 4

model = BertModel.from_pretrained(os.path.join(HERE, "../data/tiny-bert"), attn_implementation="eager").double().eval()
tok = BertTokenizerFast.from_pretrained(os.path.join(HERE, "../data/tiny-bert"))
heads, layers = model.config.num_attention_heads, model.config.num_hidden_layers
D = model.config.hidden_size // heads
keys = [[] for _ in range(layers)]
for i, layer in enumerate(model.encoder.layer):
    layer.attention.self.query.weight.data *= 40
    layer.attention.self.key.register_forward_hook(lambda m, x, y, i=i: keys[i].append(y[0].reshape(-1, heads, D).numpy()))
with torch.no_grad():
    runs = [model(**tok(t, return_tensors="pt"), output_attentions=True).attentions for t in TEXTS]
maps = [[r[i][0].numpy() for r in runs] for i in range(layers)]  # layer, text: (heads,n,n)
seen = max(m.shape[1] for m in maps[0])


def window(ps, n_global):
    held, rows = np.zeros(seen), 0
    for p in ps:
        for head in p:
            n = len(head)
            for i in range(n_global, n):
                rows += 1
                for j in range(n):
                    held[0 if j < n_global else abs(i - j)] += head[i, j]
    return int(np.argmax(np.cumsum(held) >= MASS * rows))


def slots(ps):
    import scipy.linalg

    big = np.concatenate([np.pad(head, ((0, 0), (0, seen - len(head)))) for p in ps for head in p])
    v = np.linalg.svd(big)[2][:SLOTS]
    picked = np.sort(scipy.linalg.qr(v, pivoting=True)[2][:SLOTS])
    to = np.argmax(np.abs(np.linalg.solve(v[:, picked], v)), 0)
    to[picked] = np.arange(SLOTS)
    return to


def scores(ps):
    total, count = np.zeros((heads, seen, seen)), np.zeros((seen, seen))
    for p in ps:
        n = p.shape[1]
        s = np.log(p)
        total[:, :n, :n] += s - s.mean(2, keepdims=True)
        count[:n, :n] += 1
    i, j = np.indices((seen, seen))
    r = np.zeros_like(total)
    for d in range(1 - seen, seen):
        at = j - i == d
        mean = total[:, at].sum(1) / max(count[at].sum(), 1)
        r[:, at] = (total[:, at] + PRIOR * mean[:, None]) / (count[at] + PRIOR)
    return r


def low(r):
    out = []
    for head in r:
        u, s, vt = np.linalg.svd(head)
        out.append((u[:, :RANK] * s[:RANK]) @ vt[:RANK])
    return np.array(out)


def numbers(x):
    v = [f"{v:.6f}" for v in np.asarray(x).ravel()]
    return "{ " + ",\n        ".join(", ".join(v[i : i + 16]) for i in range(0, len(v), 16)) + " }"


with open(os.path.join(HERE, "swap_vectors.h"), "w") as f:
    f.write("/* Made by gen_swap.py. */\n")
    f.write(f"enum {{ SWAP_LAYERS = {layers}, SWAP_HEADS = {heads}, SWAP_SEEN = {seen}, SWAP_SLOTS = {SLOTS}, SWAP_RANK = {RANK} }};\n")
    f.write(f"#define SWAP_MASS {MASS}\n")
    f.write("static const char *const swap_texts[] = { " + ", ".join(f'"{t}"' for t in TEXTS) + " };\n")
    f.write("static const struct { int window, window_no_global, head_window[SWAP_HEADS], slot[SWAP_SEEN]; double scale, r[SWAP_HEADS * SWAP_SEEN * SWAP_SEEN], low[SWAP_HEADS * SWAP_SEEN * SWAP_SEEN]; } swap_layers[] = {\n")
    for i in range(layers):
        length = np.mean(np.linalg.norm(np.concatenate(keys[i]), axis=2))
        r = scores(maps[i])
        f.write(f"    {{ {window(maps[i], 1)}, {window(maps[i], 0)}, {{ {', '.join(str(window([p[h:h + 1] for p in maps[i]], 1)) for h in range(heads))} }}, {{ {', '.join(map(str, slots(maps[i])))} }}, {length / D ** 0.5:.9g},\n      {numbers(r)},\n      {numbers(low(r))} }},\n")
    f.write("};\n")
