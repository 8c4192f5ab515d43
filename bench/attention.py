#!/usr/bin/env python3
"""What PyTorch needs for attention at 8 heads of 64, one thread, f32: scaled_dot_product_attention, and the attention of one Longformer layer of
transformers (window 512, one global token; projections included). Prints JSON beside which bench/attention.c is read, in the same run.

    attention.py [TOKENS...]        default 1024 4096"""
import json
import sys
import time

sys.path.pop(0)  # tokenize.py beside this file is not the library's
import torch


def best(fn, seconds=1.0):
    times, end = [], time.perf_counter() + seconds
    fn()
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def longformer(n):
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    layer = LongformerSelfAttention(LongformerConfig(hidden_size=512, num_attention_heads=8, num_hidden_layers=1, attention_window=[512]), 0).eval()
    x, mask = torch.randn(1, n, 512), torch.zeros(1, n)
    mask[0, 0] = 10000.0
    return best(lambda: layer(x, mask, is_index_masked=mask < 0, is_index_global_attn=mask > 0, is_global_attn=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = []
    with torch.no_grad():
        for n in [int(a) for a in sys.argv[1:]] or [1024, 4096]:
            q, k, v = (torch.randn(1, 8, n, 64) for _ in range(3))
            row = {"tokens": n, "sdpa_f32_ms": best(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))}
            if n % 512 == 0:
                row["longformer_layer_ms"] = longformer(n)
            out.append(row)
    print(json.dumps({"torch": torch.__version__, "threads": 1, "lengths": out}))
