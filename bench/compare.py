#!/usr/bin/env python3
"""Ours and the peers in turn, round by round, on one machine: latency, sentences a second, start, memory; one JSON object with medians and ratios.

    compare.py --xcompress PROGRAM --int8 MODEL.xc --fp32 MODEL --peers WORK --script peers.py [--data DIR] [--rounds N] [-o FILE]

--int8, --fp32  our model, compressed and as it came (a .xc by `xcompress convert`, so that opening is ours too)
--peers         the folder that the script's setup filled: WORK/venv/bin/python, WORK/models
--script        peers.py, whose `--work W one --peer NAME --threads N` prints a JSON line per measurement
--data          stsb.test_a.tsv.zst and stsb.dev.tsv.zst: the sentences are all of the first and as many pairs of the second as make 2,758 sentences (the
                size of the published STS-B test set, the other part of which is not public here); the same for everybody
--only A,B      peers to run; --threads 1,2; --quick for a try that measures nothing

Each round runs every engine once, ours at both ends of the order, and the order turns from round to round. A measurement during which other processes took
more than 0.15 of a core is left out where calmer ones of the same kind are there. Medians over rounds; a ratio is ours to the best peer of the same kind:
below 1 is faster for latency, start and memory, above 1 for sentences a second. Keep the machine quiet: about 40 s a peer, thread count and round.
Ours is timed by `xcompress bench` (latency: median of 1.5 s) and `xcompress embed` (start: the whole life of a process that embeds one sentence)."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

INT8 = ("ort_int8", "ov_int8", "ov_int8_bf16", "ct2_int8")
FP32 = ("ort_fp32", "ov_fp32", "ct2_fp32", "torch_fp32")
LENGTHS = (16, 128, 512)
SENTENCES = 2758


def busy():
    """Seconds of CPU that the whole machine, and this process with its ended children, have used."""
    v = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    t = os.times()
    return time.time(), (sum(v) - v[3] - v[4]) / os.sysconf("SC_CLK_TCK"), t.user + t.system + t.children_user + t.children_system


def others(before):
    """Cores that other processes used since."""
    now = busy()
    return max(0.0, (now[1] - before[1]) - (now[2] - before[2])) / max(now[0] - before[0], 1e-3)


def read_zst(path):
    return subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()


def sentences(data, work):
    """work/data/sts-test.tsv for the peers, work/sentences.txt for us: the same, in the same order."""
    test, dev = (read_zst(os.path.join(data, f"stsb.{n}.tsv.zst")) for n in ("test_a", "dev"))
    rows = test[1:] + dev[1:]
    rows = rows[:SENTENCES // 2]
    os.makedirs(os.path.join(work, "data"))
    with open(os.path.join(work, "data", "sts-test.tsv"), "w", encoding="utf-8") as f:
        f.write("\n".join([test[0]] + rows) + "\n")
    texts = [r.split("\t")[c] for c in (1, 2) for r in rows]
    with open(os.path.join(work, "sentences.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(texts) + "\n")
    with open(os.path.join(work, "one.txt"), "w", encoding="utf-8") as f:
        f.write(texts[0] + "\n")
    return len(texts)


class Table:
    """(engine, threads, what) -> [(value, others)]"""

    def __init__(self):
        self.seen = {}

    def add(self, engine, threads, what, value, noise):
        if value is not None:
            self.seen.setdefault((engine, threads, what), []).append((value, noise))

    def median(self, engine, threads, what):
        rows = self.seen.get((engine, threads, what), [])
        calm = [v for v, noise in rows if noise <= 0.15]
        return statistics.median(calm or [v for v, _ in rows]) if rows else None

    def spread(self, engine, threads, what):
        v = [x for x, _ in self.seen.get((engine, threads, what), [])]
        return max(v) / min(v) - 1 if v else None

    def noisy(self, engine, threads, what):
        rows = self.seen.get((engine, threads, what), [])
        return bool(rows) and all(noise > 0.15 for _, noise in rows)


def run_peer(a, work, table, errors, peer, threads):
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    cmd = [os.path.join(a.peers, "venv/bin/python"), "-W", "ignore", a.script, "--work", work, "one", "--peer", peer, "--threads", str(threads), "--t0", str(time.time())]
    before = busy()
    r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, timeout=600)
    whole = others(before)
    for line in r.stdout.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        noise = row.get("others", whole)
        if row.get("kind") == "start":
            table.add(peer, threads, "start_ms", 1e3 * row["first_s"], whole)
            table.add(peer, threads, "rss_first_mb", row["rss_first_mb"] * 1.048576, 0)
            table.add(peer, threads, "file_mb", row["file_mb"], 0)
        elif row.get("kind") == "latency":
            table.add(peer, threads, f"latency_ms_{row['tokens']}", row["ms"], noise)
        elif row.get("kind") == "throughput":
            table.add(peer, threads, "sentences_per_s" if row["mode"] == "intra" else "sentences_per_s_workers", row["sent_s"], noise)
            table.add(peer, threads, "rss_peak_mb", row["rss_peak_mb"] * 1.048576, 0)
    if r.returncode:
        errors.append({"engine": peer, "threads": threads, "code": r.returncode, "error": (r.stderr.strip().splitlines() or [""])[-1][:300]})


def run_ours(a, work, table, errors, engine, model, threads):
    lengths = LENGTHS[:1] if a.quick else LENGTHS
    for tokens in lengths: # one process a length: each with its own measure of the noise
        cmd = [a.xcompress, "bench", model, "--tokens", str(tokens), "--threads", str(threads), "--json", "--quiet"] + (["--runs", "10"] if a.quick else [])
        before = busy()
        r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if r.returncode:
            errors.append({"engine": engine, "threads": threads, "code": r.returncode, "error": r.stderr.strip()[:300]})
            return
        d = json.loads(r.stdout)
        table.add(engine, threads, f"latency_ms_{tokens}", d["latency_ms"]["median"], others(before))
        if tokens == 16:
            table.add(engine, threads, "open_ms", d["open_ms"], 0)
    before = busy()
    r = subprocess.run([a.xcompress, "bench", model, "--tokens", "16", "--runs", "10", "--threads", str(threads), "--file", os.path.join(work, "sentences.txt"), "--json", "--quiet"],
                       stdout=subprocess.PIPE, text=True)
    if not r.returncode:
        table.add(engine, threads, "sentences_per_s", json.loads(r.stdout)["texts"]["sequences_per_s"], others(before))
    for name, texts in (("first", "one.txt"), ("peak", "sentences.txt")):
        before, start = busy(), time.perf_counter()
        p = subprocess.Popen([a.xcompress, "embed", model, "-f", os.path.join(work, texts), "-o", os.path.join(work, "out.npy"), "--threads", str(threads), "--quiet"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(p.pid, 0)
        took = time.perf_counter() - start
        p.returncode = status
        if status:
            errors.append({"engine": engine, "threads": threads, "code": status, "error": f"embed of {texts}"})
            continue
        table.add(engine, threads, f"rss_{name}_mb", usage.ru_maxrss * 1.024e-3, 0)
        if name == "first":
            table.add(engine, threads, "start_ms", 1e3 * took, others(before))
    table.add(engine, threads, "file_mb", sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(model) for f in fs if f.endswith(".safetensors")) / 1e6
              if os.path.isdir(model) else os.path.getsize(model) / 1e6, 0)


def summary(table, a, n, peers, errors):
    kinds = [k for k in (("int8", "xc_int8", INT8), ("fp32", "xc_fp32", FP32)) if any(e[0] == k[1] for e in table.seen)]
    out = {"machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "kernel": platform.release()}, "rounds": a.rounds, "sentences": n, "quick": a.quick, "peers": peers,
           "engines": {}, "ratios": {}, "errors": errors}
    for engine, threads, what in table.seen:
        e = out["engines"].setdefault(engine, {}).setdefault(str(threads), {})
        e[what] = {"median": round(table.median(engine, threads, what), 4), "spread": round(table.spread(engine, threads, what), 3), "noisy": table.noisy(engine, threads, what),
                   "rounds": len(table.seen[engine, threads, what])}
    for kind, ours, names in kinds:
        for threads in a.threads:
            for what in [f"latency_ms_{t}" for t in LENGTHS] + ["start_ms", "rss_first_mb", "rss_peak_mb", "sentences_per_s"]:
                mine = table.median(ours, threads, what)
                theirs = []
                for p in peers:
                    if p in names:
                        ways = [what] + (["sentences_per_s_workers"] if what == "sentences_per_s" else [])
                        theirs += [(v, p) for v in (table.median(p, threads, w) for w in ways) if v]
                if not mine or not theirs:
                    continue
                best = (max if what == "sentences_per_s" else min)(theirs)
                out["ratios"].setdefault(kind, {}).setdefault(str(threads), {})[what] = {"ours": round(mine, 3), "best_peer": round(best[0], 3), "peer": best[1], "ratio": round(mine / best[0], 3)}
    return out


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    p.add_argument("--xcompress", required=True)
    p.add_argument("--int8")
    p.add_argument("--fp32")
    p.add_argument("--peers", required=True)
    p.add_argument("--script", required=True)
    p.add_argument("--data", default=os.environ.get("XC_DATA", os.path.join(here, "..", "..", "shared", "data")))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", type=lambda s: [int(x) for x in s.split(",")], default=[1, 2])
    p.add_argument("--only")
    p.add_argument("--quick", action="store_true")
    p.add_argument("-o", "--output")
    a = p.parse_args()
    a.xcompress, a.peers, a.script = (os.path.abspath(x) for x in (a.xcompress, a.peers, a.script))
    peers = a.only.split(",") if a.only else list(INT8 + FP32)
    ours = [(name, os.path.abspath(m)) for name, m in (("xc_int8", a.int8), ("xc_fp32", a.fp32)) if m]
    table, errors = Table(), []
    with tempfile.TemporaryDirectory(prefix="xc-compare-") as work:
        n = sentences(a.data, work)
        os.symlink(os.path.join(a.peers, "models"), os.path.join(work, "models"))
        for r in range(a.rounds):
            turn = peers[r % len(peers):] + peers[:r % len(peers)] if peers != [""] else []
            for threads in a.threads:
                for i, engine in enumerate(turn + [None]):
                    if i in (0, len(turn)): # at both ends, so that a machine that warms up or is throttled is fair
                        for name, model in ours:
                            print(f"round {r + 1}: {name}, {threads} threads", file=sys.stderr, flush=True)
                            run_ours(a, work, table, errors, name, model, threads)
                    if engine:
                        print(f"round {r + 1}: {engine}, {threads} threads", file=sys.stderr, flush=True)
                        run_peer(a, work, table, errors, engine, threads)
        text = json.dumps(summary(table, a, n, peers, errors), indent=1)
    print(text)
    if a.output:
        with open(a.output, "w", encoding="utf-8") as f:
            f.write(text + "\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
