"""The last step of scripts/demo.sh: one table from the JSON files that the verbs wrote. usage: demo_table.py FOLDER MODEL-NAME"""
import json
import os
import sys

folder, kind = sys.argv[1:3]


def read(name):
    path = os.path.join(folder, name + ".json")
    return json.load(open(path)) if os.path.exists(path) else None


def metric(name, key):
    m = read(name)
    if not m or key not in m["metrics"]:
        return None
    v = m["metrics"][key]
    return "%.2f %% [%.2f, %.2f]" % tuple(100 * x for x in (v["value"], *v["ci95"]))


def latency(name):
    b = read(name)
    b = b["results"][0] if "results" in b else b
    return b["latency_ms"]["median"], b["peak_rss_mb"]


c = read("compress")
f, i = latency("bench-fp32"), latency("bench-int8")
rows = [("size", "%.1f MB" % (c["input_bytes"] / 1e6), "%.1f MB" % (c["output_bytes"] / 1e6), "%.2fx smaller" % (c["input_bytes"] / c["output_bytes"]))]
for label, name, key in (("subj, probe accuracy", "probe", "accuracy"), ("STS-B dev, Spearman", "sts", "spearman")):
    a, b = metric(name + "-fp32", key), metric(name + "-int8", key)
    if a and b:
        rows.append((label, a, b, ""))
rows.append(("128 tokens, 1 thread", "%.2f ms" % f[0], "%.2f ms" % i[0], "%.2fx faster" % (f[0] / i[0])))
rows.append(("peak memory", "%.0f MB" % f[1], "%.0f MB" % i[1], ""))
a = read("agreement")
if a:
    for key, label in (("mean", "mean cosine to fp32"), ("min", "worst cosine to fp32")):
        rows.append((label, "", "%.4f" % a["cosine"][key], ""))
head = ("", "fp32", "int8", "")
wide = [max(len(r[k]) for r in rows + [head]) for k in range(4)]
print("\n%s, compressed in %.1f s" % (kind, c["seconds"]))
for r in [head, tuple("-" * w for w in wide)] + rows:
    print("  " + "  ".join(x.ljust(w) for x, w in zip(r, wide)).rstrip())
