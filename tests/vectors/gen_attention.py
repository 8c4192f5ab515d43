#!/usr/bin/env python3
"""Makes tests/vectors/attention_vectors.h: what the attention kinds give, from the formulas of the papers written out in PyTorch with dense
masks, in double precision, and the gradients that PyTorch derives from them. Inputs come from a linear congruential generator that the test
has too; an output is told by one number a row (its product with generated numbers), a gradient by its norm and one product.

    gen_attention.py [--check] [--int8]   needs torch; --check compares the formulas with the classes of transformers first; --int8 prints what int8 should cost
                                          linformer, from the roundings alone, which test_attention prints too"""
import math
import os
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTHS = [5, 0, 1, 40, 300]
START = np.concatenate([[0], np.cumsum(LENGTHS)])
ROWS = int(START[-1])


def lcg(n, seed, spread=1.0):
    s, out = seed, np.empty(n)
    for i in range(n):
        s = (s * 1664525 + 1013904223) % 2**32
        out[i] = (s >> 8) / 2**24 - 0.5
    return (2 * spread * out).astype(np.float32).astype(np.float64)


def flags(n, seed, every):
    """int32 flags, one in `every`"""
    return ((lcg(n, seed) + 1) * 2**23).astype(np.int64) % every == 0


class Input:
    """One input of the attention node: a value of R rows ('v'), flags ('i') or a tensor ('t')."""

    def __init__(self, what, cols, rows=ROWS, spread=1.0, every=0):
        self.what, self.cols, self.rows, self.spread, self.every = what, cols, rows, spread, every


def heads_of(x, h):
    return x.reshape(x.shape[0], h, -1).transpose(0, 1)  # (h, n, d)


def softmax_v(s, seen, v):
    """(h,n,m) scores, (n,m) or (h,n,m) mask; a row that sees nothing gives zeros"""
    s = s.masked_fill(~seen, -math.inf)
    p = torch.exp(s - s.amax(-1, keepdim=True).clamp(min=-1e30))
    return torch.nan_to_num(p / p.sum(-1, keepdim=True)) @ v


def merge(o):
    return o.transpose(0, 1).reshape(o.shape[1], -1)


def group_keys(x, heads, kv):
    return heads_of(x, kv).repeat_interleave(heads // kv, 0)


def spans(span, ramp, q, k, v, qg, kg, vg, glob, far, a):
    """longformer with a span (h) for each head: whole windows, or Sukhbaatar's soft mask, which multiplies exponentials; global keys count once"""
    scale = a.get("scale") or 1 / math.sqrt(q.shape[-1])
    x = far.abs()[None].double()
    m = ((ramp + span[:, None, None] - x) / ramp).clamp(0, 1) if ramp else (x <= (span[:, None, None] + 0.5).floor()).double()
    m = torch.where(glob[None, None, :], torch.ones_like(m), m)
    past = (far <= 0).double() if a.get("causal") else torch.ones_like(far).double()
    e = torch.exp(q @ k.transpose(1, 2) * scale) * m * past
    eg = torch.exp(qg @ kg.transpose(1, 2) * scale) * past
    return torch.where(glob[None, :, None], eg / eg.sum(-1, keepdim=True) @ vg, e / e.sum(-1, keepdim=True) @ v)


# ---- the kinds: one sequence; x: its rows of each input (tensors whole), a: attributes ----
def longformer(x, a):
    h, kv, n = a["heads"], a.get("kv_heads") or a["heads"], x[0].shape[0]
    q, k, v = heads_of(x[0], h), group_keys(x[1], h, kv), group_keys(x[2], h, kv)
    if len(x) > 8 and x[8] is not None:  # folded: what the global projections are made of; keys' bias is not seen by a softmax
        x = list(x) + [None] * (11 - len(x))
        bias = lambda b: 0 if b is None else b
        x[3:6] = x[3] @ x[8].T + bias(x[9]), x[3] @ x[4].T, x[3] @ x[5].T + bias(x[10])
    qg, kg, vg = (heads_of(x[3], h), group_keys(x[4], h, kv), group_keys(x[5], h, kv)) if len(x) > 3 and x[3] is not None else (q, k, v)
    i = torch.arange(n)
    glob = i < a.get("global_first", 0)
    if len(x) > 6 and x[6] is not None:
        glob = glob | x[6][:, 0]
    far, d = i[None, :] - i[:, None], a.get("dilation") or 1
    if len(x) > 7 and x[7] is not None:
        return merge(spans(x[7][0].clamp(0, 1) * a["window"], a.get("ramp"), q, k, v, qg, kg, vg, glob, far, a))
    seen = ((far.abs() <= a["window"] * d) & (far % d == 0)) | glob[None, :]
    past = far <= 0 if a.get("causal") else torch.ones_like(seen)
    scale = a.get("scale") or 1 / math.sqrt(q.shape[-1])
    local = softmax_v(q @ k.transpose(1, 2) * scale, seen & past, v)
    whole = softmax_v(qg @ kg.transpose(1, 2) * scale, past, vg)
    return merge(torch.where(glob[None, :, None], whole, local))


def linformer(x, a):
    h, kv, n = a["heads"], a.get("kv_heads") or a["heads"], x[0].shape[0]
    q, k, v = heads_of(x[0], h), heads_of(x[1], kv), heads_of(x[2], kv)
    slots = a.get("slots") or x[3].shape[0]
    e, f = x[3], x[4] if len(x) > 4 and x[4] is not None else x[3]
    k, v = [(p[:, :n].reshape(-1, slots, n) @ y).repeat_interleave(h // kv, 0) for p, y in ((e, k), (f, v))]
    p = torch.softmax(q @ k.transpose(1, 2) * (a.get("scale") or 1 / math.sqrt(q.shape[-1])), -1)
    return merge(p @ v)


def reformer(x, a):
    h, n, m, before, after = a["heads"], x[0].shape[0], a["chunk"], a.get("before", 0), a.get("after", 0)
    q, k, v = heads_of(x[0], h), heads_of(x[1], h), heads_of(x[2], h)
    d, lsh = q.shape[-1], len(x) > 3
    chunks = -(-n // m)
    rounds = a["rounds"] if lsh and chunks > 1 else 1
    times = torch.zeros(h, n, n, dtype=torch.float64)  # how often a key is a candidate
    for head in range(h):
        ring = []
        for r in range(rounds):
            bucket = torch.zeros(n, dtype=torch.long)
            if lsh and chunks > 1:
                p = q[head].detach() @ x[3].detach().reshape(h, d, rounds, -1)[head, :, r]
                at, by = 0, 1
                for b in [a["buckets"]] + ([a["buckets2"]] if a.get("buckets2") else []):
                    part = p[:, at : at + b // 2]
                    bucket += by * torch.cat([part, -part], 1).argmax(1)
                    at, by = at + b // 2, by * b
            order = torch.argsort(bucket, stable=True)
            ring += [order[c * m : (c + 1) * m] for c in range(chunks)]
        for c in range(len(ring)):
            for o in range(-before, after + 1) if chunks > 1 else [0]:
                for i in ring[c]:
                    times[head, i, ring[(c + o) % len(ring)]] += 1
    if lsh:
        k = k / torch.sqrt((k * k).sum(-1, keepdim=True) + d * 1e-6)
    s = q @ k.transpose(1, 2) * (a.get("scale") or 1 / math.sqrt(d))
    i = torch.arange(n)
    if a.get("causal"):
        s = s.masked_fill(i[None, :] > i[:, None], -math.inf)
    if lsh:
        s = s.masked_fill(torch.eye(n, dtype=torch.bool), -1e5)
    s = s + torch.log(times)
    return merge(torch.softmax(s, -1) @ v)


def synthesizer(x, a):
    h, kv, n, L = a["heads"], a.get("kv_heads") or a["heads"], x[0].shape[0], a["positions"]
    x = list(x) + [None] * (9 - len(x))
    v, parts = group_keys(x[2], h, kv), []
    each = lambda t, rows: t.reshape(-1, rows, t.shape[1]) if t.shape[0] > rows else t[None]
    if a.get("dot"):
        q, k = heads_of(x[0], h), group_keys(x[1], h, kv)
        parts.append(q @ k.transpose(1, 2) * (a.get("scale") or 1 / math.sqrt(q.shape[-1])))
    if x[3] is not None:
        r, rank, band = each(x[3], L), a.get("rank"), a.get("window")
        place = torch.arange(n)[None, :] - torch.arange(n)[:, None] + (band or 0)  # of key j in row i of a band
        if band:
            parts.append(r[:, :n].gather(2, place.clamp(0, 2 * band)[None].expand(r.shape[0], n, n)).expand(h, n, n))
        else:
            parts.append((r[:, :n, :rank] @ r[:, :n, rank:].transpose(1, 2) if rank else r[:, :n, :n]).expand(h, n, n))
    if x[4] is not None:
        s = heads_of(x[5], h) @ each(x[4], L)[:, :n].transpose(1, 2)
        parts.append(s if x[6] is None else s + x[6][:, None, :n])
    if x[7] is not None:
        f, j, fa = heads_of(x[7], h), torch.arange(n), a["factor"]
        parts.append(f[:, :, j % fa] * f[:, :, fa + j // fa])
    w = torch.softmax(x[8][0], 0) if x[8] is not None else [1.0] * len(parts)
    s = sum(wi * p for wi, p in zip(w, parts))
    i = torch.arange(n)
    seen = (i[None, :] <= i[:, None]) if a.get("causal") else torch.ones(n, n, dtype=torch.bool)
    if a.get("window"):
        seen = seen & ((i[None, :] - i[:, None]).abs() <= a["window"])
    return merge(softmax_v(s, seen, v))


def hedgehog(x, a):
    h, kv, n = a["heads"], a.get("kv_heads") or a["heads"], x[0].shape[0]
    q, k, v = heads_of(x[0], h), group_keys(x[1], h, kv), group_keys(x[2], h, kv)
    root = math.sqrt(a.get("scale") or 1 / math.sqrt(q.shape[-1]))
    if len(x) > 3:
        w = x[3].reshape(-1, a["slots"], q.shape[-1]) if a.get("slots") else x[3].reshape(h, -1, q.shape[-1])
        q, k = q @ w.transpose(1, 2), k @ w.transpose(1, 2)
    phi = lambda u: torch.cat([torch.softmax(root * u, -1), torch.softmax(-root * u, -1)], -1)
    p = phi(q) @ phi(k).transpose(1, 2)
    if a.get("causal"):
        p = p * torch.tril(torch.ones(n, n, dtype=p.dtype))
    return merge(p @ v / p.sum(-1, keepdim=True))


KINDS = {"hedgehog": hedgehog, "longformer": longformer, "linformer": linformer, "reformer": reformer, "synthesizer": synthesizer}


def qkv(heads, d, kv=0, spread=1.5):
    kv = kv or heads
    return [Input("v", heads * d, spread=spread), Input("v", kv * d, spread=spread), Input("v", kv * d)]


def SHARED(heads, d):
    return [Input("v", heads * d), Input("=", heads * d), Input("v", heads * d)]  # '=': the input before


CASES = [
    ("longformer", dict(heads=2, window=16), qkv(2, 16)),
    ("longformer", dict(heads=2, window=3, global_first=1), qkv(2, 8) * 2),
    ("longformer", dict(heads=4, kv_heads=2, window=20, causal=1), qkv(4, 12, 2)),
    ("longformer", dict(heads=2, window=9, dilation=3, global_first=2), qkv(2, 16) * 2),
    ("longformer", dict(heads=2, window=130, scale=0.3), qkv(2, 20) * 2 + [Input("i", 1, every=9)]),
    ("longformer", dict(heads=2, window=30, causal=1, dilation=2), qkv(2, 32) * 2 + [Input("i", 1, every=5)]),
    ("longformer", dict(heads=1, window=1000), qkv(1, 26)),
    ("longformer", dict(heads=2, window=0), qkv(2, 4)),
    ("linformer", dict(heads=2), qkv(2, 16) + [Input("t", 300, 20, 0.3)]),
    ("linformer", dict(heads=2, slots=24), qkv(2, 8) + [Input("t", 301, 48, 0.3), Input("t", 400, 48, 0.3)]),
    ("linformer", dict(heads=4, kv_heads=2, slots=130), qkv(4, 12, 2) + [Input("t", 320, 260, 0.2), Input("t", 300, 130, 0.2)]),
    ("reformer", dict(heads=2, chunk=16, before=1, rounds=2, buckets=8, scale=1.0), SHARED(2, 16) + [Input("t", 8, 32)]),
    ("reformer", dict(heads=2, chunk=32, before=1, after=1, rounds=3, buckets=4, buckets2=6), SHARED(2, 26) + [Input("t", 15, 52)]),
    ("reformer", dict(heads=1, chunk=13, before=1, rounds=4, buckets=16, causal=1, scale=1.0), SHARED(1, 32) + [Input("t", 32, 32)]),
    ("reformer", dict(heads=2, chunk=150, before=1, rounds=2, buckets=2, scale=1.0), SHARED(2, 8) + [Input("t", 2, 16)]),
    ("reformer", dict(heads=2, chunk=16, before=1, after=0), qkv(2, 12)),
    ("reformer", dict(heads=2, chunk=20, before=2, after=1, causal=1), qkv(2, 16)),
    ("synthesizer", dict(heads=2, positions=300), SHARED(2, 16) + [Input("t", 300, 600, 2.0)]),
    ("synthesizer", dict(heads=2, positions=310, rank=8, causal=1), SHARED(2, 12) + [Input("t", 16, 310)]),
    ("synthesizer", dict(heads=2, positions=300), SHARED(2, 8) + [None, Input("t", 10, 600), Input("v", 20), Input("t", 300, 2)]),
    ("synthesizer", dict(heads=2, positions=300, factor=12), SHARED(2, 20) + [None, None, None, None, Input("v", 74, spread=2.0)]),
    ("synthesizer", dict(heads=4, kv_heads=2, positions=320, factor=10, dot=1, rank=4, causal=1),
     qkv(4, 12, 2) + [Input("t", 8, 1280), Input("t", 6, 320), Input("v", 24), Input("t", 320, 1), Input("v", 168), Input("t", 4, 1)]),
    ("synthesizer", dict(heads=2, positions=300, dot=1), qkv(2, 16) + [Input("t", 300, 300)]),
    ("hedgehog", dict(heads=2), qkv(2, 16)),
    ("hedgehog", dict(heads=4, kv_heads=2, causal=1), qkv(4, 12, 2)),
    ("hedgehog", dict(heads=2, scale=2.0), qkv(2, 26) + [Input("t", 26, 40, 0.5)]),
    ("hedgehog", dict(heads=4, kv_heads=2, slots=24, causal=1), qkv(4, 20, 2) + [Input("t", 20, 24, 0.5)]),
    ("linformer", dict(heads=1, slots=1), qkv(1, 70) + [Input("t", 300, 1, 0.3)]),
    ("longformer", dict(heads=4, kv_heads=2, window=24, ramp=16), qkv(4, 12, 2) + [None] * 4 + [Input("t", 4, 1)]),
    ("longformer", dict(heads=4, window=150, ramp=9, global_first=1), qkv(4, 10) * 2 + [Input("i", 1, every=30), Input("t", 4, 1)]),
    ("longformer", dict(heads=2, window=80, ramp=30, causal=1, global_first=2), qkv(2, 16) + [None] * 4 + [Input("t", 2, 1)]),
    ("longformer", dict(heads=4, window=70, global_first=1), qkv(4, 16) * 2 + [None, Input("t", 4, 1)]),
    ("longformer", dict(heads=4, window=150, causal=1), qkv(4, 20) + [None] * 4 + [Input("t", 4, 1)]),
    ("longformer", dict(heads=2, window=3, global_first=1),
     qkv(2, 8) + [Input("v", 20), Input("t", 20, 16, 0.5), Input("t", 20, 16, 0.5), None, None, Input("t", 20, 16, 0.5), Input("t", 16, 1), Input("t", 16, 1)]),
    ("longformer", dict(heads=4, window=40, causal=1, scale=0.2),
     qkv(4, 12) + [Input("v", 30), Input("t", 30, 48, 0.5), Input("t", 30, 48, 0.5), Input("i", 1, every=9), Input("t", 4, 1), Input("t", 30, 48, 0.5), None, Input("t", 48, 1)]),
    ("synthesizer", dict(heads=2, positions=300, window=20), SHARED(2, 20) + [Input("t", 41, 600, 2.0)]),
    ("synthesizer", dict(heads=2, positions=420, window=130, causal=1), SHARED(2, 16) + [Input("t", 261, 420, 2.0)]),
]


def run(kind, attr, inputs):
    data = []
    for i, x in enumerate(inputs):
        if x is None:
            data.append(None)
        elif x.what == "=":
            data.append(data[-1])
        elif x.what == "i":
            data.append(torch.tensor(flags(x.rows * x.cols, 1000 + i, x.every)).reshape(x.rows, x.cols))
        else:
            data.append(torch.tensor(lcg(x.rows * x.cols, 1000 + i, x.spread)).reshape(x.rows, x.cols).requires_grad_())
    out = []
    for s in range(len(LENGTHS)):
        rows = slice(int(START[s]), int(START[s + 1]))
        if LENGTHS[s]:
            out.append(KINDS[kind]([d if d is None or x.what == "t" else d[rows] for d, x in zip(data, inputs)], attr))
    out = torch.cat(out)
    weight = torch.tensor(lcg(out.numel(), 77)).reshape(out.shape)
    (out * weight).sum().backward()
    grads = []
    folded = kind == "longformer" and len(inputs) > 8  # has no derivative
    for i, (d, x) in enumerate(zip(data, inputs)):
        if not folded and d is not None and x.what not in "i=" and d.grad is not None:
            grads.append((i, float(d.grad.norm()), float((d.grad.reshape(-1) * torch.tensor(lcg(d.grad.numel(), 55))).sum())))
    probe = torch.tensor(lcg(out.shape[1], 33))
    return (out.detach() @ probe).numpy(), grads


def write():
    out = ["/* Made by gen_attention.py: do not edit. */", "static const int32_t lengths[] = { %s };" % ", ".join(map(str, LENGTHS)), ""]
    table = []
    for n, (kind, attr, inputs) in enumerate(CASES):
        rows, grads = run(kind, attr, inputs)
        out.append("static const float rows_%d[] = { %s };" % (n, ", ".join("%.7gf" % x if "." in "%.7g" % x or "e" in "%.7g" % x else "%.7g.0f" % x for x in rows)))
        ins = ", ".join("{ 0, 0, 0, 0, 0 }" if x is None else "{ '%s', %d, %d, %.3ff, %d }" % (x.what, x.rows, x.cols, x.spread, x.every) for x in inputs)
        gs = ", ".join("{ %d, %.9g, %.9g }" % g for g in grads)
        at = ", ".join(".%s = %s" % (k, "%.3ff" % v if isinstance(v, float) else v) for k, v in attr.items())
        table.append('    { "%s", { %s }, %d, { %s }, rows_%d, %d, { %s } },' % (kind, at, len(inputs), ins, n, len(grads), gs or "{ 0, 0, 0 }"))
    out += ["", "static const struct attention_vector vectors[] = {"] + table + ["};", ""]
    open(os.path.join(HERE, "attention_vectors.h"), "w").write("\n".join(out))


# ---- the formulas against transformers ----
def check_longformer():
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    n, dim, h, w = 64, 16, 2, 16
    torch.manual_seed(0)
    m = LongformerSelfAttention(LongformerConfig(hidden_size=dim, num_attention_heads=h, num_hidden_layers=1, attention_window=[w], attention_probs_dropout_prob=0.0), 0).eval().double()
    x, mask, live = torch.randn(1, n, dim).double(), torch.zeros(1, n).double(), 60
    mask[0, [0, 13]] = 10000.0
    mask[0, live:] = -10000.0
    y = m(x, mask, is_index_masked=mask < 0, is_index_global_attn=mask > 0, is_global_attn=True)[0][0]
    x = x[0, :live]
    flag = torch.zeros(live, 1, dtype=torch.bool)
    flag[[0, 13]] = True
    got = longformer([getattr(m, p)(x) for p in ("query", "key", "value", "query_global", "key_global", "value_global")] + [flag], dict(heads=h, window=w // 2))
    return float((got - y[:live]).detach().abs().max())


def check_reformer(causal):
    from transformers import ReformerConfig
    from transformers.models.reformer.modeling_reformer import LSHSelfAttention

    n, dim, h, d, m, rounds, buckets = 64, 16, 2, 8, 8, 2, [4, 6]
    cfg = ReformerConfig(hidden_size=dim, num_attention_heads=h, attention_head_size=d, attn_layers=["lsh"], lsh_attn_chunk_length=m, num_hashes=rounds, num_buckets=buckets,
                         hash_seed=7, is_decoder=causal, lsh_attention_probs_dropout_prob=0.0, axial_pos_embds_dim=[8, 8])
    torch.manual_seed(0)
    layer = LSHSelfAttention(cfg, 0).eval().double()
    layer.self_mask_value_float32, layer.mask_value_float32 = layer.self_mask_value_float32.double(), layer.mask_value_float32.double()
    x = torch.randn(1, n, dim).double()
    y = layer(x, None).hidden_states[0]
    torch.manual_seed(7)
    rot = torch.randn(h, d, rounds, sum(buckets) // 2, dtype=torch.float64)
    qk, v = layer.query_key(x[0]), layer.value(x[0])
    got = reformer([qk, qk, v, rot.reshape(h * d, -1)], dict(heads=h, chunk=m, before=1, rounds=rounds, buckets=4, buckets2=6, scale=1.0, causal=causal))
    return float((got - y).detach().abs().max())


def check_local():
    from transformers import ReformerConfig
    from transformers.models.reformer.modeling_reformer import LocalSelfAttention

    n, dim, h, d, m = 64, 16, 2, 8, 8
    cfg = ReformerConfig(hidden_size=dim, num_attention_heads=h, attention_head_size=d, attn_layers=["local"], local_attn_chunk_length=m, is_decoder=False,
                         local_attention_probs_dropout_prob=0.0, axial_pos_embds_dim=[8, 8])
    layer = LocalSelfAttention(cfg, 0).eval().double()
    x = torch.randn(1, n, dim).double()
    got = reformer([layer.query(x[0]), layer.key(x[0]), layer.value(x[0])], dict(heads=h, chunk=m, before=1))
    return float((got - layer(x).hidden_states[0]).detach().abs().max())


# ---- what rounding costs ----
def rounded(x, axis=-1):
    s = np.abs(x).max(axis, keepdims=True) / 127
    s[s == 0] = 1
    return np.rint(x / s) * s


def linformer_int8(a, inputs):
    """error of the norm: E by row and block of 128 tokens, what it mixes by column and block, q and k by row, v by column and block, p in 7 bits"""
    data = [lcg(x.rows * x.cols, 1000 + i, x.spread).reshape(x.rows, x.cols) for i, x in enumerate(inputs)]
    h, kv, slots = a["heads"], a.get("kv_heads") or a["heads"], a.get("slots") or data[3].shape[0]
    off = total = 0
    for s, n in enumerate(LENGTHS):
        if n == 0:
            continue
        rows = slice(int(START[s]), int(START[s]) + n)
        q, k, v = [x[rows].reshape(n, m, -1).transpose(1, 0, 2) for x, m in zip(data, (h, kv, kv))]
        scale = a.get("scale") or 1 / math.sqrt(q.shape[-1])
        e = [p.reshape(-1, slots, p.shape[1]) for p in (data[3], data[-1])]
        whole = [(p[:, :, :n] @ y).repeat(h // kv, 0) for p, y in zip(e, (k, v))]
        parts = [sum(rounded(p[:, :, j : j + 128])[:, :, : min(128, n - j)] @ rounded(y[:, j : j + 128], 1) for j in range(0, n, 128)).repeat(h // kv, 0) for p, y in zip(e, (k, v))]
        p = np.exp(q @ whole[0].transpose(0, 2, 1) * scale)
        want = p / p.sum(-1, keepdims=True) @ whole[1]
        score, num, den = rounded(q) @ rounded(parts[0]).transpose(0, 2, 1) * scale, 0, 0
        for j in range(0, slots, 128):
            top = score[..., j : j + 128].max(-1, keepdims=True)
            p = np.rint(127 * np.exp(score[..., j : j + 128] - top))
            num, den = num + np.exp(top) * (p @ rounded(parts[1][:, j : j + 128], 1)), den + np.exp(top) * p.sum(-1, keepdims=True)
        off, total = off + ((num / den - want) ** 2).sum(), total + (want**2).sum()
    return math.sqrt(off / total)


if __name__ == "__main__":
    if "--int8" in sys.argv:
        print(*["%.4f" % linformer_int8(a, x) for kind, a, x in CASES if kind == "linformer"])
    if "--check" in sys.argv:
        for name, fn in [
            ("LongformerSelfAttention", check_longformer),
            ("LSHSelfAttention", lambda: check_reformer(False)),
            ("LSHSelfAttention, causal", lambda: check_reformer(True)),
            ("LocalSelfAttention", check_local),
        ]:
            e = fn()
            print(name, "differs by", e)
            assert e < 1e-6, name  # Longformer takes its softmax in f32
    write()
