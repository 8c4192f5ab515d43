#!/usr/bin/env python3
"""Makes tests/vectors/arch/: tiny random checkpoints of every class that formats/arch reads, and what transformers computes.

Needs torch, transformers and safetensors; the tests need none of them. Every parameter is random (norms and biases too), so that no
part of a model can be left out unnoticed. Texts are run one by one, as our runtime runs them: no padding anywhere. With names of cases only these are made.

    CASE/config.json, model.safetensors (or shards), modules.json, ...   as transformers and sentence-transformers lay them out
    CASE/HEAD.bin   i32 n_seq, tokens, rows, cols; i32 start[n_seq + 1], ids[tokens], types[tokens]; f32 out[rows * cols]
"""
import json
import os
import shutil
import sys

import numpy as np
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "arch")
LENGTHS = (1, 2, 5, 17, 23)
VOCAB, POSITIONS = 60, 26


def config(kind, hidden=32, heads=1, ffn=36, layers=2, **kw):
    if kind == "distilbert":
        return tf.DistilBertConfig(vocab_size=VOCAB, dim=hidden, n_layers=layers, n_heads=heads, hidden_dim=ffn, max_position_embeddings=POSITIONS, **kw)
    base = dict(vocab_size=VOCAB, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=ffn)
    if kind == "roberta":
        return tf.RobertaConfig(max_position_embeddings=POSITIONS + 2, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, **base, **kw)
    if kind == "longformer":
        return tf.LongformerConfig(max_position_embeddings=POSITIONS + 2, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5, **base, **kw)
    return tf.BertConfig(max_position_embeddings=POSITIONS, **base, **kw)


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            norm = "layernorm" in name.lower() or "layer_norm" in name.lower()
            x = torch.randn(p.shape, generator=g)
            p.copy_(1 + 0.2 * x if norm and p.dim() == 1 and name.endswith("weight") else 0.1 * x if p.dim() == 1 else x * 0.6 / p.shape[-1] ** 0.5 if "embeddings" not in name else x * 0.5)


def inputs(kind, seed):
    rng = np.random.default_rng(seed)
    out = []
    for n in LENGTHS:
        ids = rng.integers(5, VOCAB, n)
        if kind == "roberta" and n == 17:
            ids[[3, 9]] = 1  # padding ids inside a text: positions must skip them
        types = (np.arange(n) >= n // 2).astype(np.int64) if kind == "bert" else np.zeros(n, np.int64)
        out.append((ids, types))
    return out


def pairs(seed):
    """Longformer's question answering takes <s> q </s></s> c </s>; the last text is none, and has no global tokens here."""
    rng = np.random.default_rng(seed)
    out = []
    for n, q in ((6, 2), (11, 3), (17, 1), (26, 12), (9, 0)):
        ids = rng.integers(5, VOCAB, n)
        if q:
            ids[[q, q + 1, n - 1]] = 2
        out.append((ids, np.zeros(n, np.int64)))
    return out


def answer(model, kind, ids, kw):
    """Logits of both ends, or of a choice; a text that is no pair has no global tokens, where Longformer would stop."""
    if kind == "longformer" and (ids == 2).sum() < 3:
        kw["global_attention_mask"] = torch.zeros(1, len(ids), dtype=torch.long)
    if hasattr(model, "classifier"):
        return model(**{k: v[None] for k, v in kw.items()}).logits
    y = model(**kw)
    return torch.stack([y.start_logits, y.end_logits], -1)


def run(model, kind, texts, field):
    rows = []
    with torch.no_grad():
        for ids, types in texts:
            kw = {"input_ids": torch.tensor(ids)[None], "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
            if kind == "bert":
                kw["token_type_ids"] = torch.tensor(types)[None]
            y = answer(model, kind, ids, kw) if field == "answer" else getattr(model(**kw), field)
            rows.append(y[0].float().numpy() if y.dim() == 3 else y.float().numpy())
    return rows


def write(path, texts, rows):
    out = np.concatenate(rows).astype("<f4")
    start = np.cumsum([0] + [len(i) for i, _ in texts])
    with open(path, "wb") as f:
        for a in ([len(texts), start[-1], out.shape[0], out.shape[1]], start, np.concatenate([i for i, _ in texts]), np.concatenate([t for _, t in texts])):
            f.write(np.asarray(a, "<i4").tobytes())
        f.write(out.tobytes())


def pool(rows, mode):
    f = {"mean": lambda x: x.mean(0), "cls": lambda x: x[0], "max": lambda x: x.max(0), "mean_sqrt_len": lambda x: x.sum(0) / np.sqrt(len(x))}[mode]
    return [f(r.astype(np.float64))[None] for r in rows]


def sentence_files(folder, hidden, mode, normalize, max_tokens, dense=None):
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    if dense:
        modules.append(("Dense", "2_Dense"))
    if normalize:
        modules.append(("Normalize", f"{len(modules)}_Normalize"))
    with open(f"{folder}/modules.json", "w") as f:
        json.dump([{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"} for i, (t, p) in enumerate(modules)], f, indent=1)
    with open(f"{folder}/sentence_bert_config.json", "w") as f:
        json.dump({"max_seq_length": max_tokens, "do_lower_case": False}, f)
    os.makedirs(f"{folder}/1_Pooling")
    with open(f"{folder}/1_Pooling/config.json", "w") as f:
        keys = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "mean_sqrt_len": "mean_sqrt_len_tokens"}
        json.dump({"word_embedding_dimension": hidden, **{f"pooling_mode_{v}": k == mode for k, v in keys.items()}}, f)


def finish(folder):
    for name in os.listdir(folder):  # what save_pretrained adds and nobody reads
        if name in ("generation_config.json",):
            os.remove(f"{folder}/{name}")


def make(name, kind, cls, heads_out, seed, hidden=32, heads=1, ffn=36, layers=2, dtype=None, shards=None, cfg_kw=None, after=None):
    """heads_out: {head: output field}; a head "embed" is the mean of the hidden states."""
    folder = f"{OUT}/{name}"
    if sys.argv[1:] and name not in sys.argv[1:]:
        return
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    cfg = config(kind, hidden, heads, ffn, layers, **(cfg_kw or {}))
    model = getattr(tf, cls)(cfg).eval()
    randomise(model, seed)
    model.tie_weights()
    if dtype:
        model = model.to(dtype)
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    model = model.float()
    texts = pairs(seed + 1) if name in ("longformer_answer", "longformer_choice") else inputs(kind, seed + 1)
    for head, field in heads_out.items():
        rows = run(model, kind, texts, field)
        write(f"{folder}/{head}.bin", texts, pool(rows, "mean") if head == "embed" else rows)
    if after:
        after(folder, model, kind, texts)
    finish(folder)


def sentence(mode, normalize, max_tokens, dense=False):
    def after(folder, model, kind, texts):
        hidden = model.config.hidden_size
        rows = pool(run(model, kind, texts, "last_hidden_state"), mode)
        sentence_files(folder, hidden, mode, normalize, max_tokens, dense)
        if dense:
            g = torch.Generator().manual_seed(77)
            w, b = torch.randn(20, hidden, generator=g) * 0.2, torch.randn(20, generator=g) * 0.1
            os.makedirs(f"{folder}/2_Dense")
            save_file({"linear.weight": w, "linear.bias": b}, f"{folder}/2_Dense/model.safetensors")
            with open(f"{folder}/2_Dense/config.json", "w") as f:
                json.dump({"in_features": hidden, "out_features": 20, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}, f)
            rows = [np.tanh(r @ w.numpy().T.astype(np.float64) + b.numpy()) for r in rows]
        if normalize:
            rows = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows]
        write(f"{folder}/embed.bin", texts, rows)
    return after


def old_names(folder, model, kind, texts):
    """As checkpoints before 2019: LayerNorm.gamma and beta, and the buffer of position ids."""
    path = f"{folder}/model.safetensors"
    t = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in load_file(path).items()}
    t["bert.embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    save_file(t, path, metadata={"format": "pt"})


def seeds():
    """Seeds of the fuzzers: small files that pass, so that mutations go deep."""
    corpus = os.path.join(os.path.dirname(OUT), "..", "fuzz", "corpus")
    for name in ("bert", "bert_classify", "bert_mlm_untied", "bert_old_names", "distilbert_tag", "distilbert_mlm", "roberta_classify", "roberta_mlm", "longformer_classify", "longformer_answer", "reformer_lm", "reformer_classify", "linformer", "reformer_pytorch_causal", "bert_linformer", "bert_synthesizer", "led"):
        with open(f"{OUT}/{name}/model.safetensors", "rb") as f:
            header = f.read(int.from_bytes(f.read(8), "little"))
        os.makedirs(f"{corpus}/config", exist_ok=True)
        with open(f"{corpus}/config/{name}", "wb") as f:
            f.write(json.dumps(json.load(open(f"{OUT}/{name}/config.json"))).encode() + b"\0" + header.strip())
    small = {
        "empty": {},
        "metadata": {"__metadata__": {"format": "pt"}},
        "three": {"a": ("F32", [2, 3], 24), "b": ("BF16", [4], 8), "c": ("F16", [1, 1, 1], 2)},
        "scalar": {"a": ("I64", [], 8), "none": ("F32", [0, 5], 0), "b": ("BOOL", [3], 3)},
    }
    os.makedirs(f"{corpus}/safetensors", exist_ok=True)
    for name, tensors in small.items():
        at, header = 0, {}
        for key, value in tensors.items():
            header[key] = value if isinstance(value, dict) else {"dtype": value[0], "shape": value[1], "data_offsets": [at, at := at + value[2]]}
        text = json.dumps(header).encode()
        with open(f"{corpus}/safetensors/{name}", "wb") as f:
            f.write(text)


def main():
    labels = lambda *names: {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    hidden = {"encode": "last_hidden_state", "embed": "last_hidden_state"}
    logits = lambda head: {head: "logits"}

    make("bert", "bert", "BertModel", hidden, 1, hidden=52, heads=2, ffn=60, layers=1)
    make("bert_st_mean", "bert", "BertModel", {}, 2, heads=2, layers=1, after=sentence("mean", True, 16))
    make("bert_st_cls", "bert", "BertModel", {}, 3, layers=1, after=sentence("cls", False, 24))
    make("bert_st_max", "bert", "BertModel", {}, 4, layers=1, ffn=32, after=sentence("max", False, 24))
    make("bert_st_sqrt_dense", "bert", "BertModel", {}, 5, layers=1, after=sentence("mean_sqrt_len", True, 24, dense=True))
    make("bert_regress", "bert", "BertForSequenceClassification", logits("regress"), 6, layers=1, cfg_kw={"num_labels": 1})
    make("bert_classify", "bert", "BertForSequenceClassification", logits("classify"), 7, cfg_kw=labels("no", "maybe", "yes"))
    make("bert_tag", "bert", "BertForTokenClassification", logits("tag"), 8, layers=1, cfg_kw=labels("O", "B-X", "I-X"))
    make("bert_mlm", "bert", "BertForMaskedLM", logits("mlm"), 9, layers=1)
    make("bert_mlm_untied", "bert", "BertForMaskedLM", logits("mlm"), 10, layers=1, cfg_kw={"tie_word_embeddings": False})
    make("bert_gelu_new_sharded", "bert", "BertModel", hidden, 11, layers=1, shards="14KB", cfg_kw={"hidden_act": "gelu_new"})
    make("bert_bf16", "bert", "BertForSequenceClassification", logits("classify"), 12, layers=1, dtype=torch.bfloat16, cfg_kw=labels("a", "b"))
    make("bert_f16_k312", "bert", "BertModel", hidden, 13, hidden=52, heads=2, ffn=312, layers=1, dtype=torch.float16)
    make("bert_old_names", "bert", "BertForMaskedLM", logits("mlm"), 14, layers=1, after=old_names)
    make("distilbert", "distilbert", "DistilBertModel", hidden, 15, hidden=52, heads=2, ffn=40, layers=1)
    make("distilbert_classify", "distilbert", "DistilBertForSequenceClassification", logits("classify"), 16, layers=1, cfg_kw=labels("neg", "pos"))
    make("distilbert_tag", "distilbert", "DistilBertForTokenClassification", logits("tag"), 17, layers=1, cfg_kw=labels("O", "A", "B", "C", "D"))
    make("distilbert_mlm", "distilbert", "DistilBertForMaskedLM", logits("mlm"), 18, layers=1)
    make("roberta", "roberta", "RobertaModel", hidden, 19, hidden=52, heads=2, ffn=40, layers=1)
    make("roberta_classify", "roberta", "RobertaForSequenceClassification", logits("classify"), 20, layers=1, cfg_kw=labels("c", "n", "e"))
    make("roberta_tag", "roberta", "RobertaForTokenClassification", logits("tag"), 21, layers=1, cfg_kw=labels("O", "X"))
    make("roberta_mlm", "roberta", "RobertaForMaskedLM", logits("mlm"), 22, layers=1)
    make("longformer", "longformer", "LongformerModel", hidden, 23, hidden=52, heads=2, ffn=40, layers=1, cfg_kw={"attention_window": [8]})
    make("longformer_classify", "longformer", "LongformerForSequenceClassification", logits("classify"), 24, heads=2, cfg_kw={"attention_window": [4, 12], **labels("c", "n", "e")})
    make("longformer_mlm", "longformer", "LongformerForMaskedLM", logits("mlm"), 25, layers=1, cfg_kw={"attention_window": [6]})
    make("longformer_tag", "longformer", "LongformerForTokenClassification", logits("tag"), 26, layers=1, cfg_kw={"attention_window": [4], **labels("O", "A", "B")})
    make("longformer_regress", "longformer", "LongformerForSequenceClassification", logits("regress"), 27, layers=1, cfg_kw={"attention_window": 8, "num_labels": 1})
    for i, (kind, cls) in enumerate((("bert", "Bert"), ("distilbert", "DistilBert"), ("roberta", "Roberta"))):
        make(f"{kind}_answer", kind, f"{cls}ForQuestionAnswering", {"answer": "answer"}, 28 + i, hidden=24, ffn=28, layers=1)
        make(f"{kind}_choice", kind, f"{cls}ForMultipleChoice", {"choice": "answer"}, 32 + i, hidden=16, ffn=20, layers=1)
    make("longformer_answer", "longformer", "LongformerForQuestionAnswering", {"answer": "answer"}, 31, hidden=24, heads=2, ffn=28, cfg_kw={"attention_window": [4, 8]})
    make("longformer_choice", "longformer", "LongformerForMultipleChoice", {"choice": "answer"}, 35, hidden=16, heads=2, ffn=20, layers=1, cfg_kw={"attention_window": [4]})
    if not sys.argv[1:]:
        seeds()
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(OUT) for f in files)
    print(f"{total} bytes in {OUT}", file=sys.stderr)


if __name__ == "__main__":
    main()
