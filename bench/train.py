#!/usr/bin/env python3
"""Fine-tuning beside PyTorch, the same work in the same run: 6 layers x 384, AdamW, dropout 0.1, batches of 32 x 64 tokens (no padding on either side), and
batches of 32 sentences of SST-2, which PyTorch pads. Prints JSON: seconds a step (medians over all rounds) and the ratios.

  train.py XCOMPRESS MODEL SST2.train.tsv.zst [--threads 2] [--rounds 2]     needs torch and transformers; run it on a quiet machine (a minute)"""
import sys

del sys.path[0]  # tokenize.py of this folder is not the library's
import argparse, json, os, random, statistics, subprocess, tempfile, time

p = argparse.ArgumentParser()
p.add_argument("xcompress")
p.add_argument("model")
p.add_argument("sst2")
p.add_argument("--threads", type=int, default=2)
p.add_argument("--rounds", type=int, default=2)
a = p.parse_args()

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

ROWS, STEPS = 32, 6
torch.set_num_threads(a.threads)
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(a.model)
random.seed(0)
words = sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2)
even = [(i % 2, " ".join(random.choices(words, k=62))) for i in range(ROWS * STEPS)]
lines = subprocess.run(["zstd", "-dc", a.sst2], capture_output=True, check=True, text=True).stdout.splitlines()[1:]
ragged = [(int(l), t) for l, t in (x.split("\t") for x in random.sample(lines, ROWS * STEPS))]

net = BertForSequenceClassification(BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=2,
                                               attn_implementation="sdpa")).train()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)


def peer(rows):
    times, tokens = [], 0
    for i in range(0, len(rows), ROWS):
        start = time.perf_counter()
        x = tokenizer([t for _, t in rows[i:i + ROWS]], padding=True, return_tensors="pt")
        F.cross_entropy(net(**x).logits, torch.tensor([l for l, _ in rows[i:i + ROWS]])).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
        tokens += int(x["attention_mask"].sum())
    return times, tokens


def ours(rows, precision, folder):
    data, log = os.path.join(folder, "d.tsv"), os.path.join(folder, "log")
    with open(data, "w") as f:
        f.write("label\ttext\n" + "".join(f"{l}\t{t}\n" for l, t in rows))
    subprocess.run([a.xcompress, "finetune", a.model, "-t", "classify", "-d", data, "-o", os.path.join(folder, "o.xc"), "-e", "1", "--batch-rows", str(ROWS), "--batch-tokens", "1000000",
                    "--lr", "1e-4", "--precision", precision, "--threads", str(a.threads), "--log", log, "--attention-dropout", "0.1", "--no-golden", "-q"], check=True, stdout=subprocess.DEVNULL)
    steps = [json.loads(l) for l in open(log)]
    ends = [s["seconds"] for s in steps]
    return [y - x for x, y in zip(ends, ends[1:])], steps[-1]["tokens"]


def busy():
    """CPU seconds of the machine so far, and of this process with its children."""
    cpu = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    return (sum(cpu) - cpu[3] - cpu[4]) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4]), time.perf_counter()


def calm(seconds=20):
    """Waits until others take less than a twentieth of a core, for so long at most."""
    for _ in range(2 * seconds):
        a0, b0, t0 = busy()
        time.sleep(0.5)
        a1, b1, t1 = busy()
        if (a1 - a0) - (b1 - b0) < 0.05 * (t1 - t0):
            return


seconds, tokens = {}, {}
with tempfile.TemporaryDirectory() as folder:
    peer(even[:ROWS])
    calm()
    mark = busy()
    for _ in range(a.rounds):
        for name, rows in (("32x64", even), ("sst2", ragged)):
            for who, run in (("pytorch_f32", peer), ("f32", lambda r: ours(r, "f32", folder)), ("bf16", lambda r: ours(r, "bf16", folder))):
                times, n = run(rows)
                print(name, who, f"{statistics.median(times):.3f} s", file=sys.stderr)
                seconds.setdefault(name, {}).setdefault(who, []).extend(times)
                tokens.setdefault(name, {})[who] = n
end = busy()
out = {"threads": a.threads, "rows": ROWS, "others": round(((end[0] - mark[0]) - (end[1] - mark[1])) / (end[2] - mark[2]), 3)}  # cores that others took
for name, by in seconds.items():
    step = {who: statistics.median(t) for who, t in by.items()}
    out[name] = {"seconds_a_step": {who: round(s, 4) for who, s in step.items()}, "tokens": tokens[name],
                 "ratio": {who: round(step["pytorch_f32"] / step[who], 3) for who in ("f32", "bf16")}}
print(json.dumps(out))
