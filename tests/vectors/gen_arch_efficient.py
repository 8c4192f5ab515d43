#!/usr/bin/env python3
"""Makes the cases of tests/vectors/arch/ that compute cheaper attention: Hugging Face Reformer, lucidrains' linformer and reformer-pytorch, LED's
encoder, and BERT with our own config key "attention". Same files as gen_arch.py, whose helpers it uses.

    gen_arch_efficient.py [CASE ...]       needs torch, transformers, safetensors; linformer 0.2.3 and reformer-pytorch 1.4.4 for their cases

References run in double precision (transformers' causal Reformer is off by 4e-3 in single: its log-sum-exp sits near -1e5). Rotations, which the
references draw anew in every call, are drawn here, handed to them, and stored as the tensor that our loader looks for."""
import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import gen_arch
from gen_arch import VOCAB, randomise, write

OUT = gen_arch.OUT
LENGTHS = (1, 2, 5, 17, 23)


def texts(seed, lengths=LENGTHS):
    rng = np.random.default_rng(seed)
    return [(rng.integers(5, VOCAB, n), np.zeros(n, np.int64)) for n in lengths]


class Rotations:
    """Hands the next prepared tensor to whoever asks torch.randn for the same shape."""

    def __init__(self):
        self.queue, self.real = [], torch.randn

    def __enter__(self):
        def randn(*shape, **kw):
            shape = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else tuple(shape)
            if self.queue and tuple(self.queue[0].shape) == shape:
                return self.queue.pop(0).to(kw.get("dtype") or torch.get_default_dtype())
            return self.real(shape, **kw)
        torch.randn = randn
        return self

    def __exit__(self, *a):
        torch.randn = self.real


def add_tensors(folder, more):
    path = f"{folder}/model.safetensors"
    save_file({**load_file(path), **{k: v.contiguous() for k, v in more.items()}}, path, metadata={"format": "pt"})


# ---- Hugging Face Reformer ----
def reformer(name, cls, heads_out, seed, lengths=LENGTHS, **kw):
    import transformers as tf
    cfg = dict(vocab_size=VOCAB, hidden_size=32, num_attention_heads=2, attention_head_size=12, feed_forward_size=36, attn_layers=["local", "lsh"], axial_pos_shape=[4, 8],
               axial_pos_embds_dim=[12, 20], max_position_embeddings=32, lsh_attn_chunk_length=4, local_attn_chunk_length=4, num_buckets=4, num_hashes=2, is_decoder=False,
               use_cache=False)
    cfg.update(kw)
    config = tf.ReformerConfig(**cfg)
    folder = f"{OUT}/{name}"
    model = getattr(tf, cls)(config).eval()
    randomise(model, seed)
    model.save_pretrained(folder)
    if hasattr(model, "lm_head"):  # transformers 5 keeps the bias and forgets to add it; Trax and transformers 4 add it
        model.lm_head.decoder.bias = model.lm_head.bias
    buckets = config.num_buckets if isinstance(config.num_buckets, list) else [config.num_buckets]
    half, heads, D = sum(buckets) // 2, config.num_attention_heads, config.attention_head_size
    g = torch.Generator().manual_seed(seed + 1000)
    made = {i: torch.randn(heads, D, config.num_hashes, half, generator=g) for i, k in enumerate(config.attn_layers) if k == "lsh"}
    add_tensors(folder, {f"reformer.encoder.layers.{i}.attention.self_attention.rotations": r.reshape(heads * D, -1) for i, r in made.items()})
    model = model.double()
    inputs = texts(seed + 1, lengths)
    for head, field in heads_out.items():
        rows = []
        for ids, _ in inputs:
            with Rotations() as r, torch.no_grad():
                r.queue = [made[i] for i in sorted(made)] if len(ids) > config.lsh_attn_chunk_length else []
                y = model(input_ids=torch.tensor(ids)[None], attention_mask=torch.ones(1, len(ids), dtype=torch.long))
                y = torch.stack([y.start_logits, y.end_logits], -1) if field == "answer" else getattr(y, field)
                assert not r.queue
            rows.append(y[0].numpy() if y.dim() == 3 else y.numpy())
        write(f"{folder}/{head}.bin", inputs, gen_arch.pool(rows, "mean") if head == "embed" else rows)
    gen_arch.finish(folder)


def led(name, seed):
    import transformers as tf
    cfg = tf.LEDConfig(vocab_size=VOCAB, d_model=24, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=28, decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=4,
                       max_encoder_position_embeddings=32, max_decoder_position_embeddings=4, attention_window=[4, 8], activation_function="gelu")
    model = tf.LEDModel(cfg).eval()
    randomise(model, seed)
    with torch.no_grad():
        for k, p in model.named_parameters():
            p.add_(1.0 if k.endswith("layernorm_embedding.weight") and p.abs().max() < 0.7 else 0.0)
    model.tie_weights()
    model.save_pretrained(f"{OUT}/{name}")
    inputs, encoder = texts(seed + 1), model.double().encoder
    rows = gen_arch.run(encoder, "plain", inputs, "last_hidden_state")
    write(f"{OUT}/{name}/encode.bin", inputs, rows)
    write(f"{OUT}/{name}/embed.bin", inputs, gen_arch.pool(rows, "mean"))
    gen_arch.finish(f"{OUT}/{name}")


# ---- lucidrains' packages: the state dict beside a config.json of ours ----
def lucidrains(name, kind, args, seed, lengths):
    if kind == "linformer":
        from linformer import LinformerLM as cls
    else:
        from reformer_pytorch import ReformerLM as cls
    model = cls(**args).eval()
    randomise(model, seed)
    with torch.no_grad():
        for k, p in model.named_parameters():  # names that randomise does not know
            p.add_(1.0 if k.endswith("norm.weight") else 0.0).mul_(4.0 if "_emb." in k else 1.0)
    folder = f"{OUT}/{name}"
    state = {k: v.clone() for k, v in model.state_dict().items() if ".irrev_blocks." not in k}  # the same modules under a second name
    made = {}
    if kind != "linformer":
        D, half, g = args.get("dim_head", 64), args["max_seq_len"] // args["bucket_size"] // 2, torch.Generator().manual_seed(seed + 1000)
        for i in range(args["depth"]):
            made[i] = torch.randn(1, D, args["n_hashes"], half, generator=g)  # one for all heads
            state[f"reformer.layers.blocks.{i}.f.net.fn.rotations"] = made[i].reshape(D, -1).repeat(args["heads"], 1)
    save_file(state, f"{folder}/model.safetensors")
    with open(f"{folder}/config.json", "w") as f:
        json.dump({"architectures": [cls.__name__], "model_type": kind, **args}, f, indent=1)
    model = model.double()
    inputs, rows = texts(seed + 1, lengths), []
    for ids, _ in inputs:
        with Rotations() as r, torch.no_grad():
            r.queue = [made[i] for i in sorted(made)]
            rows.append(model(torch.tensor(ids)[None])[0].numpy())
            assert not r.queue
    write(f"{folder}/{'lm' if args.get('causal') else 'mlm'}.bin", inputs, rows)


# ---- BERT and RoBERTa with our key "attention": the formulas in double, in the place of the model's own ----
def heads_of(x, heads):
    return x.view(*x.shape[:-1], heads, -1).transpose(-3, -2)  # (1, heads, n, D)


def linformer_attention(self, x, t, heads):
    q, k, v = (heads_of(f(x), heads) for f in (self.query, self.key, self.value))
    n = x.shape[1]
    e = t["projection_key"][:, :n].double()
    f = t.get("projection_value", t["projection_key"])[:, :n].double()
    k, v = ((m if m.shape[0] != heads * SLOTS else m.view(heads, -1, n)) @ y for m, y in ((e, k), (f, v)))
    p = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
    return (p @ v).transpose(1, 2).reshape(x.shape)


def synthesizer_attention(self, x, t, heads, scores, rank, factor):
    n, parts = x.shape[1], []
    v = heads_of(self.value(x), heads)
    t = {k: w.double() for k, w in t.items()}
    if "dot" in scores:
        q, k = heads_of(self.query(x), heads), heads_of(self.key(x), heads)
        parts.append(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)
    if "random" in scores:
        r = t["random"].view(-1, gen_arch.POSITIONS, t["random"].shape[1])  # for all heads, or for each
        parts.append((r[..., :rank] @ r[..., rank:].transpose(-1, -2) if rank else r)[:, :n, :n].expand(heads, n, n)[None])
    if "dense" in scores:
        h = heads_of(torch.relu(x @ t["dense_hidden.weight"].T + t["dense_hidden.bias"]), heads)
        w, b = t["dense_scores.weight"], t["dense_scores.bias"]
        w = w.view(b.shape[0], -1, w.shape[1])
        parts.append((h @ w.transpose(-1, -2) + b[:, None])[..., :n])
    if "factorized_dense" in scores:
        f = heads_of(x @ t["factors.weight"].T + t["factors.bias"], heads)
        A, C = f[..., :factor], f[..., factor:]
        parts.append((C[..., :, None] * A[..., None, :]).flatten(-2)[..., :n])  # B_ij = A_i[j mod a] C_i[j div a]
    m = torch.softmax(t["mixture"][0], 0) if "mixture" in t else torch.ones(len(parts))
    p = torch.softmax(sum(w * y for w, y in zip(m, parts)), -1)
    return (p @ v).transpose(1, 2).reshape(x.shape)


SLOTS = 5


def own_key(name, kind, cls, field, head, attention, shapes, seed, heads=2, layers=2, shared=None):
    import types

    import transformers as tf
    cfg = gen_arch.config(kind, 32, heads, 36, layers)
    model = getattr(tf, cls)(cfg).eval()
    randomise(model, seed)
    folder = f"{OUT}/{name}"
    model.save_pretrained(folder)
    g = torch.Generator().manual_seed(seed + 1000)
    draw = lambda s: torch.randn(*s, generator=g) * (0.5 if len(s) == 1 or s[0] == 1 else 1.0 / s[-1] ** 0.5)
    one = {k: draw(s) for k, s in (shared or {}).items()}
    prefix, more = f"{kind}." if cls != "BertModel" else "", {f"attention.{k}": v for k, v in one.items()}
    more = {prefix + k: v for k, v in more.items()}
    base = getattr(model, kind, model).double()
    for i, layer in enumerate(base.encoder.layer):
        t = {k: draw(s) for k, s in shapes.items()}
        more.update({f"{prefix}encoder.layer.{i}.attention.self.{k}": v for k, v in t.items()})
        t.update({"projection_key": one["projection"]} if one else {})
        fn = linformer_attention if attention["kind"] == "linformer" else synthesizer_attention
        extra = () if attention["kind"] == "linformer" else (attention["scores"], attention.get("rank", 0), attention.get("factor", 1))
        layer.attention.self.forward = types.MethodType(lambda self, x, *a, _t=t, _f=fn, _e=extra, **kw: (_f(self, x, _t, heads, *_e), None), layer.attention.self)
    add_tensors(folder, more)
    config = json.load(open(f"{folder}/config.json"))
    config["attention"] = attention
    json.dump(config, open(f"{folder}/config.json", "w"), indent=1)
    if "dot" not in attention.get("scores", ["dot"]):  # made scores need no queries and keys
        path = f"{folder}/model.safetensors"
        save_file({k: v for k, v in load_file(path).items() if ".self.query." not in k and ".self.key." not in k}, path, metadata={"format": "pt"})
    model = model.double()
    inputs = texts(seed + 1)
    rows = gen_arch.run(model, "roberta" if kind == "roberta" else "plain", inputs, field)
    write(f"{folder}/{head}.bin", inputs, rows)
    gen_arch.finish(folder)


def labels(*names):
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


CASES = {
    "led": lambda n: led(n, 71),
    "reformer": lambda n: reformer(n, "ReformerModel", {"encode": "last_hidden_state", "embed": "last_hidden_state"}, 41, attn_layers=["lsh", "local"], lsh_num_chunks_after=1),
    "reformer_lm": lambda n: reformer(n, "ReformerModelWithLMHead", {"lm": "logits"}, 42, is_decoder=True, attn_layers=["local", "lsh", "lsh"], num_buckets=[2, 4]),
    "reformer_mlm": lambda n: reformer(n, "ReformerForMaskedLM", {"mlm": "logits"}, 43, attn_layers=["lsh"], axial_pos_embds=False, hidden_act="gelu", num_hashes=1,
                                       local_attn_chunk_length=8, lsh_attn_chunk_length=8),
    "reformer_answer": lambda n: reformer(n, "ReformerForQuestionAnswering", {"answer": "answer"}, 45, attn_layers=["local"], hidden_size=16, axial_pos_embds_dim=[4, 12], attention_head_size=8,
                                          feed_forward_size=20),
    "linformer": lambda n: lucidrains(n, "linformer", dict(num_tokens=VOCAB, dim=16, seq_len=24, depth=2, k=6, heads=2), 51, LENGTHS),
    "linformer_shared": lambda n: lucidrains(n, "linformer", dict(num_tokens=VOCAB, dim=16, seq_len=24, depth=2, k=5, heads=4, dim_head=6, one_kv_head=True, share_kv=True,
                                                                  reversible=True), 52, LENGTHS),
    "reformer_pytorch_causal": lambda n: lucidrains(n, "reformer-pytorch", dict(num_tokens=VOCAB, dim=16, depth=2, max_seq_len=32, heads=2, dim_head=12, bucket_size=4, n_hashes=2,
                                                                              causal=True, axial_position_emb=True, emb_dim=20), 53, (32, 32)),
    "reformer_pytorch": lambda n: lucidrains(n, "reformer-pytorch", dict(num_tokens=VOCAB, dim=20, depth=1, max_seq_len=32, heads=2, dim_head=16, bucket_size=8, n_hashes=3,
                                                                       absolute_position_emb=True), 54, (32, 32)),
    "bert_linformer": lambda n: own_key(n, "bert", "BertModel", "last_hidden_state", "encode", {"kind": "linformer", "slots": SLOTS, "sharing": "none"},
                                        {"projection_key": (2 * SLOTS, 26), "projection_value": (2 * SLOTS, 26)}, 61, layers=1),
    "roberta_linformer": lambda n: own_key(n, "roberta", "RobertaForMaskedLM", "logits", "mlm", {"kind": "linformer", "slots": [SLOTS, SLOTS], "sharing": "layerwise"}, {}, 62,
                                           shared={"projection": (SLOTS, 26)}),
    "bert_synthesizer": lambda n: own_key(n, "bert", "BertForSequenceClassification", "logits", "classify",
                                          {"kind": "synthesizer", "scores": ["dot", "random", "dense", "factorized_dense"], "mixture": True, "hidden": 3, "factor": 2},
                                          {"random": (52, 26), "dense_hidden.weight": (6, 32), "dense_hidden.bias": (6,), "dense_scores.weight": (52, 3), "dense_scores.bias": (2, 26),
                                           "factors.weight": (30, 32), "factors.bias": (30,), "mixture": (1, 4)}, 63, layers=1),
    "bert_synthesizer_random": lambda n: own_key(n, "bert", "BertModel", "last_hidden_state", "encode", {"kind": "synthesizer", "scores": ["random"], "rank": 3}, {"random": (26, 6)}, 64,
                                                 layers=1),
    "reformer_classify": lambda n: reformer(n, "ReformerForSequenceClassification", {"classify": "logits"}, 44, **labels("c", "n", "e")),
}


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        folder = f"{OUT}/{name}"
        os.makedirs(folder, exist_ok=True)
        torch.manual_seed(1)
        CASES[name](name)
        print(name, sum(os.path.getsize(f"{folder}/{f}") for f in os.listdir(folder)), "bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
