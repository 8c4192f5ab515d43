#!/usr/bin/env python3
"""Bits a weight against relative error, and STS-B: our formats beside llama.cpp's on the same weights.

usage: rate_distortion.py XCOMPRESS MODEL [--data stsb.dev.tsv.zst] [--calibrate TEXTS] [--only NAME,...] [--ggml libggml-base.so]

Theirs: ggml_quantize_chunk of the llama-cpp-python package through ctypes, without importance matrix, on each weight of two axes (linears and
tables) laid flat, in rows of 256 numbers. Ours: `compress --quantize` of the same weights, each group by itself (no texts, no smoothing). The error is
|w - w'| / |w| over all those weights. With --data, the Spearman correlation of our runtime with either's weights as f32 (theirs) or as compressed
(ours, int8 activations and attention; with --calibrate by GPTQ and fitted), and the mean cosine of the embeddings with the model's. Prints a table for docs/methods.md."""
import argparse, ctypes, glob, json, os, shutil, struct, subprocess, sys, tempfile
import numpy as np

THEIRS = {"Q8_0": 8, "Q6_K": 14, "Q5_K": 13, "Q4_K": 12, "Q3_K": 11, "Q2_K": 10}
OURS = [("int8", "int8", []), ("int8 tables of 6 bits", "int8", ["embedding_bits=6"])] + [
    (f"{form}/g{group}" + (" codes" if codes else "") + (" zero points" if zero else ""), form,
     [f"group={group}"] + ["scales=int6"] * codes + ["zero_point=yes"] * zero)
    for form, groups in (("int8", (32, 64, 128)), ("int7", (32, 64)), ("int6", (32, 64)), ("int5", (32, 64)), ("int4", (32, 64, 128)), ("int3", (32, 64)), ("int2", (32, 64)), ("ternary", (64,)))
    for group in groups for codes, zero in ((0, 0), (1, 0), (1, 1)) if not (form == "ternary" and codes)]


def read_safetensors(path):
    blob = open(path, "rb").read()
    size = struct.unpack("<Q", blob[:8])[0]
    head = json.loads(blob[8:8 + size])
    return blob, size, {k: v for k, v in head.items() if k != "__metadata__"}


class Ggml:
    class Traits(ctypes.Structure):
        _fields_ = [("name", ctypes.c_char_p), ("blck_size", ctypes.c_int64), ("interleave", ctypes.c_int64), ("size", ctypes.c_size_t), ("quantized", ctypes.c_bool),
                    ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64))]

    def __init__(self, path):
        import importlib.util
        self.lib = ctypes.CDLL(path or glob.glob(os.path.dirname(importlib.util.find_spec("llama_cpp").origin) + "/lib/libggml-base.so")[0])
        self.lib.ggml_quantize_chunk.restype = ctypes.c_size_t
        self.lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
        self.lib.ggml_get_type_traits.restype = ctypes.POINTER(self.Traits)

    def round(self, kind, w):
        rows = w.size // 256
        packed, back = np.zeros(w.size * 2 + 1024, np.uint8), np.empty(w.size, np.float32)
        n = self.lib.ggml_quantize_chunk(kind, w.ctypes.data, packed.ctypes.data, 0, rows, 256, None)
        self.lib.ggml_get_type_traits(kind).contents.to_float(packed.ctypes.data, back.ctypes.data, w.size)
        return back, n


def scores(program, model, data, reference):
    if not data:
        return " | "
    command = [program, "eval", model, "-t", "sts", "-d", data, "-r", reference, "--threads", "1", "--json", "--quiet"]
    out = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return f"{out['metrics']['spearman']['value']:.4f} | {out['cosine']['mean']:.4f}"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program"), p.add_argument("model"), p.add_argument("--data"), p.add_argument("--calibrate"), p.add_argument("--only"), p.add_argument("--ggml")
    a = p.parse_args()
    only = a.only.split(",") if a.only else list(THEIRS) + [o[0] for o in OURS]
    blob, size, head = read_safetensors(a.model + "/model.safetensors")
    weights = {}
    for name, t in head.items():
        if len(t["shape"]) == 2 and t["shape"][0] > 16 and "pooler" not in name and "position_ids" not in name:
            assert t["dtype"] == "F32", name
            weights[name] = np.frombuffer(blob, np.float32, int(np.prod(t["shape"])), 8 + size + t["data_offsets"][0]).copy()
    total, norm2 = sum(w.size for w in weights.values()), sum(float((w.astype(np.float64) ** 2).sum()) for w in weights.values())
    ggml = Ggml(a.ggml) if set(only) & set(THEIRS) else None
    print("| format | bits a weight | packed | relative error | Spearman | mean cosine |\n| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as tmp:
        for name, kind in THEIRS.items():
            if name not in only:
                continue
            changed, bits, error2 = bytearray(blob), 0, 0.0
            for key, w in weights.items():
                back, n = ggml.round(kind, w)
                bits += 8 * n
                error2 += float(((w.astype(np.float64) - back) ** 2).sum())
                at = 8 + size + head[key]["data_offsets"][0]
                changed[at:at + 4 * w.size] = back.tobytes()
            score = " | "
            if a.data:
                shutil.copytree(a.model, tmp + "/theirs", dirs_exist_ok=True)
                os.chmod(tmp + "/theirs/model.safetensors", 0o644)
                open(tmp + "/theirs/model.safetensors", "wb").write(changed)
                score = scores(a.program, tmp + "/theirs", a.data, a.model)
            print(f"| {name} | {bits / total:.3f} | | {(error2 / norm2) ** 0.5:.4f} | {score} |", flush=True)
        for name, form, settings in OURS:
            if name not in only:
                continue
            out = tmp + "/ours.xc"
            command = [a.program, "compress", a.model, "-o", out, "--recipe", tmp + "/recipe.yaml", "--no-golden", "--no-resume", "--store", "small", "--threads", "1", "--json", "--quiet"]

            def recipe(extra):
                lines = [f"format: {form}" + "-groups" * (form == "int8" and any(s.startswith("group") for s in settings))] + [s.replace("=", ": ") for s in settings + extra]
                open(tmp + "/recipe.yaml", "w").write("passes:\n  - quantize:\n" + "".join(f"      {line}\n" for line in lines))

            recipe(["smooth=no"])
            layers = {v["name"]: v for v in json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["layers"]}
            bits = sum(8 * layers[k]["bytes"] for k in weights)
            error2 = sum(layers[k]["error"] ** 2 * float((weights[k].astype(np.float64) ** 2).sum()) for k in weights)
            rest = sum(v["bytes"] for k, v in layers.items() if k not in weights)
            packed = 8 * (os.path.getsize(out) - rest - 0.25e6) / total  # the vocabulary and the graph: about 0.25 MB
            score = " | "
            if a.data:
                if a.calibrate and any(s.startswith("group") for s in settings):
                    recipe(["method=gptq"])
                    command += ["--calibrate", a.calibrate, "--calibrate-rows", "512"]
                else:
                    recipe([])
                subprocess.run(command, capture_output=True, check=True)
                score = scores(a.program, out, a.data, a.model)
            print(f"| {name} | {bits / total:.3f} | {packed:.2f} | {(error2 / norm2) ** 0.5:.4f} | {score} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
