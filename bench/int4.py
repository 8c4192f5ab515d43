#!/usr/bin/env python3
"""Ours and the int4 peers in turn, one thread, the same numbers of tokens: latency of a run, in milliseconds, as p10 and median; ours first and last.

    int4.py XCOMPRESS MODEL.xc... WORK [SECONDS]      WORK: venv and models as bench/compare.py wants them; run by WORK/venv/bin/python

ov_int4.xml (OpenVINO, weights compressed by NNCF), fused_int4.onnx (ONNX Runtime, MatMulNBits), minilm-q4_0.gguf (llama.cpp, whose time has
the tokenizer's in it: some 20 us)."""
import json
import os
import subprocess
import sys
import time

LENGTHS = (16, 128)


def show(name, tokens, times):
    t = sorted(1e3 * x for x in times)
    print(json.dumps({"engine": name, "tokens": tokens, "p10": round(t[len(t) // 10], 3), "median": round(t[len(t) // 2], 3), "runs": len(t)}), flush=True)


def measure(name, tokens, run, seconds):
    times, end = [], time.perf_counter() + seconds
    for _ in range(3):
        run()
    while len(times) < 10 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    show(name, tokens, times)


def ids(n):
    import numpy as np

    x = np.full((1, n), 7592, dtype=np.int64)
    x[0, 0], x[0, -1] = 101, 102
    return {"input_ids": x, "attention_mask": np.ones_like(x), "token_type_ids": np.zeros_like(x)}


def openvino(models, seconds):
    import openvino

    core = openvino.Core()
    model = core.compile_model(os.path.join(models, "ov_int4.xml"), "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"})
    request, names = model.create_infer_request(), {i.get_any_name() for i in model.inputs}
    for n in LENGTHS:
        feed = {k: v for k, v in ids(n).items() if k in names}
        measure("OpenVINO int4", n, lambda: request.infer(feed), seconds)


def onnxruntime(models, seconds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.path.join(models, "fused_int4.onnx"), options, providers=["CPUExecutionProvider"])
    names = {i.name: i.type for i in session.get_inputs()}
    for n in LENGTHS:
        feed = {k: v.astype("int32") if "int32" in names[k] else v for k, v in ids(n).items() if k in names}
        measure("ONNX Runtime int4", n, lambda: session.run(None, feed), seconds)


def llama(models, seconds):
    import llama_cpp

    model = llama_cpp.Llama(os.path.join(models, "minilm-q4_0.gguf"), embedding=True, n_threads=1, n_threads_batch=1, n_ctx=512, n_batch=512, verbose=False)
    for n in LENGTHS:
        text = " ".join(["hello"] * (n - 2))
        measure("llama.cpp Q4_0", n, lambda: model.embed(text), seconds)


def ours(program, model, seconds):
    for n in LENGTHS:
        r = subprocess.run([program, "bench", model, "--tokens", str(n), "--threads", "1", "--runs", str(max(10, int(seconds / (8e-5 * n)))), "--quiet", "--json"], stdout=subprocess.PIPE, check=True)
        l = json.loads(r.stdout)["latency_ms"]
        print(json.dumps({"engine": os.path.basename(model), "tokens": n, "p5": round(l["p5"], 3), "median": round(l["median"], 3), "runs": l["runs"]}), flush=True)


def main():
    argv = sys.argv[1:]
    seconds = float(argv.pop()) if argv[-1].replace(".", "").isdigit() else 1.5
    program, mine, models = argv[0], argv[1:-1], os.path.join(argv[-1], "models")
    sys.path.pop(0)  # tokenize.py beside this file is not the library's
    for turn in range(2):
        for model in mine:
            ours(program, model, seconds / 2)
        for peer in (openvino, onnxruntime, llama) if turn == 0 else ():
            peer(models, seconds)


if __name__ == "__main__":
    main()
