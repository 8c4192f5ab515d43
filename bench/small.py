#!/usr/bin/env python3
"""How small a file is at what accuracy, ours beside the other tools': bytes as written and after `zstd -19`, Spearman on STS-B, cosines of the embeddings with
those of the model in f32; a Markdown table, smallest first. docs/methods.md has it.

    small.py --xcompress PROGRAM --model MODEL --data stsb.dev.tsv.zst --peers WORK --script peers.py [--gguf q8_0,q5_0,...] OURS.xc...

--peers, --script   as in compare.py: what setup filled (WORK/models), and the script that knows how each tool is called. Files of llama.cpp that are not there
                    are made by its llama_model_quantize from WORK/models/minilm-f32.gguf. Run it with the peers' Python."""
import argparse
import ctypes
import importlib.util
import os
import subprocess
import sys
import tempfile

del sys.path[0]  # tokenize.py of this folder is not the library's

import numpy as np
from scipy.stats import spearmanr

PEERS = ("ort_int8", "ort_int4", "ov_int8", "ov_int4", "ct2_int8")
BATCH = 8


def rows_of(path):
    text = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout.decode()
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return [r[1] for r in rows] + [r[2] for r in rows], np.array([float(r[0]) for r in rows])


def packed(files):
    return sum(len(subprocess.run(["zstd", "-19", "-cfq", f], stdout=subprocess.PIPE, check=True).stdout) for f in files)


def files_below(paths):
    return [os.path.join(d, f) for p in paths if os.path.isdir(p) for d, _, fs in os.walk(p) for f in fs] + [p for p in paths if os.path.isfile(p)]


def peer_embeddings(peers, encode, texts):
    tok = peers.tokenizer()
    ids = [e.ids for e in tok.encode_batch(texts)]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = np.empty((len(ids), 384), np.float32)
    for at in range(0, len(order), BATCH):
        some = order[at:at + BATCH]
        out[some] = encode([ids[i] for i in some])
    return out


def our_embeddings(xcompress, model, texts, folder):
    with open(os.path.join(folder, "texts"), "w", encoding="utf-8") as f:
        f.write("\n".join(texts) + "\n")
    out = os.path.join(folder, "out.npy")
    subprocess.run([xcompress, "embed", model, "-f", f.name, "-o", out, "--threads", "1", "--quiet"], check=True)
    return np.load(out)


def make_gguf(peers, kind):
    import llama_cpp as L
    path = peers.P("models", f"minilm-{kind}.gguf")
    if not os.path.exists(path):
        p = L.llama_model_quantize_default_params()
        name = kind.upper()
        p.ftype = getattr(L, f"LLAMA_FTYPE_MOSTLY_{name}", None) or getattr(L, f"LLAMA_FTYPE_MOSTLY_{name}_M")
        assert L.llama_model_quantize(peers.P("models", "minilm-f32.gguf").encode(), path.encode(), ctypes.byref(p)) == 0, kind


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("xcompress", "model", "data", "peers", "script"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--gguf", default="q8_0,q5_1,q5_0,q4_1,q4_0,iq4_nl", help="kinds of llama.cpp")
    p.add_argument("ours", nargs="*")
    a = p.parse_args()
    spec = importlib.util.spec_from_file_location("peers", a.script)
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    peers.WORK = a.peers
    texts, scores = rows_of(a.data)
    n = len(scores)
    table = []

    with tempfile.TemporaryDirectory() as folder:
        exact = our_embeddings(a.xcompress, a.model, texts, folder)

        def add(name, files, e):
            e = e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-9)
            cosine = (e * exact).sum(1)
            table.append((packed(files), name, sum(map(os.path.getsize, files)), 100 * spearmanr((e[:n] * e[n:]).sum(1), scores)[0], cosine.mean(), cosine.min()))

        for path in a.ours:
            add("xcompress " + os.path.basename(path), [path], our_embeddings(a.xcompress, path, texts, folder))
        for kind in filter(None, a.gguf.split(",")):
            make_gguf(peers, kind)
            encode, files = peers.gguf(kind)(1)
            add(f"llama.cpp {kind.upper()}", files, peer_embeddings(peers, encode, texts))
        for name in PEERS:
            encode, files = peers.PEERS[name](1)
            add(name, files_below(files), peer_embeddings(peers, encode, texts))
    print("| file | bytes | after zstd -19 | Spearman | mean cosine | least |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for small, name, size, rank, mean, least in sorted(table):
        print(f"| {name} | {size:,} | {small:,} | {rank:.2f} | {mean:.4f} | {least:.4f} |")


if __name__ == "__main__":
    sys.exit(main())
