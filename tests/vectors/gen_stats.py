#!/usr/bin/env python3
"""Writes stats_vectors.h: metrics as scipy, scikit-learn and seqeval compute them, and heads as scikit-learn fits them.

Needs numpy, scipy, scikit-learn, seqeval. Never needed at test time. usage: gen_stats.py > stats_vectors.h
"""
import warnings

import numpy as np
from scipy import stats
from seqeval.metrics import f1_score as seq_f1, precision_score as seq_p, recall_score as seq_r
from seqeval.scheme import IOB2
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (accuracy_score, f1_score, matthews_corrcoef, mean_absolute_error, mean_squared_error, r2_score)

warnings.filterwarnings("ignore")
rng = np.random.default_rng(20261123)


def num(x):
    return "NAN" if np.isnan(x) else float(x).hex()


def array(ctype, name, values):
    values = list(np.asarray(values).ravel())
    text = ", ".join(num(v) if ctype == "double" else num(v) + "f" if ctype == "float" else str(int(v)) for v in values)
    lines, line = [], "   "
    for part in text.split(", "):
        if len(line) + len(part) > 130:
            lines.append(line)
            line = "   "
        line += " " + part + ","
    lines.append(line)
    print(f"static const {ctype} {name}[] = {{\n" + "\n".join(lines) + "\n};")


print("/* Made by gen_stats.py: do not edit. */\n#ifndef XC_TESTS_VECTORS_STATS_VECTORS_H\n#define XC_TESTS_VECTORS_STATS_VECTORS_H\n")

# ---- numbers: gold against pred
cases = []
x = rng.normal(size=40)
cases.append(("plain", x, x + rng.normal(size=40)))
cases.append(("ties", rng.integers(0, 6, 37) / 2.0, np.round(rng.normal(size=37), 1)))
cases.append(("offset", 1e6 + rng.normal(size=25), 1e-6 * rng.normal(size=25)))
cases.append(("reversed", np.arange(9.0), -np.arange(9.0) ** 3))
cases.append(("two_rows", np.array([1.0, 2.0]), np.array([5.0, 4.0])))
cases.append(("constant", np.arange(5.0), np.full(5, 3.25)))
for name, gold, pred in cases:
    array("double", f"num_{name}_gold", gold)
    array("double", f"num_{name}_pred", pred)
print("static const struct { const char *name; const double *gold, *pred; int n; double spearman, pearson, mse, mae, r2; } num_cases[] = {")
for name, gold, pred in cases:
    print(f'    {{ "{name}", num_{name}_gold, num_{name}_pred, {len(gold)}, {num(stats.spearmanr(gold, pred)[0])}, {num(stats.pearsonr(gold, pred)[0])}, '
          f"{num(mean_squared_error(gold, pred))}, {num(mean_absolute_error(gold, pred))}, {num(r2_score(gold, pred))} }},")
print("};\n")

# ---- classes
cases = []
y = rng.integers(0, 2, 50)
cases.append(("binary", 2, y, np.where(rng.random(50) < 0.8, y, 1 - y)))
cases.append(("one_answer", 2, rng.integers(0, 2, 30), np.zeros(30, int)))
cases.append(("no_positive", 2, np.zeros(12, int), np.zeros(12, int)))
y = rng.integers(0, 5, 60)
cases.append(("five", 5, y, np.where(rng.random(60) < 0.6, y, rng.integers(0, 5, 60))))
y = rng.integers(0, 4, 33)
cases.append(("absent", 7, y, np.where(rng.random(33) < 0.5, y, 5)))
for name, k, gold, pred in cases:
    array("int32_t", f"cls_{name}_gold", gold)
    array("int32_t", f"cls_{name}_pred", pred)
print("static const struct { const char *name; int classes; const int32_t *gold, *pred; int n; double accuracy, f1, f1_macro, matthews; } cls_cases[] = {")
for name, k, gold, pred in cases:
    f1 = f1_score(gold, pred) if k == 2 else float("nan")
    print(f'    {{ "{name}", {k}, cls_{name}_gold, cls_{name}_pred, {len(gold)}, {num(accuracy_score(gold, pred))}, {num(f1)}, '
          f"{num(f1_score(gold, pred, average='macro'))}, {num(matthews_corrcoef(gold, pred))} }},")
print("};\n")

# ---- entities: random tags, so that every order of prefixes and types occurs; each case is one string of tags, a sentence a '|'
names = ["O", "B-per", "I-per", "B-loc", "I-loc", "I-misc"]
cases = []
for _ in range(12):
    sentences = [rng.integers(1, 12) for _ in range(6)]
    gold = [[names[rng.choice(6, p=[.4, .15, .15, .12, .12, .06])] for _ in range(n)] for n in sentences]
    pred = [[t if rng.random() < 0.75 else names[rng.integers(0, 6)] for t in s] for s in gold]
    cases.append((gold, pred))
cases.append(([["O", "O"]], [["O", "O"]]))
cases.append(([["B-per", "I-loc", "I-loc"]], [["B-per", "B-loc", "I-loc"]]))
print("static const struct { const char *gold, *pred; double precision, recall, f1, strict_precision, strict_recall, strict_f1; } tag_cases[] = {")
for gold, pred in cases:
    text = lambda s: "|".join(" ".join(t) for t in s)
    strict = dict(mode="strict", scheme=IOB2)
    print(f'    {{ "{text(gold)}",\n      "{text(pred)}",\n      ' + ", ".join(
        num(f(gold, pred, zero_division=0)) for f in (seq_p, seq_r, seq_f1)) + ", " + ", ".join(
        num(f(gold, pred, zero_division=0, **strict)) for f in (seq_p, seq_r, seq_f1)) + " },")
print("};\n")

# ---- heads
N, D = 60, 5
X = rng.normal(size=(N, D)).astype(np.float32)
yr = X @ rng.normal(size=D) + 3 + rng.normal(size=N)
yb = (X @ rng.normal(size=D) + rng.normal(size=N) > 0.5).astype(int)
ym = np.argmax(X @ rng.normal(size=(D, 4)) + rng.normal(size=(N, 4)), axis=1)
array("float", "head_x", X)
array("double", "head_y", yr)
array("int32_t", "head_binary", yb)
array("int32_t", "head_multi", ym)
print(f"enum {{ HEAD_N = {N}, HEAD_D = {D}, HEAD_CLASSES = 4 }};")
for alpha in (1.0, 30.0):
    r = Ridge(alpha=alpha, solver="cholesky").fit(X.astype(float), yr)
    array("double", f"ridge_{int(alpha)}", np.concatenate([r.coef_, [r.intercept_]]))
for C in (1.0, 100.0):
    b = LogisticRegression(C=C, tol=1e-12, solver="newton-cholesky", max_iter=1000).fit(X.astype(float), yb)
    array("double", f"binary_{int(C)}", np.concatenate([b.coef_[0], b.intercept_]))
    # newton-cholesky has no unique intercept in the softmax case (a constant may be added to all); ours and lbfgs keep their sum at zero
    m = LogisticRegression(C=C, tol=1e-12, solver="lbfgs", max_iter=100000).fit(X.astype(float), ym)
    array("double", f"multi_{int(C)}", np.concatenate([m.coef_, m.intercept_[:, None]], axis=1))
print("\n#endif")
