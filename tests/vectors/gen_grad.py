#!/usr/bin/env python3
"""Makes tests/vectors/grad_vectors.h: losses and gradients that PyTorch computes, in double precision, on the tiny checkpoints of
gen_arch.py and the inputs stored with them; and the losses of 20 steps of torch.optim.AdamW.

    gen_grad.py       needs torch, transformers, safetensors; all-MiniLM-L6-v2: gen_grad_minilm.py

A gradient is told by its norm and its product with the numbers of a linear congruential generator, which the test makes too."""
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
import transformers as tf

HERE = os.path.dirname(os.path.abspath(__file__))


def inputs(case, head):
    raw = open(os.path.join(HERE, "arch", case, head + ".bin"), "rb").read()
    n, tokens, _, _ = struct.unpack("<4i", raw[:16])
    ints = np.frombuffer(raw, "<i4", n + 1 + 2 * tokens, 16)
    start, ids, types = ints[: n + 1], ints[n + 1 : n + 1 + tokens], ints[n + 1 + tokens :]
    return [(ids[start[i] : start[i + 1]].astype(np.int64), types[start[i] : start[i + 1]].astype(np.int64)) for i in range(n)]


def lcg(n):
    s, out = 12345, np.empty(n)
    for i in range(n):
        s = (s * 1664525 + 1013904223) % 2**32
        out[i] = (s >> 8) / 2**24 - 0.5
    return out


def outputs(model, case, texts, field):
    rows = []
    for ids, types in texts:
        kw = {"input_ids": torch.tensor(ids)[None], "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if case.startswith("bert"):
            kw["token_type_ids"] = torch.tensor(types)[None]
        if case.startswith("longformer") and (ids == 2).sum() < 3:  # no pair
            kw["global_attention_mask"] = torch.zeros(1, len(ids), dtype=torch.long)
        if field == "choices":
            rows.append(model(**{k: v[None] for k, v in kw.items()}).logits[0])
        elif field == "spans":
            y = model(**kw)
            rows.append(torch.stack([y.start_logits, y.end_logits], -1)[0])
        else:
            rows.append(getattr(model(**kw), field)[0])
    return rows


def loss_of(kind, rows):
    if kind == "classes":  # label smoothing 0.1
        x = torch.stack(rows)
        return F.cross_entropy(x, torch.arange(len(x)) % x.shape[1], label_smoothing=0.1)
    if kind == "square":
        x = torch.stack(rows)[:, 0]
        return F.mse_loss(x, torch.arange(len(x)).to(x) / 4)
    if kind == "choices":  # the first four texts are two rows of two choices
        return F.cross_entropy(torch.cat(rows[:4]).view(2, 2), torch.tensor([1, 0]))
    if kind == "spans":  # mean over texts of half the cross-entropy of each end; the end of the third does not count
        start = [F.cross_entropy(x[None, :, 0], torch.tensor([s % len(x)])) for s, x in enumerate(rows)]
        end = [F.cross_entropy(x[None, :, 1], torch.tensor([(2 * s + 1) % len(x)])) for s, x in enumerate(rows) if s != 2]
        return (sum(start) + sum(end)) / 2 / len(rows)
    if kind == "tokens":  # every fourth does not count
        x = torch.cat(rows)
        t = torch.arange(len(x))
        return F.cross_entropy(x, torch.where(t % 4 == 1, -100, (7 * t + 3) % x.shape[1]))
    x = F.normalize(torch.stack([r.mean(0) for r in rows[:4]]))
    if kind == "cosine":
        return F.mse_loss(F.cosine_similarity(x[0::2], x[1::2]), torch.tensor([0.25, 0.75], dtype=x.dtype))
    return F.cross_entropy(20 * F.cosine_similarity(x[0::2, None], x[None, 1::2], dim=-1), torch.arange(2))


CASES = [
    ("bert_classify", "classify", tf.BertForSequenceClassification, "logits", "classes"),
    ("bert_regress", "regress", tf.BertForSequenceClassification, "logits", "square"),
    ("bert_tag", "tag", tf.BertForTokenClassification, "logits", "tokens"),
    ("bert_mlm", "mlm", tf.BertForMaskedLM, "logits", "tokens"),
    ("bert_mlm_untied", "mlm", tf.BertForMaskedLM, "logits", "tokens"),
    ("bert_st_mean", "embed", tf.BertModel, "last_hidden_state", "cosine"),
    ("bert_st_mean", "embed", tf.BertModel, "last_hidden_state", "contrast"),
    ("roberta_classify", "classify", tf.RobertaForSequenceClassification, "logits", "classes"),
    ("distilbert_classify", "classify", tf.DistilBertForSequenceClassification, "logits", "classes"),
    ("bert_answer", "answer", tf.BertForQuestionAnswering, "spans", "spans"),
    ("longformer_answer", "answer", tf.LongformerForQuestionAnswering, "spans", "spans"),
    ("longformer_choice", "choice", tf.LongformerForMultipleChoice, "choices", "choices"),
]


def load(cls, path):
    kw = {"add_pooling_layer": False} if cls is tf.BertModel else {}
    model = cls.from_pretrained(path, dtype=torch.float64, attn_implementation="eager", **kw)
    for m in model.modules():
        if isinstance(m, torch.nn.Embedding):
            m.padding_idx = None  # PyTorch drops the gradient of this row, which a text without padding should not
    return model.eval()


def curve(model, forward, rate):
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0}], lr=rate)
    out = []
    for _ in range(20):
        loss = forward()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        opt.step()
        out.append(loss.item())
    return out


def main():
    out = ["/* Made by gen_grad.py from PyTorch %s, transformers %s: do not edit. */" % (torch.__version__.split("+")[0], tf.__version__), "static const struct grad_vector grad_vectors[] = {"]
    cases = []
    for i, (case, head, cls, field, kind) in enumerate(CASES):
        model = load(cls, os.path.join(HERE, "arch", case))
        loss = loss_of(kind, outputs(model, case, inputs(case, head), field))
        loss.backward()
        cases.append('    { "%s", "%s", "%s", %.15g },' % (case, head, kind, loss.item()))
        for name, p in model.named_parameters():
            if p.grad is not None and p.grad.abs().max() > 0:
                g = p.grad.numpy().ravel()
                out.append('    { %d, "%s", %.12g, %.12g },' % (i, name, np.sqrt((g * g).sum()), (g * lcg(len(g))).sum()))
    out += ["};", "static const struct grad_case grad_cases[] = {", *cases, "};"]
    model = load(tf.BertForSequenceClassification, os.path.join(HERE, "arch", "bert_classify"))
    texts = inputs("bert_classify", "classify")
    losses = curve(model, lambda: loss_of("classes", outputs(model, "bert_classify", texts, "logits")), 2e-3)
    out.append("static const double tiny_curve[20] = { %s };" % ", ".join("%.12g" % x for x in losses))
    with open(os.path.join(HERE, "grad_vectors.h"), "w") as f:
        f.write("\n".join(out) + "\n")


main()
