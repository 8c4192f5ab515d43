#!/usr/bin/env python3
"""Compares our ids with those of the Hugging Face `tokenizers` library, text by text.

    compare_tokenizers.py --driver PATH [--minilm DIR] [--data DIR] [--models DIR] [--only NAME] [--quick]

--driver  the program tests/vectors/tokenize_ids (built by meson)
--minilm  a directory with the real all-MiniLM-L6-v2 tokenizer.json and vocab.txt   (default $XC_MINILM; skipped where absent)
--data    the shared data sets                                                      (default $XC_DATA, or ../../../shared/data)
--models  where the trained vocabularies are kept between runs                      (default: a temporary directory)

Models: MiniLM's own (uncased WordPiece, from tokenizer.json and from vocab.txt), WordPieces trained on tatoeba (cased; other flags),
WordPieces of single characters, a byte-level BPE of 50,000
trained on tatoeba, stsb and imdb sentences, wrapped as RoBERTa and as GPT-2 (no real RoBERTa or GPT-2 vocabulary comes as a package), and each again after
compile and decompile. Texts: every line of tatoeba, stsb_{zh,ja,fr,es,de} and unlabeled_imdb_sentences, the hostile texts of gen_tokenizer.py, every code
point alone and between letters, pairs, truncation, words. Exit status 1 when any id or type differs."""
import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import gen_tokenizer as gen  # noqa: E402


def read_lines(path, columns=None):
    raw = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    lines = raw.decode("utf-8", "replace").split("\n")
    if columns is None:
        return lines
    return [f for line in lines for f in line.split("\t") if f]


def corpora(data):
    sets = {}
    for name in sorted(os.listdir(data)):
        if name.startswith("tatoeba.") or name.startswith("unlabeled_imdb_sentences"):
            sets[name] = read_lines(os.path.join(data, name))
        elif name.startswith(("stsb_zh", "stsb_ja", "stsb_fr", "stsb_es", "stsb_de")):
            sets[name] = read_lines(os.path.join(data, name), columns=True)
    return sets


class Ours:
    def __init__(self, driver, directory):
        self.driver, self.directory = driver, directory

    def encode(self, cases):
        """cases: (flags, limit, [bytes, ...]); returns [(ids, types)]"""
        data = bytearray()
        for flags, limit, texts in cases:
            data += struct.pack("<III", flags, limit, len(texts))
            for t in texts:
                data += struct.pack("<I", len(t)) + t
        r = subprocess.run([self.driver, self.directory], input=bytes(data), stdout=subprocess.PIPE)
        if r.returncode:
            raise SystemExit(f"driver failed with {r.returncode}")
        out, p, res = r.stdout, 0, []
        for _ in cases:
            (n,) = struct.unpack_from("<I", out, p)
            res.append((list(struct.unpack_from("<%di" % n, out, p + 4)), list(out[p + 4 + 4 * n:p + 4 + 5 * n])))
            p += 4 + 5 * n
        assert p == len(out)
        return res

    def json(self):
        return subprocess.run([self.driver, self.directory, "--json"], stdout=subprocess.PIPE, check=True).stdout.decode()


bad_total = 0


def report(model, what, n, wrong):
    global bad_total
    bad_total += len(wrong)
    print(f"{model:24s} {what:40s} {n:8d} texts  {len(wrong)} differ", flush=True)
    for text, ours, theirs in wrong[:3]:
        print(f"    {text[:80]!r}\n      ours   {ours[:24]}\n      theirs {theirs[:24]}")


def compare(model, what, ours, theirs, texts, batch=20000):
    """Single texts: str, or bytes (compared with their U+FFFD decoding)."""
    wrong = []
    for i in range(0, len(texts), batch):
        part = texts[i:i + batch]
        got = ours.encode([(0, 0, [t if isinstance(t, bytes) else t.encode("utf-8")]) for t in part])
        want = theirs.encode_batch([t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in part])
        for t, (ids, types), w in zip(part, got, want):
            if ids != w.ids or types != w.type_ids:
                wrong.append((t, ids, w.ids))
    report(model, what, len(texts), wrong)


def compare_modes(model, ours, theirs, texts, seed=1):
    """Pairs, truncation, no special tokens, words."""
    texts = [t for t in texts if isinstance(t, str) and "\0" not in t]
    cases, want = [], []
    for flags, limit, parts, e in gen.modes(theirs, texts, 6000, seed):
        cases.append((flags, limit, [p.encode() for p in parts]))
        want.append(e)
    got = ours.encode(cases)
    wrong = [(repr((c[0], c[1], [t.decode() for t in c[2]])), g[0] + g[1], w.ids + w.type_ids)
             for c, g, w in zip(cases, got, want) if g[0] != w.ids or g[1] != w.type_ids]
    report(model, "pairs, limits, words", len(cases), wrong)


def code_points(quick):
    step = 17 if quick else 1
    return [c for c in range(0, 0x110000, step) if not 0xD800 <= c < 0xE000]


def long_words():
    """Single words far longer than a window of byte-level BPE (8,192 symbols): random letters, runs, both mixed."""
    r = random.Random(5)
    for letters in ("etaoinshrdlu", "ab", "e", "=", "\u4e2d\u6587", "aA1 "[:2] + "\u00e9"):
        yield "".join(r.choices(letters, k=200000))
        yield "".join(r.choice(letters) * (1 + int(r.expovariate(0.05))) for _ in range(10000))


class SentencePiece:
    """The library itself, dressed as a Tokenizer."""
    def __init__(self, proto):
        import sentencepiece as spm
        self.sp = spm.SentencePieceProcessor(model_proto=proto)

    def encode_batch(self, texts):
        import types
        return [types.SimpleNamespace(ids=ids, type_ids=[0] * len(ids)) for ids in self.sp.encode(texts, num_threads=1)]


def compare_texts(args, name, ours, theirs, sets):
    for what, texts in sets.items():
        compare(name, what, ours, theirs, texts)
    compare(name, "hostile", ours, theirs, gen.hostile(20000 if not args.quick else 4000))
    compare(name, "long words", ours, theirs, list(long_words()))
    pts = code_points(args.quick)
    compare(name, "code points alone", ours, theirs, [chr(c) for c in pts], 200000)
    compare(name, "code points between letters", ours, theirs, ["a" + chr(c) + "B" for c in pts], 200000)
    compare(name, "code points with marks, blanks", ours, theirs, [" " + chr(c) + "\u0301\u0323 1" + chr(c) + "!" + chr(c) for c in pts], 200000)


def run_sentencepiece(args, name, directory, proto, sets):
    ours, theirs = Ours(args.driver, directory), SentencePiece(proto)
    compare_texts(args, name, ours, theirs, sets)


def run_model(args, name, directory, theirs, sets):
    theirs.no_padding()
    theirs.no_truncation()
    ours = Ours(args.driver, directory)
    compare_texts(args, name, ours, theirs, sets)
    some = gen.hostile(2000) + [t for texts in sets.values() for t in texts[:300]]
    compare_modes(name, ours, theirs, some)
    text = ours.json()
    back = Tokenizer.from_str(text)
    back.no_truncation()
    sample = [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in some]
    wrong = [(t, a.ids, b.ids) for t, a, b in zip(sample, back.encode_batch(sample), theirs.encode_batch(sample)) if a.ids != b.ids or a.type_ids != b.type_ids]
    report(name, "decompiled, read by tokenizers", len(sample), wrong)
    with tempfile.TemporaryDirectory() as tmp:
        with open(os.path.join(tmp, "tokenizer.json"), "w") as f:
            f.write(text)
        compare(name, "decompiled, compiled again", Ours(args.driver, tmp), theirs, some)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--driver", required=True)
    p.add_argument("--minilm", default=os.environ.get("XC_MINILM", ""))
    p.add_argument("--data", default=os.environ.get("XC_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data")))
    p.add_argument("--models")
    p.add_argument("--only", default="")
    p.add_argument("--quick", action="store_true")
    args = p.parse_args()
    sets = corpora(args.data) if os.path.isdir(args.data) else {}
    if not sets:
        print(f"no data in {args.data}: the corpora are skipped")
    keep = args.models or tempfile.mkdtemp()
    models = []
    if args.minilm and os.path.isdir(args.minilm):
        t = Tokenizer.from_file(os.path.join(args.minilm, "tokenizer.json"))
        models.append(("minilm", args.minilm, t))
        d = os.path.join(keep, "minilm_vocab")
        os.makedirs(d, exist_ok=True)
        for f in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
            with open(os.path.join(args.minilm, f), "rb") as src, open(os.path.join(d, f), "wb") as dst:
                dst.write(src.read())
        models.append(("minilm_vocab_txt", d, t))
        # added tokens of every kind on a real vocabulary
        t2 = Tokenizer.from_file(os.path.join(args.minilm, "tokenizer.json"))
        gen.add_tokens(t2)
        models.append(("minilm_added", gen.save(t2, os.path.join(keep, "minilm_added")), t2))
    else:
        print("no MiniLM: skipped")
    if sets:
        for name, make in gen.trained(sets, keep).items():
            d = os.path.join(keep, name)
            if args.only not in name:
                continue
            if not os.path.exists(os.path.join(d, "tokenizer.json")):
                gen.save(make(), d)
            models.append((name, d, Tokenizer.from_file(os.path.join(d, "tokenizer.json"))))
    for name, d, t in models:
        if args.only in name:
            run_model(args, name, d, t, sets)
    for name, proto in gen.sentencepieces(sets, keep).items() if sets else ():
        if args.only not in "sentencepiece_" + name:
            continue
        d = os.path.join(keep, "sentencepiece_" + name)
        os.makedirs(d, exist_ok=True)
        with open(os.path.join(d, "spiece.model"), "wb") as f:
            f.write(proto)
        run_sentencepiece(args, "sentencepiece_" + name, d, proto, sets)
    print(f"{bad_total} texts differ")
    return 1 if bad_total else 0


if __name__ == "__main__":
    sys.exit(main())
