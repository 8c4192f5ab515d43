#!/usr/bin/env python3
"""Makes tests/vectors/grad_minilm_vectors.h: all-MiniLM-L6-v2 under training with each head, as PyTorch computes it in double precision: the
loss, facts of every gradient, and the losses of 20 steps of torch.optim.AdamW.

    gen_grad_minilm.py MINILM_DIRECTORY       needs torch, transformers; a few minutes

A gradient is told by its norm, its products with the numbers of two linear congruential generators, which the test makes too, and its largest
number with its place. Texts and the weights of new heads are made-up numbers, by formulas that the test has too."""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
import transformers as tf

HERE = os.path.dirname(os.path.abspath(__file__))
C, LENGTHS = 384, [5, 8, 11, 14, 17, 20]
RATE = 1e-4

torch.set_num_threads(1)


def lcg(n, seed):
    """The first n numbers; a stretch as long as the one that is there follows from it."""
    s, a, c = np.array([(seed * 1664525 + 1013904223) % 2**32], np.uint64), 1664525, 1013904223
    while len(s) < n:
        s = np.concatenate([s, (s * np.uint64(a) + np.uint64(c)) % np.uint64(2**32)])
        a, c = a * a % 2**32, (a * c + c) % 2**32
    return (s[:n] >> np.uint64(8)) / 2**24 - 0.5


class Net(torch.nn.Module):
    """The encoder and a head; forward gives the rows that the loss is of."""

    def __init__(self, path, head, classes):
        super().__init__()
        self.encoder, self.head = tf.BertModel.from_pretrained(path, dtype=torch.float64, add_pooling_layer=head == "pair", attn_implementation="eager"), head
        self.encoder.embeddings.word_embeddings.padding_idx = None
        at, self.new = 0, torch.nn.ParameterDict()
        dense = "cls/predictions/transform/dense/"
        norm = "cls/predictions/transform/LayerNorm/"
        shapes = {"classifier/weight": (classes, C), "classifier/bias": (classes,)} if classes else {}
        if head == "mlm":
            shapes = {dense + "weight": (C, C), dense + "bias": (C,), norm + "weight": (C,), norm + "bias": (C,), "cls/predictions/bias": (self.encoder.config.vocab_size,)}
        for name, shape in shapes.items():
            n = int(np.prod(shape))
            draws = 0.2 * lcg(n, 12345 + at) + (1 if name == norm + "weight" else 0)
            self.new[name] = torch.nn.Parameter(torch.tensor(draws.astype(np.float32).astype(np.float64).reshape(shape)))
            at += 1

    def forward(self):
        rows = []
        for i, n in enumerate(LENGTHS):
            ids = torch.tensor([[1000 + (37 * i + 101 * t) % 20000 for t in range(n)]])
            types = torch.tensor([[int(self.head == "pair" and 2 * t >= n) for t in range(n)]])
            out = self.encoder(input_ids=ids, token_type_ids=types)
            x = out.last_hidden_state[0]
            rows.append(out.pooler_output[0] if self.head == "pair" else x[0] if self.head == "regress" else x if self.head in ("tag", "mlm") else x.mean(0))
        x = torch.cat(rows) if self.head in ("tag", "mlm") else torch.stack(rows)
        if self.head == "embed":
            return F.normalize(x)
        p = self.new
        if self.head != "mlm":
            return F.linear(x, p["classifier/weight"], p["classifier/bias"])
        x = F.gelu(F.linear(x, p["cls/predictions/transform/dense/weight"], p["cls/predictions/transform/dense/bias"]))
        x = F.layer_norm(x, (C,), p["cls/predictions/transform/LayerNorm/weight"], p["cls/predictions/transform/LayerNorm/bias"], 1e-12)
        return F.linear(x, self.encoder.embeddings.word_embeddings.weight, p["cls/predictions/bias"])

    def tensors(self):
        yield from self.encoder.named_parameters()
        for name, p in self.new.items():
            yield name.replace("/", "."), p


def loss_of(kind, x):
    r = torch.arange(len(x))
    if kind in ("classes", "plain"):
        return F.cross_entropy(x, r % x.shape[1], label_smoothing=0.1 if kind == "classes" else 0)
    if kind == "square":
        return F.mse_loss(x[:, 0], r.to(x) / 4)
    if kind == "tokens":
        return F.cross_entropy(x, torch.where(r % 4 == 1, -100, (7 * r + 3) % x.shape[1]))
    if kind == "cosine":
        return F.mse_loss(F.cosine_similarity(x[0::2], x[1::2]), torch.tensor([0.25, 0.75, 0.5], dtype=x.dtype))
    return F.cross_entropy(20 * F.cosine_similarity(x[0::2, None], x[None, 1::2], dim=-1), torch.arange(len(x) // 2))


CASES = [("classify", 3, "classes"), ("pair", 3, "plain"), ("regress", 1, "square"), ("tag", 5, "tokens"), ("mlm", 0, "tokens"), ("embed", 0, "cosine"), ("embed", 0, "contrast")]


def curve(net, kind):
    tensors = [p for _, p in net.tensors()]
    opt = torch.optim.AdamW([{"params": [p for p in tensors if p.dim() > 1], "weight_decay": 0.01}, {"params": [p for p in tensors if p.dim() == 1], "weight_decay": 0}], lr=RATE)
    out = []
    for _ in range(20):
        loss = loss_of(kind, net())
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in tensors if p.grad is not None], 1.0)
        opt.step()
        out.append(loss.item())
    return out


def main():
    names, facts, cases = [], [], []
    for i, (head, classes, kind) in enumerate(CASES):
        net = Net(sys.argv[1], head, classes).eval()
        loss_of(kind, net()).backward()
        n = 0
        for name, p in net.tensors():
            if p.grad is None or p.grad.abs().max() == 0:
                continue
            if name not in names:
                names.append(name)
            g = p.grad.numpy().ravel()
            at = int(np.abs(g).argmax())
            facts.append("    { %d, %d, %.9g, { %.9g, %.9g }, %d, %.9g }," % (i, names.index(name), np.sqrt((g * g).sum()), (g * lcg(len(g), 12345)).sum(), (g * lcg(len(g), 54321)).sum(), at, g[at]))
            n += 1
        net.zero_grad()
        losses = curve(net, kind)
        print(head, kind, n, "gradients", losses[0], losses[-1], flush=True)
        cases.append('    { "%s", "%s", %d, %d, { %s } },' % (head, kind, classes, n, ", ".join("%.9g" % x for x in losses)))
    out = ["/* Made by gen_grad_minilm.py from PyTorch %s, transformers %s: do not edit. */" % (torch.__version__.split("+")[0], tf.__version__),
           "static const char *const minilm_tensors[] = {", *('    "%s",' % n for n in names), "};",
           "static const struct minilm_case minilm_cases[] = { /* head, loss, classes, gradients, losses of 20 steps */", *cases, "};",
           "static const struct minilm_fact minilm_facts[] = { /* case, tensor, norm, two products, place and value of the largest number */", *facts, "};"]
    with open(os.path.join(HERE, "grad_minilm_vectors.h"), "w") as f:
        f.write("\n".join(out) + "\n")


main()
