#!/usr/bin/env python3
"""Full-size checks of formats/arch against transformers: 12 layers of 768 with random weights for every class, and the real MiniLM.

    compare_arch.py TEST_ARCH [XCOMPRESS]    programs of a build folder; XC_MINILM=DIR names the checkpoint (skipped where it is not set)

f32, texts one by one, lengths 1 to 512. Prints the largest absolute difference to transformers, and transformers' own to double precision, and
fails above 1e-5. Then every checkpoint under arch/ and MiniLM are written back by us and loaded by transformers: the same names and the same
bits, the same token ids. With XCOMPRESS, two models that no checkpoint was are converted too: of fewer tokens, layers and neurons, and a classifier that finetune
made; transformers must give our answers. Skips (exit 77) without torch or transformers."""
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import transformers as tf
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gen_arch  # noqa: E402
import gen_arch_efficient  # noqa: E402

TOLERANCE = 1e-5
LENGTHS = (1, 2, 17, 64, 127, 512)
CLASSES = [
    ("bert", "BertModel", "encode", "last_hidden_state"), ("bert", "BertForSequenceClassification", "classify", "logits"),
    ("bert", "BertForTokenClassification", "tag", "logits"), ("bert", "BertForMaskedLM", "mlm", "logits"),
    ("bert", "BertForQuestionAnswering", "answer", "answer"),
    ("distilbert", "DistilBertModel", "encode", "last_hidden_state"), ("distilbert", "DistilBertForSequenceClassification", "classify", "logits"),
    ("distilbert", "DistilBertForTokenClassification", "tag", "logits"), ("distilbert", "DistilBertForMaskedLM", "mlm", "logits"),
    ("distilbert", "DistilBertForQuestionAnswering", "answer", "answer"),
    ("roberta", "RobertaModel", "encode", "last_hidden_state"), ("roberta", "RobertaForSequenceClassification", "classify", "logits"),
    ("roberta", "RobertaForTokenClassification", "tag", "logits"), ("roberta", "RobertaForMaskedLM", "mlm", "logits"),
    ("roberta", "RobertaForQuestionAnswering", "answer", "answer"),
    ("longformer", "LongformerModel", "encode", "last_hidden_state"), ("longformer", "LongformerForSequenceClassification", "classify", "logits"),
    ("longformer", "LongformerForTokenClassification", "tag", "logits"), ("longformer", "LongformerForMaskedLM", "mlm", "logits"),
    ("longformer", "LongformerForQuestionAnswering", "answer", "answer"),
]
REFORMER = [("ReformerModelWithLMHead", "lm", True), ("ReformerForSequenceClassification", "classify", False)]  # 6 layers of 256, in double with its rotations: 1e-4


def texts(kind, vocab):
    rng = np.random.default_rng(5)
    if kind == "question":  # Longformer's: <s> q </s></s> c </s>
        out = [(rng.integers(5, vocab, n), np.zeros(n, np.int64)) for n in LENGTHS[2:]]
        for ids, _ in out:
            ids[[len(ids) // 4, len(ids) // 4 + 1, -1]] = 2
        return out
    return [(rng.integers(5, vocab, n), (np.arange(n) >= n // 2).astype(np.int64) if kind == "bert" else np.zeros(n, np.int64)) for n in LENGTHS]


def compare(program, folder, head, model, kind, field, mean=False):
    inputs = texts("question" if kind == "longformer" and field == "answer" else kind, model.config.vocab_size)
    rows = gen_arch.run(model, kind, inputs, field)
    exact = []
    double = model.double()
    with torch.no_grad():
        for ids, types in inputs:
            kw = {"input_ids": torch.tensor(ids)[None]}
            if kind == "bert":
                kw["token_type_ids"] = torch.tensor(types)[None]
            y = (gen_arch.answer(double, kind, ids, kw) if field == "answer" else getattr(double(**kw), field)).numpy()
            exact.append(y[0] if y.ndim == 3 else y)
    own = max(np.abs(a - b).max() for a, b in zip(rows, exact))
    size = max(np.abs(b).max() for b in exact)
    if mean:
        rows, exact = gen_arch.pool(rows, "mean"), gen_arch.pool(exact, "mean")
        rows = [r / np.linalg.norm(r) for r in rows]
    with tempfile.NamedTemporaryFile(suffix=".bin") as f:
        gen_arch.write(f.name, inputs, rows)
        done = subprocess.run([program, folder, head, f.name], capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(1)
    worst = float(done.stdout)
    print(f"{type(model).__name__:40s} {head:9s} ours to transformers {worst:.2e}   transformers to double {own:.2e}   largest output {size:.1f}", flush=True)
    return worst


def round_trip(program, folder):
    """Our copy of a checkpoint, as transformers sees it, against the original."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([program, folder, out], check=True)
        cls = getattr(tf, tf.AutoConfig.from_pretrained(folder).architectures[0])
        a = cls.from_pretrained(folder, dtype=torch.float32)
        b, info = cls.from_pretrained(out, output_loading_info=True)
        info["unexpected_keys"] = [k for k in info["unexpected_keys"] if not k.endswith(".rotations")]  # Reformer's, which transformers draws anew
        bad = [k for k in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs") if info.get(k)]
        assert not bad, (folder, info)
        assert b.dtype == torch.float32 and a.config.num_labels == b.config.num_labels and a.config.id2label == b.config.id2label
        x, y = a.state_dict(), b.state_dict()
        assert x.keys() == y.keys() and all(torch.equal(x[k].view(torch.int32), y[k].view(torch.int32)) for k in x if x[k].is_floating_point()), folder
        ids = ""
        if os.path.exists(f"{folder}/tokenizer.json"):
            s = tf.AutoTokenizer.from_pretrained(folder), tf.AutoTokenizer.from_pretrained(out)
            lines = ["Hello, world!", "Ärger über naïve cafés", "東京 and Москва", "[MASK] a\tb\nc", ""]
            assert s[0](lines)["input_ids"] == s[1](lines)["input_ids"], folder
            assert s[0]("a b", "c d")["token_type_ids"] == s[1]("a b", "c d")["token_type_ids"], folder
            ids = ", token ids equal"
        print(f"{os.path.basename(folder):40s} written and read by transformers: {len(x)} tensors bit-equal{ids}", flush=True)


def reformer(program, cls, head, causal):
    with tempfile.TemporaryDirectory() as out:
        gen_arch_efficient.OUT = out
        gen_arch_efficient.reformer("model", cls, {head: "logits"}, 7, (1, 64, 65, 640, 1024, 4096), is_decoder=causal, hidden_size=256, num_attention_heads=4, attention_head_size=64,
                                    feed_forward_size=512, attn_layers=["local", "lsh"] * 3, axial_pos_shape=[64, 64], axial_pos_embds_dim=[64, 192], max_position_embeddings=4096,
                                    lsh_attn_chunk_length=64, local_attn_chunk_length=64, num_buckets=[8, 16], num_hashes=4, num_labels=3)
        done = subprocess.run([program, f"{out}/model", head, f"{out}/model/{head}.bin"], capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            sys.exit(1)
        print(f"{cls:40s} {head:9s} ours to transformers in double {float(done.stdout):.2e}", flush=True)
        return float(done.stdout)


def converted(xc):
    """Models that we changed, as transformers reads them, against our own answers."""
    tiny, texts = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/tiny-bert"), ["one cat", "Two dogs ran.", "the house is 3 years old"]

    def ours(*args):
        return subprocess.run([xc, *args], check=True, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory() as d:
        for name, text in (("texts", "\n".join(texts)), ("rows.tsv", "label\ttext\nno\tone\nyes\ttwo"), ("recipe.yaml", "passes:\n  - prune_vocabulary\n  - drop_layers: {keep: 1}\n  - shrink: {keep_neurons: 0.5}")):
            with open(f"{d}/{name}", "w") as f:
                f.write(text + "\n")
        ours("compress", tiny, "-r", f"{d}/recipe.yaml", "-c", f"{d}/texts", "--no-golden", "-q", "-o", f"{d}/few.xc")
        ours("finetune", f"{d}/few.xc", "-t", "classify", "-d", f"{d}/rows.tsv", "--pooling", "pooler", "--max-steps", "8", "--lr", "1e-2", "--no-golden", "-q", "-o", f"{d}/head.xc")
        for name in ("few", "head"):
            ours("convert", f"{d}/{name}.xc", "-o", f"{d}/{name}", "-q")
        ours("embed", f"{d}/few.xc", "--file", f"{d}/texts", "-q", "-o", f"{d}/few.npy")
        rows, answers = np.load(f"{d}/few.npy"), ours("classify", f"{d}/head.xc", "--file", f"{d}/texts", "-q").splitlines()
        tok, model = tf.AutoTokenizer.from_pretrained(f"{d}/few"), tf.AutoModel.from_pretrained(f"{d}/few")
        head, info = tf.AutoModelForSequenceClassification.from_pretrained(f"{d}/head", output_loading_info=True)
        assert model.config.vocab_size == len(tok) < 345 and model.config.num_hidden_layers == 1 and model.config.intermediate_size == 32 and not any(info.values()), info
        worst = 0
        with torch.no_grad():
            for text, row, answer in zip(texts, rows, answers):
                x = tok(text, return_tensors="pt")
                y = model(**x).last_hidden_state[0].mean(0)
                p = head(**x).logits[0].softmax(-1)
                label, share = answer.split("\t")
                worst = max(worst, np.abs(y.numpy() - row).max(), abs(float(p.max()) - float(share)))
                assert head.config.id2label[int(p.argmax())] == label, (text, answer, p)
    print(f"{'smaller, with a new head':40s} written and read by transformers: ours to transformers {worst:.2e}", flush=True)
    return worst


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    worst = 0
    for kind, cls, head, field in CLASSES:
        labels = 2 if field == "answer" else 3
        if kind == "distilbert":
            cfg = tf.DistilBertConfig(num_labels=labels, n_layers=12)
        elif kind == "longformer":
            cfg = tf.LongformerConfig(num_labels=labels, vocab_size=50265, max_position_embeddings=4098, type_vocab_size=1, layer_norm_eps=1e-5, attention_window=128)
        elif kind == "roberta":
            cfg = tf.RobertaConfig(num_labels=labels, vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
        else:
            cfg = tf.BertConfig(num_labels=labels)
        torch.manual_seed(1)
        model = getattr(tf, cls)(cfg).eval()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            worst = max(worst, compare(sys.argv[1], folder, head, model, kind, field))
    hashed = max(reformer(sys.argv[1], *case) for case in REFORMER)
    folder = os.environ.get("XC_MINILM")
    if folder:
        model = tf.BertModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        worst = max(worst, compare(sys.argv[1], folder, "encode", model, "bert", "last_hidden_state"))
        worst = max(worst, compare(sys.argv[1], folder, "embed", model.float(), "bert", "last_hidden_state", mean=True))
    else:
        print("XC_MINILM is not set: the real checkpoint is skipped")
    for name in sorted(os.listdir(gen_arch.OUT)):
        with open(f"{gen_arch.OUT}/{name}/config.json") as f:
            cfg = json.load(f)
        if hasattr(tf, cfg["architectures"][0]) and "attention" not in cfg:  # our own keys are not theirs
            round_trip(sys.argv[1], f"{gen_arch.OUT}/{name}")
    if folder:
        round_trip(sys.argv[1], folder)
    if len(sys.argv) == 3:
        worst = max(worst, converted(sys.argv[2]))
    print(f"worst {worst:.2e}, limit {TOLERANCE:.0e}; Reformer {hashed:.2e}, limit 1e-04")
    sys.exit(worst > TOLERANCE or hashed > 1e-4)


if __name__ == "__main__":
    main()
