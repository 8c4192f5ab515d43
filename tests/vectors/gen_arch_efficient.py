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
                y = getattr(model(input_ids=torch.tensor(ids)[None], attention_mask=torch.ones(1, len(ids), dtype=torch.long)), field)
                assert not r.queue
            rows.append(y[0].numpy() if y.dim() == 3 else y.numpy())
        write(f"{folder}/{head}.bin", inputs, gen_arch.pool(rows, "mean") if head == "embed" else rows)
    gen_arch.finish(folder)


def labels(*names):
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


CASES = {
    "reformer": lambda n: reformer(n, "ReformerModel", {"encode": "last_hidden_state", "embed": "last_hidden_state"}, 41, attn_layers=["lsh", "local"], lsh_num_chunks_after=1),
    "reformer_lm": lambda n: reformer(n, "ReformerModelWithLMHead", {"lm": "logits"}, 42, is_decoder=True, attn_layers=["local", "lsh", "lsh"], num_buckets=[2, 4]),
    "reformer_mlm": lambda n: reformer(n, "ReformerForMaskedLM", {"mlm": "logits"}, 43, attn_layers=["lsh"], axial_pos_embds=False, hidden_act="gelu", num_hashes=1,
                                       local_attn_chunk_length=8, lsh_attn_chunk_length=8),
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
