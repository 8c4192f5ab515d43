#!/usr/bin/env python3
"""How much faster students are than their teacher: ours beside the teacher in f32 in its best peer, and in int8 in our runtime; one thread.

    VENV/bin/python bench/student.py --xcompress PROGRAM --teacher8 TEACHER8.xc --models DIR [--tokens 64] [--rounds 4] STUDENT.xc...

--models  a folder with the teacher's encoder in f32 for the peers (any fine-tuned weights cost the same): ov_fp32.xml (OpenVINO), raw.onnx and fused.onnx
          (ONNX Runtime), ct2_float32/ (CTranslate2); those that are there are run
Every round times every engine once, peers in this process (median of 0.6 s after a warm-up), ours by `xcompress bench`. Prints one JSON object: the median
over rounds of each, the best peer, and for each student its file's bytes and how many times faster it is than the best peer and than TEACHER8.xc."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.pop(0)  # this folder, whose tokenize.py is not the library's
import numpy as np  # noqa: E402


def timed(run):
    for _ in range(3):
        run()
    took, end = [], time.perf_counter() + 0.6
    while time.perf_counter() < end or len(took) < 10:
        start = time.perf_counter()
        run()
        took.append(1e3 * (time.perf_counter() - start))
    return statistics.median(took)


def peers(folder, tokens):
    """name -> a function that runs one sequence of so many tokens on one thread."""
    ids = np.full((1, tokens), 2023, np.int64)
    ids[0, 0], ids[0, -1] = 101, 102
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    found = {}
    path = os.path.join(folder, "ov_fp32.xml")
    if os.path.exists(path):
        import openvino
        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"})
        names = [next(n for n in i.get_names() if n in feed) for i in model.inputs]
        request = model.create_infer_request()
        found["openvino_fp32"] = lambda: request.infer({n: feed[n] for n in names})
    for name in ("raw.onnx", "fused.onnx"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            import onnxruntime
            opts = onnxruntime.SessionOptions()
            opts.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, opts, providers=["CPUExecutionProvider"])
            dtype = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
            given = {i.name: feed[i.name].astype(dtype[i.type]) for i in session.get_inputs()}
            found["onnxruntime_fp32_" + name.split(".")[0]] = lambda s=session, g=given: s.run(None, g)
    path = os.path.join(folder, "ct2_float32")
    if os.path.exists(path):
        import ctranslate2
        encoder = ctranslate2.Encoder(path, device="cpu", compute_type="float32", intra_threads=1, inter_threads=1)
        found["ctranslate2_fp32"] = lambda: np.array(encoder.forward_batch([ids[0].tolist()]).last_hidden_state)
    return found


def ours(program, model, tokens):
    said = subprocess.run([program, "bench", model, "--tokens", str(tokens), "--threads", "1", "--json", "-q"], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(said)["latency_ms"]["median"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--xcompress", required=True)
    p.add_argument("--teacher8", required=True)
    p.add_argument("--models", required=True)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("students", nargs="+")
    a = p.parse_args()
    run = peers(a.models, a.tokens)
    if not run:
        sys.exit(f"student.py: '{a.models}' has no model of a peer: ov_fp32.xml, raw.onnx, fused.onnx or ct2_float32/")
    rival = list(run)
    for model in [a.teacher8] + a.students:
        run[model] = lambda m=model: None
    took = {name: [] for name in run}
    for r in range(a.rounds):
        order = list(run)
        for name in order[r % len(order):] + order[:r % len(order)]:
            took[name].append(timed(run[name]) if name in rival else ours(a.xcompress, name, a.tokens))
    ms = {name: statistics.median(t) for name, t in took.items()}
    best = min(rival, key=lambda n: ms[n])
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    print(json.dumps({
        "cpu": cpu, "tokens": a.tokens, "threads": 1, "rounds": a.rounds, "peers_ms": {n: round(ms[n], 3) for n in rival}, "best_peer": best, "teacher8_ms": round(ms[a.teacher8], 3),
        "students": [{"file": os.path.basename(s), "bytes": os.path.getsize(s), "ms": round(ms[s], 3), "spread": round(max(took[s]) / min(took[s]) - 1, 3), "times_best_peer": round(ms[best] / ms[s], 2),
                      "times_teacher8": round(ms[a.teacher8] / ms[s], 2)} for s in a.students]}, indent=1))


if __name__ == "__main__":
    main()
