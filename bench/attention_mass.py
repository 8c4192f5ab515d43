#!/usr/bin/env python3
"""How concentrated a BERT's attention is on a long text: the share of blocks of 128 keys that 16 queries together need for all but EPS of their softmax, if
the share of every block were known beforehand, with tokens in order and with queries and keys sorted by k-means. It is the least that leaving out whole
blocks can compute. Positions beyond the model's are copies. A sample of heads and queries.

    attention_mass.py MODEL TEXTFILE [TOKENS]     default 8192 tokens; needs torch and transformers"""
import sys

sys.path.pop(0)  # tokenize.py beside this file is not the library's
import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

EPS, BLOCK, GROUP = (1e-3, 1e-2, 5e-2, 0.1), 128, 16


def sorted_by_kmeans(x, clusters=64, rounds=6):
    c = x[np.linspace(0, len(x) - 1, clusters).astype(int)].copy()
    for _ in range(rounds):
        nearest = (x @ c.T - 0.5 * (c * c).sum(1)).argmax(1)
        for j in range(clusters):
            if (nearest == j).any():
                c[j] = x[nearest == j].mean(0)
    axis = np.linalg.svd(c - c.mean(0), full_matrices=False)[2][0]
    return np.lexsort((x @ axis, np.argsort(np.argsort(c @ axis))[nearest]))


def needed(q, k, groups):
    """of each group of queries: blocks that are left when those of least mass go, as long as no query loses more than eps"""
    out, blocks = [], len(k) // BLOCK
    for g in groups:
        s = q[g * GROUP : (g + 1) * GROUP] @ k[: blocks * BLOCK].T / np.sqrt(q.shape[1])
        p = np.exp(s - s.max(1, keepdims=True))
        mass = (p / p.sum(1, keepdims=True)).reshape(len(s), blocks, BLOCK).sum(2)
        lost = np.cumsum(mass[:, np.argsort(mass.max(0))], 1)
        out.append([1 - (lost <= e).all(0).sum() / blocks for e in EPS])
    return np.mean(out, 0)


def main(path, text, tokens):
    model, tok, rng = AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path), np.random.default_rng(0)
    ids = tok(open(text).read(), add_special_tokens=False)["input_ids"][: tokens - 2]
    ids = [tok.cls_token_id] + ids + [tok.sep_token_id]
    e, n, heads = model.embeddings, len(ids), model.config.num_attention_heads
    most = e.position_embeddings.weight.shape[0]
    pos = [i if i < most else (i - most) % (most - 1) + 1 for i in range(n)]
    x = e.LayerNorm(e.word_embeddings.weight[ids] + e.position_embeddings.weight[pos] + e.token_type_embeddings.weight[0])
    print("layer order    " + " ".join(f"{v:>7g}" for v in EPS))
    for number, layer in enumerate(model.encoder.layer):
        a = layer.attention.self
        q, k, v = (f(x).view(n, heads, -1).transpose(0, 1) for f in (a.query, a.key, a.value))
        share = {"text": [], "k-means": []}
        for h in range(0, heads, 3):
            groups, qh, kh = rng.integers(0, n // GROUP, 12), q[h].numpy(), k[h].numpy()
            share["text"].append(needed(qh, kh, groups))
            share["k-means"].append(needed(qh[sorted_by_kmeans(qh)], kh[sorted_by_kmeans(kh)], groups))
        for order, rows in share.items():
            print(f"{number:5} {order:8} " + " ".join(f"{s:7.3f}" for s in np.mean(rows, 0)), flush=True)
        o = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[0].transpose(0, 1).reshape(n, -1)
        y = layer.attention.output.LayerNorm(layer.attention.output.dense(o) + x)
        x = layer.output.LayerNorm(layer.output.dense(torch.nn.functional.gelu(layer.intermediate.dense(y))) + y)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    with torch.no_grad():
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 8192)
