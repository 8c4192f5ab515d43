#!/usr/bin/env python3
"""Makes tests/vectors/answer_vectors.h: what a question answering model's answers are cut from texts by, and how they are counted.

    gen_answer.py        needs tokenizers

offsets   the letters that each token stands for, by the tokenizers library, as bytes of the text; of the vocabularies in tests/vectors/tokenizer
scores    exact match and F1 by the definition of SQuAD 2.0's evaluation: lower case, ASCII punctuation and articles out, words between white space; the shared words of two
          answers as multisets; the best right answer counts, those without a word do not; without any, the answer must be empty"""
import os
import re
import string

import tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ("uncased", "cased", "roberta", "gpt2", "unigram", "unigram_bytes")
TEXTS = (
    "Denver's win (24-10) was its 3rd.", "  two  blanks\tand a tab ", "café au lait, naïve résumé", "cafe\u0301 e\u0301te\u0301", "ÀÉÎ ß ẞ İstanbul", "東京 is in 日本.", "a\u00a0b", "x" * 120 + " end",
    "price: $1,000.50!", "don't won't we'll", "ＡＢＣ ½ ﬁne", "emoji 😀😀 here", "", "...", "one", "new\nline", "re-enter state-of-the-art", "tail ",
)
SCORES = (
    ("The Cat", ["cat"]), ("a cat sat", ["the cat", "sat"]), ("Denver Broncos", ["denver broncos."]), ("", []), ("x", []), ("the", []), ("the", ["a"]), ("an apple", ["the"]), ("24-10", ["24–10", "2410"]),
    ("new york city", ["New York", "york"]), ("the the cat cat", ["cat cat cat"]), ("\u00c9cole  normale", ["école normale"]), ("theatre", ["atre"]), ("a–b", ["b"]), ("\u0130stanbul", ["i\u0307stanbul"]), ("in 1990", ["1990", "nineteen ninety"]),
    ("an-other", ["another"]), ("x\u00a0y", ["x y"]), ("word " * 20 + "end", ["word end"]), ("$5.6 million", ["5.6 million", "$56 million"]), ("the_cat", ["thecat"]), ("A.", ["a"]), ("cat", ["dog", ""]),
)


def normalise(s):
    s = "".join(c for c in s.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1(gold, answer):
    g, a = normalise(gold).split(), normalise(answer).split()
    if not g or not a:
        return float(g == a)
    same = sum(min(g.count(w), a.count(w)) for w in set(g))
    return 0.0 if not same else 2 * same / (len(g) + len(a))  # 2pr / (p + r)


def quote(s):
    return '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else "\\%03o" % b for b in s.encode()) + '"'


def main():
    out = ["/* Made by gen_answer.py from tokenizers %s: do not edit. Offsets: begin and end of each token. */" % tokenizers.__version__, "static const struct offset_vector offset_vectors[] = {"]
    for name in NAMES:
        tok = tokenizers.Tokenizer.from_file(os.path.join(HERE, "tokenizer", name, "tokenizer.json"))
        tok.no_truncation()
        for text in TEXTS:
            e = tok.encode(text, add_special_tokens=False)
            at = [0]
            for c in text:
                at.append(at[-1] + len(c.encode()))
            pairs = [x for i, j in e.offsets for x in (at[i], at[j])]
            out.append("    { \"%s\", %s, %d, { %s } }," % (name, quote(text), len(e.ids), ", ".join(map(str, pairs)) or "0"))
    out += ["};", "static const struct score_vector score_vectors[] = {"]
    for answer, gold in SCORES:
        some = [g for g in gold if normalise(g)] or [""]
        exact, best = max(normalise(g) == normalise(answer) for g in some), max(f1(g, answer) for g in some)
        out.append("    { %s, %d, { %s }, %d, %.12g }," % (quote(answer), len(gold), ", ".join(map(quote, gold)) or "NULL", exact, best))
    out.append("};")
    with open(os.path.join(HERE, "answer_vectors.h"), "w") as f:
        f.write("\n".join(out) + "\n")


main()
