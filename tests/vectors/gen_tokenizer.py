#!/usr/bin/env python3
"""Makes the tokenizers and the expected ids of tests/unit/test_tokenizer.c, with the Hugging Face `tokenizers` library.

    gen_tokenizer.py OUT_DIR [--data DIR]        (pip install tokenizers; OUT_DIR is tests/vectors/tokenizer)

Writes, per small tokenizer (trained on sentences of tatoeba, CC BY 2.0, credit tatoeba.org; sizes of a few thousand tokens), NAME/tokenizer.json,
and for all of them texts.bin (u32 count; per text u32 length, bytes) and NAME/ids.bin (per text u16 n, u16 ids[n]), where the texts are half hostile
ones from here and half sentences of tatoeba. NAME/modes.bin holds pairs, limits and words: per case u16 flags (1 pair, 2 no special tokens, 4 words),
u16 limit (0 = none), u16 texts, per text u16 length and bytes; u16 n, u16 ids[n], u8 types[n]. Also a module of compare_tokenizers.py."""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

FIXED = [
    "", " ", "   ", "\t\n\r", "\0", "a\0b", "\0" * 50, "\u0085", "a\u0085b", "\u2028a\u2029b", "a\u00a0b", "a\u00adb", "\ufeffa", "a\u200bb", "a\u200db",
    "\ue000\uf8ff", "\U000f0000x", "\ufffd\ufffe\uffff", "a\ufffdb", "\u0378\u0379", "\u1100\u1161\u11a8", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "İ", "İstanbul", "ISTANBUL ıi", "ß ẞ Straße STRASSE", "ǅ ǆ Ǆ", "ΣΑΣ ΌΣΟΣ σς", "ﬁ ﬂ ﬃ", "K Å Ω", "ŉ ǰ ΐ ΰ և ẖ ẗ ẘ ẙ ẚ",
    "e\u0301\u0323 e\u0323\u0301 \u0344 a\u0315\u0300\u05ae\u0301b", "\u0301\u0302", "a" + "\u0301\u0323" * 100, "q\u0307\u0323 \u1e9b\u0323", "\u0f71\u0f72\u0f73\u0f75",
    "\U0001d15e\U0001d165\U0001d16d", "\u302a\u302e\u302f\u3099\u304b\u3099", "\u1b44\u0301\u1b05\u1b35", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 x",
    "\U0001f1e9\U0001f1ea\u2764\ufe0f", "שלום עולם", "مرحبا بالعالم \u064b\u0652", "\u202eabc\u202c", "हिन्दी में", "ภาษาไทย", "中文字符 日本語テキスト 한국어", "豈更車\uf900\U0002f800",
    "\u3000全角\u3000", "ＡＢＣ１２３", "①②③ ½ ² ³ Ⅷ", "x" * 99, "x" * 100, "x" * 101, "é" * 100, "é" * 101, "é" * 201, "word" * 60, "1" * 250, "中" * 120, "!" * 150,
    "[MASK]", "a[MASK]b", "[SEP][CLS]", "[ MASK ]", "[mask]", "[UNK] [PAD]", "[MASK", "[[MASK]]", " [MASK] ", "<mask>", "a <mask> b", "a\n\t<mask>b", "<s></s>", "<|endoftext|>",
    "<s", "< s>", "it's we'll I'd they've I'm you're don't 's 't 'S 'LL '' 'x", "  two  spaces   three ", "tabs\t\tand\nnew\n\nlines ", " a", "  a", "a ", "a  ", "\n a", " \n a", "\u00a0 a",
    "a\u2003 b", "123abc456", "abc123", "3.14 -2e10", "a-b_c", "http://x.org/?a=1&b=2", "foo@bar.com", "C++ & C#", "$100,000.00", "\u201cquoted\u201d \u2014 dash\u2026",
    "\x01\x02\x1f\x7f", "a\x08b", "\x0b\x0c", "a\x0bb", "\u037e\u1fef\u2000\u2001", "\u180ea\u061cb", "a\u0308\u0301 ü\u0301", "\u01d5 \u1ed9", "Å̀", "ΐ́",
    "newword", "xnewwordx", "newword newwords", "NEWWORD", "NewWord  next", " keep", "abcd abc ab abcdef", "lefty  right", " lefty", "x lefty y", "righty  x", "ünï", "ÜNÏ", "UNI", "solo", "solo.", "a solo b", "asolo", "solo\u0301", "_solo",
    "中solo", "solo中", "lower LOWER Lower", "new word", "newword" * 3, "abab ababab", "ab\u0301cd",
]
RAW = [
    b"\xff\xfe", b"a\xc3", b"\xc3\x28", b"\xed\xa0\x80\xed\xb0\x80", b"\xf0\x9f\x98", b"x\xf0\x9f\x98y", b"\xc0\xaf", b"\xe2\x82", b"ok \xe2\x28\xa1 ok", b"\x80\x80abc\x80",
    b"\xf8\x88\x80\x80\x80", b"\xf4\x90\x80\x80", b"[MASK\xff]", b"\xff[MASK]\xff", b"a\xffb c\xfe d", b"\xed\x9f\xbf\xee\x80\x80", b" \xff", b"  \xff", b"don\xff't 's\xff", b"<mask>\xff", b"\xff <mask>",
    b"\xc3solo", b"solo\xc3", b"\xe4\xb8[MASK]", b"\xff" * 120, b"\xef\xbf\xbd", b"\xef\xbf",
]


def hostile(n, seed=7):
    """FIXED, RAW, and n random texts (str or bytes)."""
    rng = random.Random(seed)
    ranges = [(0, 0x7F), (0x20, 0x7E), (0x80, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x8FF), (0x900, 0xFFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF),
              (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xA640, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xFFFF), (0x10000, 0x1FFFF), (0x20000, 0x3FFFF),
              (0xE0000, 0x10FFFF)]
    words = [t for t in FIXED if 0 < len(t) < 30]
    marks = [0x300, 0x301, 0x323, 0x345, 0x334, 0x5B0, 0x5C1, 0x3099, 0x94D, 0xF71, 0x1B44, 0x302E, 0x1D165, 0x1D16E, 0x20D0, 0x1DCE, 0x64B, 0x135D, 0x0F74]
    out = list(FIXED) + list(RAW)
    for i in range(n):
        kind, parts = rng.randrange(6), []
        for _ in range(rng.randrange(1, 14)):
            r = rng.random()
            if kind == 0 or r < 0.25:
                lo, hi = rng.choice(ranges)
                parts.append("".join(chr(rng.randint(lo, hi)) for _ in range(rng.randrange(1, 6))))
            elif r < 0.4:
                parts.append("".join(chr(rng.choice(marks)) for _ in range(rng.choice([1, 2, 3, 6, 60]))))
            elif r < 0.7:
                parts.append(rng.choice(words))
            elif r < 0.85:
                parts.append(rng.choice([" ", "  ", "\n", "\t ", "\u00a0", "\u3000", "'", ".", "-"]))
            else:
                parts.append("".join(rng.choice("etaoinshrdluETAOIN") for _ in range(rng.randrange(1, 12))))
        t = "".join(c for c in "".join(parts) if not 0xD800 <= ord(c) < 0xE000)
        if kind == 5:
            b = bytearray(t.encode())
            for _ in range(rng.randrange(1, 4)):
                if b:
                    b[rng.randrange(len(b))] = rng.randrange(256)
            out.append(bytes(b))
        else:
            out.append(t)
    return out


def add_tokens(t):
    """Added tokens of every kind, overlapping."""
    t.add_tokens([
        AddedToken("newword", normalized=True), AddedToken("NewWord  next", normalized=True), AddedToken("abc", normalized=False), AddedToken("abcd", normalized=False),
        AddedToken("ab", normalized=True), AddedToken("lefty", lstrip=True, normalized=False), AddedToken("righty", rstrip=True, normalized=False),
        AddedToken("both", lstrip=True, rstrip=True, normalized=True), AddedToken("ÜNÏ", normalized=True), AddedToken("solo", single_word=True, normalized=False),
        AddedToken("lower", single_word=True, normalized=True), AddedToken("new word", normalized=False), AddedToken(" keep", normalized=False), AddedToken("中文", normalized=True),
    ])
    t.add_special_tokens([AddedToken("<special>", special=True, normalized=False), AddedToken("<|im|>", special=True, normalized=True, lstrip=True)])


def save(t, directory):
    os.makedirs(directory, exist_ok=True)
    t.save(os.path.join(directory, "tokenizer.json"), pretty=False)
    return directory


def train_wordpiece(texts, size, lower):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    cls, sep = t.token_to_id("[CLS]"), t.token_to_id("[SEP]")
    t.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    t.decoder = decoders.WordPiece()
    return t


def train_bpe(texts, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<|endoftext|>"], show_progress=False,
                                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.decoder = decoders.ByteLevel()
    return t


def all_characters(**flags):
    """A WordPiece that has every character of the first planes as a token, so that no difference can hide behind [UNK]."""
    chars = [chr(c) for c in list(range(1, 0x20000)) + list(range(0x2F800, 0x2FA20)) + list(range(0xE0000, 0xE0200)) if not 0xD800 <= c < 0xE000]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + chars + ["##" + c for c in chars]
    t = Tokenizer(models.WordPiece({s: i for i, s in enumerate(names)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(**flags)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def as_roberta(t, prefix):
    t = Tokenizer.from_str(t.to_str())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")), add_prefix_space=prefix)
    return t


def as_gpt2(t):
    t = Tokenizer.from_str(t.to_str())
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t


def train_sentencepiece(texts, size, path, kind="unigram", **kw):
    """A model of sentencepiece; returns its bytes. Trained once for a path."""
    import sentencepiece as spm
    if not os.path.exists(path):
        with open(path + ".txt", "w") as f:
            f.write("\n".join(t.replace("\n", " ") for t in texts))
        spm.SentencePieceTrainer.train(input=path + ".txt", model_prefix=path[:-len(".model")], vocab_size=size, model_type=kind, num_threads=1, minloglevel=2,
                                       input_sentence_size=60000, shuffle_input_sentence=False, **kw)
        os.remove(path + ".txt")
    from sentencepiece import sentencepiece_model_pb2 as pb
    m = pb.ModelProto()
    with open(path, "rb") as f:
        m.ParseFromString(f.read())
    for spec, names in ((m.trainer_spec, ("input", "model_prefix")), (m.normalizer_spec, ("normalization_rule_tsv",))):  # paths of where this ran
        for name in names:
            spec.ClearField(name)
    return m.SerializeToString()


def unigram_of(proto, normalizer=True, scheme="always", split=True, white=False, strip=True, content="\u2581"):
    """As transformers turns a SentencePiece model into a tokenizer.json."""
    from sentencepiece import sentencepiece_model_pb2 as pb
    m = pb.ModelProto()
    m.ParseFromString(proto)
    byte = m.trainer_spec.byte_fallback
    t = Tokenizer(models.Unigram([(p.piece, p.score) for p in m.pieces], m.trainer_spec.unk_id, byte_fallback=byte))
    steps = [normalizers.Precompiled(m.normalizer_spec.precompiled_charsmap)] if normalizer and m.normalizer_spec.precompiled_charsmap else []
    if strip:
        steps.append(normalizers.Strip(left=False, right=True))
    steps.append(normalizers.Replace(Regex(" {2,}"), content))
    t.normalizer = normalizers.Sequence(steps)
    meta = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme=scheme, split=split)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), meta]) if white else meta
    t.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme=scheme)
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "</s>")])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", t.token_to_id("</s>"))])
    return t


def bpe_of(proto, kind, added=False):
    """As transformers turns a SentencePiece BPE model into a tokenizer.json: of llama (as it was: Prepend, Replace), first (as it is: Metaspace), gemma, reformer."""
    from sentencepiece import sentencepiece_model_pb2 as pb
    m = pb.ModelProto()
    m.ParseFromString(proto)
    vocab = {p.piece: i for i, p in enumerate(m.pieces)}
    merges = []
    for p in m.pieces:
        local = [(p.piece[:i], p.piece[i:], p.score) for i in range(1, len(p.piece)) if p.piece[:i] in vocab and p.piece[i:] in vocab]
        merges += sorted(local, key=lambda x: (vocab[x[0]], vocab[x[1]]))
    merges = [x[:2] for x in sorted(merges, key=lambda x: (x[2], len(x[0]), len(x[1])), reverse=True)]
    t = Tokenizer(models.BPE(vocab, merges, unk_token=None if kind == "first" else "<unk>", fuse_unk=True, byte_fallback=m.trainer_spec.byte_fallback))
    if kind == "llama":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    elif kind == "gemma":
        t.normalizer = normalizers.Replace(" ", "\u2581")
        t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    elif kind == "first":
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Precompiled(m.normalizer_spec.precompiled_charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    t.decoder = decoders.Metaspace(replacement="\u2581")
    if added:
        add_tokens(t)
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", t.token_to_id("<s>"))])
    return t


def few_rules(path):
    """A table of replacements that is small: controls and odd blanks, a few compatibility characters, compositions, entries that begin alike."""
    import unicodedata
    rules = {c: unicodedata.normalize("NFKC", chr(c)) for r in ((0xA0, 0xFF), (0x2000, 0x200A), (0x2160, 0x2170), (0x3000, 0x3001), (0xFB00, 0xFB06), (0xFF01, 0xFF5E), (0x340, 0x344)) for c in range(*r)}
    rules = {(c,): s for c, s in rules.items() if s != chr(c)}
    rules.update({(c,): "" for c in [*range(1, 9), 0x7F, 0x200B, 0xAD]} | {(c,): " " for c in (9, 10, 13, 0x200E, 0xFFFD)} | {(0x2E, 0x2E, 0x2E): "\u2026"})
    rules.update({(ord(b), m): unicodedata.normalize("NFC", b + chr(m)) for b in "aeiouAEU" for m in (0x300, 0x301, 0x308)})
    with open(path, "w") as f:
        f.writelines(" ".join(f"{c:X}" for c in k) + "\t" + " ".join(f"{ord(c):X}" for c in v) + "\n" for k, v in sorted(rules.items()))
    return path


def sentencepieces(sets, keep):
    """Name -> bytes of a SentencePiece model, trained where keep has none."""
    tatoeba = [x for k, v in sets.items() if k.startswith("tatoeba.train") for x in v]
    more = [x for k, v in sets.items() if k.startswith(("unlabeled", "stsb")) for x in v]
    mixed = [x for pair in zip(tatoeba, more * 2) for x in pair if x]
    make = lambda name, size, **kw: train_sentencepiece(mixed, size, os.path.join(keep, name + ".model"), character_coverage=0.999, **kw)
    return {"spm16k": make("spm16k", 16000), "spm8k_bytes": make("spm8k_bytes", 8000, byte_fallback=True),
            "spm4k_as_is": make("spm4k_as_is", 4000, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False),
            "spm8k_bpe": make("spm8k_bpe", 8000, kind="bpe"), "spm4k_bpe_bytes": make("spm4k_bpe_bytes", 4000, kind="bpe", byte_fallback=True, remove_extra_whitespaces=False)}


def trained(sets, keep):
    """Name -> function that makes it; the 50k byte-level BPE is trained once."""
    tatoeba = [x for k, v in sets.items() if k.startswith("tatoeba.train") for x in v]
    more = [x for k, v in sets.items() if k.startswith(("unlabeled", "stsb")) for x in v]
    cache = {}

    def bpe():
        if "bpe" not in cache:
            cache["bpe"] = train_bpe(tatoeba + more, 50000)
        return cache["bpe"]

    def added(t):
        add_tokens(t)
        return t

    def spm(name):
        if not cache.get("spm"):
            cache["spm"] = sentencepieces(sets, keep)
        return cache["spm"][name]

    return {
        "characters_uncased": lambda: all_characters(lowercase=True),
        "characters_stripped": lambda: all_characters(lowercase=False, strip_accents=True, clean_text=False),
        "characters_lower": lambda: all_characters(lowercase=True, strip_accents=False, handle_chinese_chars=False),
        "characters_added": lambda: added(all_characters(lowercase=True)),
        "wordpiece_cased": lambda: train_wordpiece(tatoeba, 20000, False),
        "wordpiece_stripped_cased": lambda: (lambda t: (setattr(t, "normalizer", normalizers.BertNormalizer(lowercase=False, strip_accents=True)), t)[1])(train_wordpiece(tatoeba, 20000, True)),
        "wordpiece_accents_lower": lambda: (lambda t: (setattr(t, "normalizer", normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, lowercase=True, strip_accents=False)), t)[1])(train_wordpiece(tatoeba, 20000, True)),
        "roberta_50k": lambda: as_roberta(bpe(), False),
        "roberta_50k_prefix": lambda: as_roberta(bpe(), True),
        "gpt2_50k": lambda: as_gpt2(bpe()),
        "unigram_t5": lambda: unigram_of(spm("spm16k")),
        "unigram_first_bytes": lambda: unigram_of(spm("spm8k_bytes"), scheme="first", content=" "),
        "unigram_white_added": lambda: added(unigram_of(spm("spm16k"), white=True, strip=False, scheme="first")),
        "unigram_whole": lambda: unigram_of(spm("spm16k"), split=False, scheme="never"),
        "unigram_plain": lambda: unigram_of(spm("spm16k"), normalizer=False),
        "bpe_llama": lambda: bpe_of(spm("spm4k_bpe_bytes"), "llama"),
        "bpe_llama_added": lambda: bpe_of(spm("spm4k_bpe_bytes"), "llama", True),
        "bpe_first_added": lambda: bpe_of(spm("spm4k_bpe_bytes"), "first", True),
        "bpe_gemma_added": lambda: bpe_of(spm("spm4k_bpe_bytes"), "gemma", True),
        "bpe_reformer": lambda: bpe_of(spm("spm8k_bpe"), "reformer"),
        "bpe_reformer_added": lambda: bpe_of(spm("spm8k_bpe"), "reformer", True),
        "gpt2_50k_added": lambda: added(as_gpt2(bpe())),
        "roberta_50k_added_prefix": lambda: added(as_roberta(bpe(), True)),
    }


def modes(theirs, texts, n, seed=1):
    """n random calls: pairs, truncation, no special tokens, words. Yields (flags, limit, texts, encoding)."""
    rng = random.Random(seed)
    theirs = Tokenizer.from_str(theirs.to_str())
    theirs.no_padding()
    n_added = theirs.num_special_tokens_to_add(True)
    for _ in range(n):
        a, b = rng.choice(texts), rng.choice(texts)
        mode = rng.randrange(4)
        limit = rng.choice([0, 0, n_added, n_added + 1, 8, 9, 12, 17, 32, 33])
        theirs.no_truncation()
        if limit:
            theirs.enable_truncation(limit)
        if mode == 0:
            yield 1, limit, [a, b], theirs.encode(a, b)
        elif mode == 1:
            yield 0, limit, [a], theirs.encode(a)
        elif mode == 2:
            yield 3, limit, [a, b], theirs.encode(a, b, add_special_tokens=False)
        else:
            words = (a + " " + b).split()
            yield 4, limit, words, theirs.encode(words, is_pretokenized=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--only", nargs="*", default=[])
    p.add_argument("--data", default=os.environ.get("XC_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data")))
    args = p.parse_args()

    def lines(name):
        return subprocess.run(["zstd", "-dcq", os.path.join(args.data, name)], stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")[:-1]

    train = lines("tatoeba.train.en.txt.zst")[::4] + lines("tatoeba.train.de.txt.zst")[::4]
    texts = hostile(400, seed=11) + lines("tatoeba.dev.en.txt.zst")[:250] + lines("tatoeba.dev.de.txt.zst")[:250]
    small = {}
    if not args.only:
        wp = train_wordpiece(train, 1500, True)
        add_tokens(wp)
        cased = train_wordpiece(train, 1500, False)
        bpe = train_bpe(train, 2000)
        gpt2 = as_gpt2(bpe)
        add_tokens(gpt2)
        small = {"uncased": wp, "cased": cased, "roberta": as_roberta(bpe, True), "gpt2": gpt2}
    with tempfile.TemporaryDirectory() as tmp:
        rules = few_rules(os.path.join(tmp, "rules.tsv"))
        proto = train_sentencepiece(train[::3], 700, os.path.join(tmp, "u.model"), normalization_rule_tsv=rules, character_coverage=0.99)
        small["unigram"] = unigram_of(proto)
        add_tokens(small["unigram"])
        proto = train_sentencepiece(train[::3], 900, os.path.join(tmp, "b.model"), normalization_rule_tsv=rules, byte_fallback=True, character_coverage=0.99)
        os.makedirs(os.path.join(args.out, "spm"), exist_ok=True)
        with open(os.path.join(args.out, "spm", "spiece.model"), "wb") as f:
            f.write(proto)
        small["unigram_bytes"] = unigram_of(proto, scheme="first", white=True, content=" ")
    raw = [t if isinstance(t, bytes) else t.encode() for t in texts]
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "texts.bin"), "wb") as f:
        f.write(struct.pack("<I", len(raw)) + b"".join(struct.pack("<I", len(t)) + t for t in raw))
    for name, t in small.items():
        if args.only and name not in args.only:
            continue
        save(t, os.path.join(args.out, name))
        with open(os.path.join(args.out, name, "ids.bin"), "wb") as f:
            for e in t.encode_batch([t.decode("utf-8", "replace") for t in raw]):
                f.write(struct.pack("<H%dH" % len(e.ids), len(e.ids), *e.ids))
        with open(os.path.join(args.out, name, "modes.bin"), "wb") as f:
            for flags, limit, parts, e in modes(t, [x for x in texts if isinstance(x, str) and "\0" not in x and len(x) < 120], 250):
                f.write(struct.pack("<HHH", flags, limit, len(parts)))
                f.write(b"".join(struct.pack("<H", len(x.encode())) + x.encode() for x in parts))
                f.write(struct.pack("<H%dH" % len(e.ids), len(e.ids), *e.ids) + bytes(e.type_ids))
    import sentencepiece
    with open(os.path.join(args.out, "spm", "ids.bin"), "wb") as f:  # the library's own ids: ours are made from its file
        for ids in sentencepiece.SentencePieceProcessor(model_proto=proto).encode([t.decode("utf-8", "replace") for t in raw]):
            f.write(struct.pack("<H%dH" % len(ids), len(ids), *ids))
    print(json.dumps({"texts": len(raw)}), file=sys.stderr)


if __name__ == "__main__":
    main()
