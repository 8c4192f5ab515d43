#!/usr/bin/env python3
"""Makes tests/vectors/sparsify_vectors.h: 12 steps of torch.optim.AdamW in double precision on the tiny checkpoint bert_classify (gen_arch.py)
with masks on the weights of its encoder's linears, written from the papers: gradual magnitude (Zhu & Gupta 2017, arXiv:1710.01878) and movement
(Sanh et al. 2020, arXiv:2005.07683: S <- S - W * dL/d(W * mask), straight through the mask). Masks are chosen after every second step, the share
rises up to step 6.

    gen_sparsify.py                      needs torch, transformers, safetensors

A tensor is told by the product of its numbers with those of a linear congruential generator, as in gen_grad.py."""
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
import transformers as tf

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, END, EVERY, RATE = 12, 6, 2, 2e-3


def lcg(n):
    s, out = 12345, np.empty(n)
    for i in range(n):
        s = (s * 1664525 + 1013904223) % 2**32
        out[i] = (s >> 8) / 2**24 - 0.5
    return torch.tensor(out)


def texts():
    raw = open(os.path.join(HERE, "arch/bert_classify/classify.bin"), "rb").read()
    n, tokens, _, _ = struct.unpack("<4i", raw[:16])
    ints = np.frombuffer(raw, "<i4", n + 1 + 2 * tokens, 16)
    start, ids, types = ints[: n + 1], ints[n + 1 : n + 1 + tokens], ints[n + 1 + tokens :]
    return [(ids[start[i] : start[i + 1]].astype(np.int64), types[start[i] : start[i + 1]].astype(np.int64)) for i in range(n)]


def loss_of(model):  # label smoothing 0.1, as gen_grad.py
    rows = [model(input_ids=torch.tensor(i)[None], token_type_ids=torch.tensor(t)[None], attention_mask=torch.ones(1, len(i), dtype=torch.long)).logits[0] for i, t in texts()]
    return F.cross_entropy(torch.stack(rows), torch.arange(len(rows)) % rows[0].numel(), label_smoothing=0.1)


def half_up(x):
    return int(np.floor(x + 0.5))


def top(score, share):
    """A mask without the smallest: round(share * all) of them."""
    keep = torch.ones(score.numel(), dtype=torch.bool)
    keep[torch.argsort(score.flatten(), stable=True)[: half_up(share * score.numel())]] = False
    return keep.reshape(score.shape)


def mask_of(score, shape, share, final):
    R, C = score.shape
    if shape[0] == "nm":
        n, m = shape[1:]
        keep = max(n, m - half_up(share * m))
        out = torch.ones_like(score, dtype=torch.bool)
        for c in range(0, C, m):
            g = score[:, c : c + m]
            order = torch.argsort(g, dim=1, stable=True)
            out[:, c : c + m].scatter_(1, order[:, : max(g.shape[1] - keep, 0)], False)
        return out
    if shape[0] == "block":
        br, bc = shape[1:]
        blocks = torch.stack([torch.stack([score[r : r + br, c : c + bc].mean() for c in range(0, C, bc)]) for r in range(0, R, br)])
        return top(blocks, share).repeat_interleave(br, 0).repeat_interleave(bc, 1)[:R, :C]
    return top(score, share)


def run(kind, shape, final, over_all):
    model = tf.BertForSequenceClassification.from_pretrained(os.path.join(HERE, "arch/bert_classify"), dtype=torch.float64, attn_implementation="eager").eval()
    for m in model.modules():
        if isinstance(m, torch.nn.Embedding):
            m.padding_idx = None
    pruned = {n: p for n, p in model.named_parameters() if p.dim() == 2 and ".encoder." in n}
    dense = {n: p.data.clone() for n, p in pruned.items()}
    score = {n: torch.zeros_like(p) for n, p in pruned.items()}
    mask = {n: torch.ones_like(p, dtype=torch.bool) for n, p in pruned.items()}
    opt = torch.optim.AdamW([{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.01},
                             {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0}], lr=RATE)
    losses = []
    for step in range(1, STEPS + 1):
        for n, p in pruned.items():
            p.data = dense[n] * mask[n]
        loss = loss_of(model)
        losses.append(loss.item())
        opt.zero_grad()
        loss.backward()
        for n, p in pruned.items():
            score[n] -= p.grad * dense[n]
            p.grad *= mask[n]
            p.data = dense[n]
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        opt.step()
        if kind == "magnitude":
            for n, p in pruned.items():
                p.data = p.data * mask[n]
        if step % EVERY == 0 and (kind == "movement" or step <= END):
            share = final * (1 - (1 - min(step / END, 1)) ** 3)
            if kind == "movement":
                worth = score
            else:
                worth = {n: p.data.abs() if shape[0] != "block" else p.data**2 for n, p in pruned.items()}
            if over_all:
                all_of = torch.cat([w.flatten() for w in worth.values()])
                least = torch.sort(all_of).values[half_up(share * len(all_of)) - 1]
                mask = {n: w > least for n, w in worth.items()}
            else:
                mask = {n: mask_of(w, shape, share, final) for n, w in worth.items()}
        for n, p in pruned.items():
            dense[n] = p.data * (mask[n] if kind == "magnitude" else 1)
    return losses, [(n, (score[n].flatten() * lcg(score[n].numel())).sum().item(), score[n].norm().item(), int(mask[n].sum()), (mask[n].flatten() * lcg(score[n].numel())).sum().item()) for n in pruned]


CASES = [
    ("magnitude=0.6", "magnitude", ("any",), 0.6, False),
    ("magnitude=2:4", "magnitude", ("nm", 2, 4), 0.5, False),
    ("magnitude=0.5@4x4", "magnitude", ("block", 4, 4), 0.5, False),
    ("movement=0.6", "movement", ("any",), 0.6, False),
    ("movement=0.6", "movement", ("any",), 0.6, True),
    ("movement=2:4", "movement", ("nm", 2, 4), 0.5, False),
    ("movement=0.5@4x4", "movement", ("block", 4, 4), 0.5, False),
]
out = ["/* Made by gen_sparsify.py from PyTorch %s, transformers %s: do not edit. */" % (torch.__version__.split("+")[0], tf.__version__)]
cases, rows = [], []
for i, (text, kind, shape, final, over_all) in enumerate(CASES):
    losses, tensors = run(kind, shape, final, over_all)
    cases.append('    { "%s", %s, { %s } },' % (text, "true" if over_all else "false", ", ".join("%.9g" % x for x in losses)))
    rows += ['    { %d, "%s", %.9g, %.9g, %d, %.9g },' % (i, n, product, norm, live, place) for n, product, norm, live, place in tensors]
out += ["static const struct sparsify_case sparsify_cases[] = {", *cases, "};", "static const struct sparsify_vector sparsify_vectors[] = {", *rows, "};"]
with open(os.path.join(HERE, "sparsify_vectors.h"), "w") as f:
    f.write("\n".join(out) + "\n")
