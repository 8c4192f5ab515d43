#!/usr/bin/env python3
"""Makes the SentencePiece models and the expected ids of tests/unit/test_sentencepiece.c, with the sentencepiece package.

    gen_sentencepiece.py OUT_DIR [--data DIR]    (pip install sentencepiece protobuf tokenizers; OUT_DIR is tests/vectors/tokenizer/sentencepiece)
    gen_sentencepiece.py DIR --compare PROGRAM [--texts N] [--seed N]

Trained on sentences of tatoeba (CC BY 2.0, credit tatoeba.org): NAME.model, BPE and unigram of some hundred pieces, and texts.bin (u32 count; per text u32
length, bytes), random texts of letters, odd blanks, controls, user-defined pieces whole and cut. NAME.sums holds a u32 for each text, of OUT_DIR/../texts.bin,
of texts.bin, and for two of 200,000 letters without a blank: FNV-1a over its ids. NAME.json: such models as transformers makes a tokenizer.json of them, with the
ids of the tokenizers package. --compare instead runs PROGRAM (tests/vectors/tokenize_ids) on every *.model of
DIR, over N random texts of another seed, hostile ones, lines of the data sets, unbroken words of 200,000 letters and code points, and says how many have other ids."""
import argparse
import os
import random
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import compare_tokenizers as compare  # noqa: E402
import gen_tokenizer as gen  # noqa: E402

USER = ["newword", "<mask>", "ab ab", "abcd", "\u4e2d\u6587", "  ", "\U0001f600x", "\u00dcn\u00ef", "solo", "a b"]
PARTS = ["e", "t", "a", "o", "n", " ", "  ", "\u2581", "\u3000", "\u00a0", "\t", "\n", "\u200b", "\0", "\x01", "\ufffd", "\u00e9", "\ufb01", "\uff21", "\u2581solo", "soloe", "\u2026", "...", "\u4e2d", "\u6587",
         "\u4e2d\u6587", "\U0001f600", "\U0001f468\u200d\U0001f469", "<0x0A>", "<unk>", "<s>", "</s>", "0", "1", "12", "'s", "ing", "the", "The", "und", "sch", "\u00e4", "\u00f6", "\u0301", "\u0308",
         "\ud7a3", "\u1100\u1161"] + USER + [u[:-1] for u in USER] + [u[1:] for u in USER]


def random_texts(n, seed):
    r = random.Random(seed)
    for _ in range(n):
        pool = PARTS if r.randrange(4) else PARTS[:6] + r.sample(PARTS, 3)
        yield "".join(r.choice(pool) for _ in range(r.choice([0, 1, 2, 3, 5, 8, 13, 30, 80])))


def long_text(letters, n=200000):
    """As the test makes it."""
    seed, out = 1, []
    for _ in range(n):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(letters[(seed >> 16) % len(letters)])
    return "".join(out)


def checksum(ids):
    h = 0x811C9DC5
    for i in ids:
        h = ((h ^ i) * 0x01000193) & 0xFFFFFFFF
    return h


def edit(proto, change=lambda p, r: None, more=()):
    from sentencepiece import sentencepiece_model_pb2 as pb
    m, r = pb.ModelProto(), random.Random(5)
    m.ParseFromString(proto)
    for p in m.pieces:
        if p.type == 1:
            change(p, r)
    for piece, score in more:
        m.pieces.add(piece=piece, score=score)
    return m.SerializeToString()


def some_unused(p, r):
    if r.random() < 0.4:
        p.type = 5
    if r.random() < 0.5:
        p.score = r.choice([-1.5, -2.0, 0.0, -0.0, 3.0, -7.25])


def far(p, r):
    p.score *= 1000  # the sums of a sentence pass 100,000, where the library begins them afresh


def models(lines, keep):
    rules = gen.few_rules(os.path.join(keep, "rules.tsv"))

    def train(name, size, kind, **kw):
        return gen.train_sentencepiece(lines, size, os.path.join(keep, name + ".model"), kind, **kw)

    small = dict(character_coverage=0.99, normalization_rule_tsv=rules)
    bpe = train("bpe", 500, "bpe", **small)
    return {
        "bpe": bpe,
        "bpe_bytes": edit(train("bpe_bytes", 800, "bpe", character_coverage=0.99, normalization_rule_name="identity", byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False,
                           allow_whitespace_only_pieces=True, user_defined_symbols=USER), more=[("\u2581\u2581", -3.25), ("\u2581" * 4, -4.5)]),
        "bpe_user": edit(train("bpe_user", 500, "bpe", user_defined_symbols=USER, **small), more=[("esolo", 5), ("soloe", 5), ("\u2581solo", 5)]),  # never merged
        "bpe_unused": edit(train("bpe_unused", 600, "bpe", split_by_whitespace=False, **small), some_unused),
        "unigram_user": edit(train("unigram_user", 500, "unigram", user_defined_symbols=USER, **small), lambda p, r: some_unused(p, r) if len(p.piece) > 1 else None),
        "unigram_far": edit(train("unigram_far", 500, "unigram", **small), far),
    }


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--data", default=os.environ.get("XC_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data")))
    p.add_argument("--compare")
    p.add_argument("--texts", type=int, default=10000)
    p.add_argument("--seed", type=int, default=2)
    args = p.parse_args()
    if args.compare:
        sets = compare.corpora(args.data) if os.path.isdir(args.data) else {}
        for name in sorted(f[:-6] for f in os.listdir(args.out) if f.endswith(".model")):
            with open(os.path.join(args.out, name + ".model"), "rb") as f, tempfile.TemporaryDirectory() as tmp:
                proto = f.read()
                with open(os.path.join(tmp, "spiece.model"), "wb") as g:
                    g.write(proto)
                ours, theirs = compare.Ours(args.compare, tmp), compare.SentencePiece(proto)
                compare.compare(name, "corpora", ours, theirs, [t for texts in sets.values() for t in texts[:4000]])
                compare.compare(name, "random", ours, theirs, list(random_texts(args.texts, args.seed)))
                compare.compare(name, "hostile", ours, theirs, gen.hostile(args.texts // 2, args.seed))
                compare.compare(name, "long words", ours, theirs, list(compare.long_words()))
                compare.compare(name, "code points", ours, theirs, ["a" + chr(c) + " B" for c in range(0, 0x110000, 5) if not 0xD800 <= c < 0xE000])
        return compare.bad_total != 0
    lines = compare.read_lines(os.path.join(args.data, "tatoeba.train.en.txt.zst"))[::12] + compare.read_lines(os.path.join(args.data, "tatoeba.train.de.txt.zst"))[::12]
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "..", "texts.bin"), "rb") as f:
        raw, at, texts = f.read(), 4, []
        for _ in range(struct.unpack_from("<I", raw)[0]):
            (n,) = struct.unpack_from("<I", raw, at)
            texts.append(raw[at + 4:at + 4 + n].decode("utf-8", "replace"))
            at += 4 + n
    more = list(random_texts(300, 1))
    with open(os.path.join(args.out, "texts.bin"), "wb") as f:
        f.write(struct.pack("<I", len(more)) + b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in more))
    texts += more + [long_text("etaoinshrdlu"), long_text("ab")]
    import sentencepiece
    with tempfile.TemporaryDirectory() as keep:
        def sums(name, lists):
            with open(os.path.join(args.out, name + ".sums"), "wb") as f:
                f.write(b"".join(struct.pack("<I", checksum(ids)) for ids in lists))

        made = models(lines, keep)
        for name, proto in made.items():
            with open(os.path.join(args.out, name + ".model"), "wb") as f:
                f.write(proto)
            sums(name, sentencepiece.SentencePieceProcessor(model_proto=proto).encode(texts))
        plain = gen.train_sentencepiece(lines, 700, os.path.join(keep, "llama.model"), "bpe", character_coverage=0.99, normalization_rule_name="identity", byte_fallback=True)
        for name, t in (("llama", gen.bpe_of(plain, "llama")), ("llama_added", gen.bpe_of(plain, "llama", True)), ("reformer", gen.bpe_of(made["bpe"], "reformer"))):
            t.save(os.path.join(args.out, name + ".json"), pretty=False)
            sums(name, [e.ids for e in t.encode_batch(texts)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
