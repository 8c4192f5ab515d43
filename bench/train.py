#!/usr/bin/env python3
"""Training beside PyTorch, the same work in the same run. Prints JSON: seconds a step (medians) on both sides and the ratios.

  train.py XCOMPRESS MODEL SST2.train.tsv.zst [--what even|ragged|distill] [--threads 2] [--rounds 1]     needs torch and transformers; half a minute each, on a quiet machine

even     fine-tuning 6 layers x 384: AdamW, dropout 0.1, batches of 32 x 64 tokens (no padding on either side)
ragged   the same on batches of 32 sentences of SST-2, which PyTorch pads
distill  a teacher of 6 x 384 and a student of 3 x 312: embeddings, hidden states behind a projection, attention scores and answers at once, 32 x 64 tokens, dropout 0.1.
         f32: teacher and student in f32; int8: the teacher runs forward in int8; bf16: and the student's products are of bf16"""
import sys

del sys.path[0]  # tokenize.py of this folder is not the library's
import argparse, json, os, random, statistics, subprocess, tempfile, time

p = argparse.ArgumentParser()
p.add_argument("xcompress")
p.add_argument("model")
p.add_argument("sst2")
p.add_argument("--what", choices=("even", "ragged", "distill"), default="even")
p.add_argument("--threads", type=int, default=2)
p.add_argument("--rounds", type=int, default=1)
a = p.parse_args()

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

ROWS, STEPS = 32, 6
torch.set_num_threads(a.threads)
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(a.model)
random.seed(0)
if a.what == "ragged":
    text = subprocess.run(["zstd", "-dc", a.sst2], capture_output=True, check=True, text=True).stdout if a.sst2.endswith(".zst") else open(a.sst2).read()
    lines = text.splitlines()[1:]
    rows = [(int(l), t) for l, t in (x.split("\t") for x in random.sample(lines, ROWS * STEPS))]
else:
    words = sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2)
    rows = [(i % 2, " ".join(random.choices(words, k=62))) for i in range(ROWS * STEPS)]


def bert(hidden, layers, inner, attention):
    return BertForSequenceClassification(BertConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=inner, num_labels=2, attn_implementation=attention))


class Tuning:
    def __init__(self):
        self.net = bert(384, 6, 1536, "sdpa").train()
        self.params = list(self.net.parameters())

    def loss(self, x, labels):
        return F.cross_entropy(self.net(**x).logits, labels)


class Distilling:
    def __init__(self):
        self.teacher, self.net = bert(384, 6, 1536, "eager").eval(), bert(312, 3, 1200, "eager").train()
        self.projection = torch.nn.Linear(312, 384, bias=False)
        self.params = [*self.net.parameters(), *self.projection.parameters()]

    def loss(self, x, labels):
        with torch.no_grad():
            t = self.teacher(**x, output_hidden_states=True, output_attentions=True)
        s = self.net(**x, output_hidden_states=True, output_attentions=True)
        loss = F.kl_div(F.log_softmax(s.logits, -1), F.softmax(t.logits, -1), reduction="batchmean")
        loss = loss + sum(F.mse_loss(self.projection(s.hidden_states[i]), t.hidden_states[2 * i]) for i in range(4))  # embeddings and 3 layers
        return loss + sum(F.mse_loss(s.attentions[i], t.attentions[2 * i + 1]) for i in range(3))


job = Distilling() if a.what == "distill" else Tuning()
optimizer = torch.optim.AdamW(job.params, lr=1e-4)


def peer(rows):
    times, tokens = [], 0
    for i in range(0, len(rows), ROWS):
        start = time.perf_counter()
        x = tokenizer([t for _, t in rows[i:i + ROWS]], padding=True, return_tensors="pt")
        job.loss(x, torch.tensor([l for l, _ in rows[i:i + ROWS]])).backward()
        torch.nn.utils.clip_grad_norm_(job.params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
        tokens += int(x["attention_mask"].sum())
    return times, tokens


RECIPE = """task: classify
student: layers=3,hidden=312,heads=12,ffn=1200
batch_rows: 32
batch_tokens: 1000000
dropout: 0.1
attention_dropout: 0.1
stages:
  - {name: all, epochs: 1, lr: 1e-4, losses: {embedding: 1, hidden: 1, attention: 1, logits: 1}}
"""


def call(*args):
    subprocess.run([a.xcompress, *args, "--threads", str(a.threads), "-q", "--no-golden"], check=True, stdout=subprocess.DEVNULL)


def ours(folder, how):
    data, log, out = (os.path.join(folder, f) for f in ("d.tsv", "log", "o.xc"))
    precision = ["--precision", "bf16" if how == "bf16" else "f32", "--log", log]
    if a.what == "distill":
        call("distill", os.path.join(folder, "teacher.xc" if how == "f32" else "teacher8.xc"), "--student-from", os.path.join(folder, "teacher.xc"), "-r", os.path.join(folder, "r.yaml"),
             "-d", data, "-o", out, *precision)
    else:
        call("finetune", a.model, "-t", "classify", "-d", data, "-o", out, "-e", "1", "--batch-rows", str(ROWS), "--batch-tokens", "1000000", "--lr", "1e-4", "--attention-dropout", "0.1", *precision)
    steps = [json.loads(l) for l in open(log)]
    ends = [s["seconds"] for s in steps]
    return [y - x for x, y in zip(ends, ends[1:])], steps[-1]["tokens"]


def busy():
    """CPU seconds of the machine so far, and of this process with its children."""
    cpu = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    return (sum(cpu) - cpu[3] - cpu[4]) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4]), time.perf_counter()


seconds, tokens, others = {}, {}, {}
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "d.tsv"), "w") as f:
        f.write("label\ttext\n" + "".join(f"{l}\t{t}\n" for l, t in rows))
    open(os.path.join(folder, "r.yaml"), "w").write(RECIPE)
    if a.what == "distill":
        call("finetune", a.model, "-t", "classify", "-d", os.path.join(folder, "d.tsv"), "-o", os.path.join(folder, "teacher.xc"), "--max-steps", "1", "--batch-rows", "2")
        call("compress", os.path.join(folder, "teacher.xc"), "--quantize", "int8", "-o", os.path.join(folder, "teacher8.xc"))
    peer(rows[:ROWS])
    for _ in range(a.rounds):
        for who, run in [("pytorch_f32", lambda: peer(rows))] + [(how, lambda how=how: ours(folder, how)) for how in (("f32", "int8", "bf16") if a.what == "distill" else ("f32", "bf16"))]:
            mark = busy()
            times, n = run()
            end = busy()
            print(a.what, who, f"{statistics.median(times):.3f} s", file=sys.stderr)
            seconds.setdefault(who, []).extend(times)
            tokens[who] = n
            others[who] = round(((end[0] - mark[0]) - (end[1] - mark[1])) / (end[2] - mark[2]), 3)  # cores that others took
step = {who: statistics.median(t) for who, t in seconds.items()}
print(json.dumps({"what": a.what, "threads": a.threads, "rows": ROWS, "others": others, "seconds_a_step": {who: round(s, 4) for who, s in step.items()},
                  "fastest": {who: round(min(t), 4) for who, t in seconds.items()}, "tokens": tokens, "ratio": {who: round(step["pytorch_f32"] / s, 3) for who, s in step.items()}}))
