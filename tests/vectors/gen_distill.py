#!/usr/bin/env python3
"""Makes tests/vectors/distill_vectors.h: losses of distillation and their gradients as PyTorch computes them, in double precision, on the numbers of a
linear congruential generator, which the test makes too.

    gen_distill.py       needs torch"""
import os

import torch
import torch.nn.functional as F

START = [0, 3, 4, 21, 92]  # sequences of 3, 1, 17 and 71 rows: more than one tile
R, C, CT, HEADS = START[-1], 24, 36, 3


def lcg(seed, *shape):
    n, s, out = 1, seed, []
    for d in shape:
        n *= d
    for _ in range(n):
        s = (s * 1664525 + 1013904223) % 2**32
        out.append(4 * ((s >> 8) / 2**24 - 0.5))
    return torch.tensor(out, dtype=torch.float32).double().reshape(shape)


def heads(x):
    return x.reshape(len(x), HEADS, -1).transpose(0, 1)


def relation(mode, a, b, ta, tb, causal):
    total = 0
    for s, e in zip(START, START[1:]):
        def scores(x, y):
            x, y = heads(x[s:e]), heads(y[s:e])
            return x @ y.transpose(1, 2) / x.shape[2] ** 0.5

        mine, theirs = scores(a, b), scores(ta, tb)
        seen = torch.ones(e - s, e - s).tril().bool() if causal else torch.ones(e - s, e - s).bool()
        if mode == "scores":
            total = total + ((mine - theirs)[:, seen] ** 2).sum()
        else:
            mine, theirs = (x.masked_fill(~seen, -1e30).log_softmax(2) for x in (mine, theirs))
            total = total + (theirs.exp() * (theirs - mine)).sum()
    return total


def emit(name, loss, *grads):
    print_to = []
    for g in grads:
        print_to += [g.norm().item(), (g * lcg(99, *g.shape)).sum().item()]
    print_to += [0.0] * (4 - len(print_to))
    lines.append('    { "%s", %.12g, { %s } },' % (name, loss.item(), ", ".join("%.12g" % x for x in print_to)))


lines = []
for mode in ("scores", "softmax"):
    for causal in (False, True):
        a, b, ta, tb = lcg(1, R, C).requires_grad_(), lcg(2, R, C).requires_grad_(), lcg(3, R, CT), lcg(4, R, CT)
        loss = relation(mode, a, b, ta, tb, causal)
        emit(mode + ("_causal" if causal else ""), loss, *torch.autograd.grad(loss, (a, b)))
    a, ta = lcg(1, R, C).requires_grad_(), lcg(3, R, CT)
    loss = relation(mode, a, a, ta, ta, False)
    emit(mode + "_self", loss, *torch.autograd.grad(loss, (a,)))
x, t = lcg(5, R, C).requires_grad_(), lcg(6, R, C)
for name, loss in {
    "soft_1": -(t.softmax(1) * x.log_softmax(1)).sum(),
    "soft_2.5": -(2.5**2) * ((t / 2.5).softmax(1) * (x / 2.5).log_softmax(1)).sum(),
    "mse": ((x - t) ** 2).sum(),
    "direction": (1 - F.cosine_similarity(x, t)).sum(),
    "first": ((F.normalize(x) - F.normalize(t))[START[:-1]] ** 2).sum() / 2,
}.items():
    emit(name, loss, *torch.autograd.grad(loss, (x,)))
x, t = lcg(5, R, 2).requires_grad_(), lcg(6, R, 2)
spans = list(enumerate(zip(START, START[1:])))
label = lambda s, c, n: 5 * (s + c) % n  # row of the sequence; the end of the third does not count
for name, loss in {
    "span_labels": sum(F.cross_entropy(x[None, a:b, c], torch.tensor([label(s, c, b - a)]), label_smoothing=0.1) for s, (a, b) in spans for c in range(2) if (s, c) != (2, 1)) / 2,
    "span_soft": -(2.5**2) * sum(((t[a:b] / 2.5).softmax(0) * (x[a:b] / 2.5).log_softmax(0)).sum() for _, (a, b) in spans) / 2,
}.items():
    emit(name, loss, *torch.autograd.grad(loss, (x,)))
open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "distill_vectors.h"), "w").write(
    "/* Made by tests/vectors/gen_distill.py with PyTorch. { loss, { norm of the gradient, its product with fixed numbers } of each input } */\n"
    "static const struct distill_vector vectors[] = {\n" + "\n".join(lines) + "\n};\n"
)
