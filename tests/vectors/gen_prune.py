#!/usr/bin/env python3
"""Writes prune_vectors.h: magnitude, Wanda and SparseGPT on small matrices, in numpy and double precision, written from the papers
(arXiv:2306.11695, section 3; arXiv:2301.00774, algorithm 1).

Needs numpy. Never needed at test time. usage: gen_prune.py > prune_vectors.h
"""
import numpy as np


def drop_smallest(score, count):
    keep = np.ones(score.size, bool)
    keep[np.argsort(score.ravel(), kind="stable")[:count]] = False
    return keep.reshape(score.shape)


def half_up(x):
    return int(np.floor(x + 0.5))


def keep_nm(score, n, m):
    keep = np.ones(score.shape, bool)
    for r in range(score.shape[0]):
        for c in range(0, score.shape[1], m):
            g = score[r, c:c + m]
            keep[r, c:c + m] = drop_smallest(g, max(len(g) - n, 0))
    return keep


def keep_block(score2, br, bc, sparsity):
    R, C = score2.shape
    rows, cols = range(0, R, br), range(0, C, bc)
    s = np.array([[score2[r:r + br, c:c + bc].mean() for c in cols] for r in rows])
    k = drop_smallest(s, half_up(sparsity * s.size))
    return np.repeat(np.repeat(k, br, 0), bc, 1)[:R, :C]


def sparsegpt(W, H, sparsity, pattern, strip=128, damp=0.01):
    W, (R, C) = W.copy(), W.shape
    H = H.copy()
    mean = np.mean(np.diag(H))
    dead = np.diag(H) == 0
    H[np.diag_indices(C)] += damp * mean
    H[dead, dead] = 1
    U = np.linalg.cholesky(np.linalg.inv(H)).T  # upper: U^T U = H^-1
    for c0 in range(0, C, strip):
        c1 = min(c0 + strip, C)
        err = np.zeros((R, c1 - c0))
        cost = W[:, c0:c1] ** 2 / np.diag(U)[c0:c1] ** 2
        if pattern == "unstructured":
            keep = drop_smallest(cost, half_up(sparsity * cost.size))
        elif pattern[0] == "block":
            keep = keep_block(cost, pattern[1], pattern[2], sparsity)
        else:
            keep = np.ones(cost.shape, bool)
        for j in range(c0, c1):
            if pattern[0] == "nm" and (j - c0) % pattern[2] == 0:
                g = slice(j, min(j + pattern[2], C))
                keep[:, g.start - c0:g.stop - c0] = keep_nm(W[:, g] ** 2 / np.diag(U)[g] ** 2, pattern[1], pattern[2])
            e = np.where(keep[:, j - c0], 0, W[:, j]) / U[j, j]
            W[:, j:c1] -= np.outer(e, U[j, j:c1])
            W[~keep[:, j - c0], j] = 0
            err[:, j - c0] = e
        W[:, c1:] -= err @ U[c0:c1, c1:]
    return W


def show(name, a, digits=9):
    words = ["%.*g" % (digits, v) for v in np.asarray(a, np.float64).ravel()]
    text = ", ".join(w if "." in w or "e" in w else w + ".0" for w in words)
    parts, line = [], "   "
    for p in text.split(", "):
        if len(line) + len(p) > 140:
            parts.append(line)
            line = "   "
        line += " %sf," % p
    print("static const float %s[] = {\n%s\n};" % (name, "\n".join(parts + [line])))


def show_mask(name, keep):  # four numbers a digit, the first in its highest bit
    bits = np.asarray(keep, int).ravel()
    digits = "".join("%x" % int("".join(map(str, bits[i:i + 4])), 2) for i in range(0, len(bits), 4))
    print("static const char %s[] =\n%s;" % (name, "\n".join('    "%s"' % digits[i:i + 120] for i in range(0, len(digits), 120))))


print("/* Made by tests/vectors/gen_prune.py: do not edit. */\n")
R, C, T = 6, 150, 400
seed = 1


def rnd(n):  # the same numbers in test_prune.c
    global seed
    seed = (seed * 1664525 + 1013904223) % 2**32
    return (seed >> 16) % n


W = np.array([[(rnd(2001) - 1000) / 1024 for c in range(C)] for r in range(R)], np.float32)
z = [[rnd(17) - 8 for i in range(20)] for t in range(T)]
X = np.array([[0 if c == 7 else (z[t][c % 20] + z[t][c * 7 % 20] + rnd(7) - 3) * (1 + c % 3) for c in range(C)] for t in range(T)], np.float64)
H = X.T @ X
norm = np.sqrt(np.diag(H))
print("enum { PV_R = %d, PV_C = %d, PV_T = %d };" % (R, C, T))
Wd, Hd = W.astype(np.float64), H.astype(np.float64)
show("pv_magnitude_50", np.where(drop_smallest(abs(Wd), half_up(.5 * W.size)), Wd, 0))
show("pv_magnitude_2_4", np.where(keep_nm(abs(Wd), 2, 4), Wd, 0))
show("pv_magnitude_4x4", np.where(keep_block(Wd ** 2, 4, 4, .6), Wd, 0))
wanda = abs(Wd) * norm
show("pv_wanda_30", np.where(np.array([drop_smallest(s, half_up(.3 * C)) for s in wanda]), Wd, 0))
show("pv_wanda_1_4", np.where(keep_nm(wanda, 1, 4), Wd, 0))
show("pv_obs_50", sparsegpt(Wd, Hd, .5, "unstructured"))
show("pv_obs_2_4", sparsegpt(Wd, Hd, 0, ("nm", 2, 4)))
show("pv_obs_3x4", sparsegpt(Wd, Hd, .5, ("block", 3, 4)))

# Every shape a recipe may name, whole and cut off at the edges: the numbers above as (6,150), and again as (36,25), where blocks of 16 rows fit.
tall, tall_norm, tall_H = Wd.reshape(36, 25), norm[:25], Hd[:25, :25]
for name, w, x in ("wide", Wd, norm), ("tall", tall, tall_norm):
    for n, m in (4, 8), (3, 5), (1, 16), (32, 64):
        show_mask("pv_%s_magnitude_%d_%d" % (name, n, m), keep_nm(abs(w), n, m))
        show_mask("pv_%s_wanda_%d_%d" % (name, n, m), keep_nm(abs(w) * x, n, m))
    for br, bc in (1, 4), (4, 4), (16, 1), (16, 4), (4, 1):
        show_mask("pv_%s_magnitude_%dx%d" % (name, br, bc), keep_block(w ** 2, br, bc, .7))
        show_mask("pv_%s_wanda_%dx%d" % (name, br, bc), keep_block((w * x) ** 2, br, bc, .7))
show("pv_obs_4_8", sparsegpt(Wd, Hd, 0, ("nm", 4, 8)), 6)
show("pv_obs_1x4", sparsegpt(Wd, Hd, .6, ("block", 1, 4)), 6)
show("pv_obs_4x4", sparsegpt(Wd, Hd, .6, ("block", 4, 4)), 6)
show("pv_obs_16x1", sparsegpt(tall, tall_H, .6, ("block", 16, 1)), 6)
