#!/usr/bin/env python3
"""Makes tests/vectors/mask_gradients_vectors.h: derivatives of each sample's loss by masks on heads and neurons, in PyTorch and double precision, on the
tiny checkpoints of gen_arch.py and the inputs stored with them (Kwon et al. 2022, arXiv:2204.09656; Michel et al. 2019, arXiv:1905.10650): Fisher and
Taylor of every unit, and the best masks by the whole Fisher matrix of a site, found by trying all.

    gen_mask_gradients.py                needs torch, transformers, safetensors"""
import itertools
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
import transformers as tf

HERE = os.path.dirname(os.path.abspath(__file__))


def inputs(case, head):
    raw = open(os.path.join(HERE, "arch", case, head + ".bin"), "rb").read()
    n, tokens, _, _ = struct.unpack("<4i", raw[:16])
    ints = np.frombuffer(raw, "<i4", n + 1 + 2 * tokens, 16)
    start, ids, types = ints[: n + 1], ints[n + 1 : n + 1 + tokens], ints[n + 1 + tokens :]
    return [(ids[start[i] : start[i + 1]].astype(np.int64), types[start[i] : start[i + 1]].astype(np.int64)) for i in range(n)]


def gradients(case, head, cls, kind):
    kw = {"add_pooling_layer": False} if cls is tf.BertModel else {}
    model = cls.from_pretrained(os.path.join(HERE, "arch", case), dtype=torch.float64, attn_implementation="eager", **kw).eval()
    encoder = (model.bert if hasattr(model, "bert") else model).encoder
    heads, masks = model.config.num_attention_heads, []
    for layer in encoder.layer:
        for dense, units in (layer.attention.output.dense, heads), (layer.output.dense, model.config.intermediate_size):
            mask = torch.ones(units, dtype=torch.float64, requires_grad=True)
            masks.append(mask)
            dense.register_forward_pre_hook(lambda m, x, mask=mask: (x[0] * mask.repeat_interleave(x[0].shape[-1] // len(mask)),))
    rows, g = [], [[] for _ in masks]

    def run(i):
        ids, types = texts[i]
        return model(input_ids=torch.tensor(ids)[None], token_type_ids=torch.tensor(types)[None], attention_mask=torch.ones(1, len(ids), dtype=torch.long))

    texts = inputs(case, head)
    for s in range(len(texts) if kind == "classes" else len(texts) // 2):
        if kind == "classes":
            x = run(s).logits
            loss = F.cross_entropy(x, torch.tensor([s % x.shape[1]]))
        else:
            a, b = (F.normalize(run(i).last_hidden_state[0].mean(0), dim=0) for i in (2 * s, 2 * s + 1))
            loss = (a @ b - s / 4) ** 2
        for k, d in enumerate(torch.autograd.grad(loss, masks)):
            g[k].append(d.numpy())
    return [np.stack(x) for x in g]


def floats(name, rows):
    rows = list(rows)
    print("static const double %s[] = {" % name, file=out)
    for r in rows:
        print("    " + ", ".join("%.9g" % x for x in r) + ",", file=out)
    print("};", file=out)


out = open(os.path.join(HERE, "mask_gradients_vectors.h"), "w")
print("/* Made by gen_mask_gradients.py from PyTorch %s, transformers %s: do not edit. */" % (torch.__version__.split("+")[0], tf.__version__), file=out)
for case, head, cls, kind in ("bert_classify", "classify", tf.BertForSequenceClassification, "classes"), ("bert_st_mean", "embed", tf.BertModel, "cosine"):
    g = gradients(case, head, cls, kind)
    floats("mg_%s_fisher" % kind, [(x**2).mean(0) for x in g])
    floats("mg_%s_taylor" % kind, [abs(x).mean(0) for x in g])
# Exchanges of two on made-up gradients, with the best of all choices beside it.
rng = np.random.default_rng(5)
G = np.round(rng.normal(size=(40, 12)) + rng.normal(size=(40, 1)) * rng.choice([-1, 1], 12), 3)
best = min(itertools.combinations(range(12), 5), key=lambda gone: (G[:, gone].sum(1) ** 2).sum())
print("static const float mg_exchange[] = {", file=out)
for row in G:
    print("    " + ", ".join("%.3ff" % x for x in row) + ",", file=out)
print("};\nstatic const double mg_exchange_best = %.9g; /* sum of squares when the best 5 of 12 go */" % (G[:, best].sum(1) ** 2).sum(), file=out)
