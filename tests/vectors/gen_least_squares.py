"""least_squares_vectors.h: optimal brain surgery on structures, in plain numpy: one unit at a time, every system solved anew from the definition
(no inverse is updated, no factor shared), so that it shares no idea with compress/shrink/least_squares.c.

usage: gen_least_squares.py > least_squares_vectors.h"""
import numpy as np

rng = np.random.default_rng(7)
ROWS, M, DAMP = 40, 5, 0.01


def best(g, w, kept):
    """The weights on the kept inputs that make the least error tr (W - W') G (W - W')^T, and that error."""
    out = np.zeros_like(w)
    if kept:
        out[:, kept] = np.linalg.solve(g[np.ix_(kept, kept)], g[kept] @ w.T).T
    d = w - out
    return out, np.trace(d @ g @ d.T)


def case(n, width):
    x = rng.standard_normal((ROWS, n)) @ (np.eye(n) + 0.4 * rng.standard_normal((n, n)))
    x[:, 2] = 0  # an input that is never seen
    w = rng.standard_normal((M, n))
    x, w = x.astype(np.float32).astype(float), w.astype(np.float32).astype(float)
    g = x.T @ x / ROWS
    g += DAMP * np.trace(g) / n * np.eye(n)
    units = list(range(n // width))
    cols = lambda us: [u * width + i for u in sorted(us) for i in range(width)]
    order, sizes = [], {len(units): (w, 0.0)}
    left = units[:]
    while left:  # the unit whose loss costs least, the others being fitted again each time
        costs = [best(g, w, cols([v for v in left if v != u]))[1] for u in left]
        gone = left[int(np.argmin(costs))]
        left.remove(gone)
        order.insert(0, gone)
        sizes[len(left)] = best(g, w, cols(left))
    all_ = np.trace(w @ g @ w.T)
    keep = len(units) // 2
    target = rng.standard_normal((ROWS, M))
    rest = np.linalg.solve(g, x.T @ (target - x @ w.T) / ROWS).T
    return dict(n=n, width=width, x=x, w=w, order=order, keep=keep, cut=sizes[keep][0], loss=sizes[keep][1] / all_, target=target, fit=w + rest)


def floats(a):
    return "{ " + ", ".join(f"{v:.9g}" + ("f" if "." in f"{v:.9g}" or "e" in f"{v:.9g}" else ".0f") for v in np.asarray(a).ravel()) + " }"


print("/* made by gen_least_squares.py; do not edit */")
print(f"enum {{ LS_ROWS = {ROWS}, LS_M = {M}, LS_MAX = 12 }};\n#define LS_DAMP {DAMP}")
print("static const struct {\n    int n, width, keep, order[LS_MAX];\n    double loss;\n    float x[LS_ROWS * LS_MAX], w[LS_M * LS_MAX], cut[LS_M * LS_MAX], target[LS_ROWS * LS_M], fit[LS_M * LS_MAX];\n} ls_cases[] = {")
for n, width in ((12, 1), (12, 3), (10, 2)):
    c = case(n, width)
    order = ", ".join(map(str, c["order"]))
    print(f"    {{ .n = {n}, .width = {width}, .keep = {c['keep']}, .order = {{ {order} }}, .loss = {c['loss']:.9g},\n      .x = {floats(c['x'])},\n      .w = {floats(c['w'])},\n      .cut = {floats(c['cut'])},"
          f"\n      .target = {floats(c['target'])},\n      .fit = {floats(c['fit'])} }},")
print("};")
