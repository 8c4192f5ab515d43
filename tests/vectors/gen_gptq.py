#!/usr/bin/env python3
"""GPTQ (Frantar et al. 2022, arXiv:2210.17323) in numpy double precision, written from the paper; scales by the largest magnitude.
usage: gen_gptq.py > tests/vectors/gptq_vectors.h"""
import numpy as np

K, N, GROUP, DAMP, TOKENS = 96, 20, 32, 0.01, 300
rng = np.random.default_rng(5)
X = (rng.standard_normal((TOKENS, 24)) @ rng.standard_normal((24, K)) + 0.3 * rng.standard_normal((TOKENS, K))) * np.exp(rng.standard_normal(K))
X[:, 40] = 0                                                    # an input that is never there
H = (X.T @ X).astype(np.float32).astype(np.float64)
W = rng.standard_normal((N, K)).astype(np.float32).astype(np.float64) * 0.1
W = W.astype(np.float32).astype(np.float64)

def scale_of(w):                                                # the extreme of a group becomes -8
    return float(np.float16(np.float32(w[np.argmax(np.abs(w))]) / np.float32(-8)))

def gptq(act_order):
    h = H.copy()
    mean = np.mean(np.diag(h))
    dead = np.diag(h) == 0
    h[dead, dead] = 1
    h += DAMP * mean * np.eye(K)
    order = np.argsort(-np.diag(H), kind="stable") if act_order else np.arange(K)
    h = h[order][:, order]
    U = np.linalg.cholesky(np.linalg.inv(h)).T                  # inv(h) = U^T U, U upper
    w, q = W[:, order].copy(), np.zeros((N, K), int)
    scale = np.array([[scale_of(W[r, g:g + GROUP]) for g in range(0, K, GROUP)] for r in range(N)])
    for j in range(K):
        k = order[j]
        for r in range(N):
            if not act_order and k % GROUP == 0:
                scale[r, k // GROUP] = scale_of(w[r, k:k + GROUP])
            s = scale[r, k // GROUP]
            q[r, k] = int(np.clip(np.rint(w[r, j] / s), -8, 7))
            e = (w[r, j] - s * q[r, k]) / U[j, j]
            w[r, j:] -= e * U[j, j:]
    E = W - q * np.repeat(scale, GROUP, 1)
    return q, np.trace(E @ H @ E.T)

def show(name, kind, a, fmt):
    print(f"static const {kind} {name}[{a.size}] = {{")
    flat = [fmt(v) for v in a.reshape(-1)]
    for i in range(0, len(flat), 12):
        print("    " + ", ".join(flat[i:i + 12]) + ",")
    print("};")

print("/* Made by gen_gptq.py: H, W, and what GPTQ makes of them in double precision. */")
print(f"enum {{ GPTQ_K = {K}, GPTQ_N = {N}, GPTQ_GROUP = {GROUP} }};")
print(f"static const double gptq_damp = {DAMP};")
show("gptq_h", "float", H, lambda v: f"{v:.9g}f" if "." in f"{v:.9g}" or "e" in f"{v:.9g}" else f"{v:.9g}.0f")
show("gptq_w", "float", W, lambda v: f"{v:.9g}f")
for name, act in (("ordered", True), ("plain", False)):
    q, loss = gptq(act)
    show(f"gptq_q_{name}", "int8_t", q, str)
    print(f"static const double gptq_loss_{name} = {loss:.9g};")
