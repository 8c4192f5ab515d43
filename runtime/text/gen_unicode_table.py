#!/usr/bin/env python3
"""Writes unicode_table.c: what the Hugging Face `tokenizers` library thinks of every code point.

Equality of ids is with `tokenizers`, and its crates follow several versions of Unicode at once (normalisation, categories, the
regex engine and the Rust standard library each have their own), so no single Unicode database gives its answers. This script asks the
library itself, code point by code point, and checks that everything it saw is explained by the table.

    python3 gen_unicode_table.py > unicode_table.c        (pip install tokenizers; made with the version named in the output)
"""
import sys
import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers as N, pre_tokenizers as P

BLOCK, GROUP = 16, 32  # code points a block, blocks a group: the sizes that make the table least
WHITE, CONTROL, CJK, MARK, PUNCT, LETTER, NUMBER, WORD, LONG_LOWER = (1 << i for i in range(9))
CPS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def bert(**on):
    flags = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return N.BertNormalizer(**{**flags, **on}).normalize_str


def single_word():
    t = Tokenizer(models.WordLevel({"[U]": 0}, "[U]"))
    t.add_tokens([AddedToken("xyzzy", single_word=True, normalized=False)])
    return lambda c: t.encode("xyzzy" + c).tokens[0] != "xyzzy"


def trailing_space():
    t = Tokenizer(models.WordLevel({"[U]": 0}, "[U]"))
    t.add_tokens([AddedToken("xyzzy", rstrip=True, normalized=False)])
    return lambda c: t.encode("xyzzy" + c).offsets[0][1] != 5


def hangul(c):
    s = c - 0xAC00
    if not 0 <= s < 11172:
        return None
    tail = [0x11A7 + s % 28] if s % 28 else []
    return [0x1100 + s // 588, 0x1161 + s % 588 // 28] + tail


def main():
    nfd, lower = N.NFD().normalize_str, N.Lowercase().normalize_str
    clean, cjk, strip, blower = bert(clean_text=True), bert(handle_chinese_chars=True), bert(strip_accents=True), bert(lowercase=True)
    split_bert, split_gpt2 = P.BertPreTokenizer().pre_tokenize_str, P.ByteLevel(add_prefix_space=False).pre_tokenize_str
    word, space = single_word(), trailing_space()

    flags, decomp, delta, ccc = {}, {}, {}, {}
    for c in CPS:
        s, f = chr(c), 0
        parts = [p for p, _ in split_bert("a" + s + "a")]
        if parts == ["a", "a"]:
            f |= WHITE
        elif len(parts) == 3:
            f |= PUNCT
        assert space(s) == bool(f & WHITE), hex(c)
        # clean_text: \t \n \r and white space become a blank; controls go, white space among them included
        r = clean(s)
        if r == "":
            f |= CONTROL
        else:
            assert r == (" " if f & WHITE else s), hex(c)
        if cjk(s) != s:
            assert cjk(s) == " " + s + " "
            f |= CJK
        d = [ord(x) for x in nfd(s)]
        if hangul(c):
            assert d == hangul(c), hex(c)
        elif d != [c]:
            decomp[c] = d
        if d == [c] and strip(s) == "":
            f |= MARK
        low = lower(s)
        assert low == blower(s), hex(c)
        if len(low) == 1:
            delta[c] = ord(low) - c
        else:
            assert (c, low) == (0x130, "i\u0307")
            delta[c], f = 0, f | LONG_LOWER
        if len(split_gpt2("a" + s)) == 1:
            f |= LETTER
        elif len(split_gpt2("1" + s)) == 1:
            f |= NUMBER
        assert (not f & (LETTER | NUMBER) and len(split_gpt2("!" + s)) == 2) == bool(f & WHITE), hex(c)
        if word(s):
            f |= WORD
        flags[c] = f
    for c in CPS:  # stripping accents is NFD less the marks
        d = hangul(c) or decomp.get(c, [c])
        assert strip(chr(c)) == "".join(chr(x) for x in d if not flags[x] & MARK), hex(c)

    # Combining classes, as an order: x sorts after y exactly when its class is higher. A class is found by comparing with one
    # representative of each class known so far, through NFD of "a" + y + x.
    def swaps(y, x):
        return nfd("a" + chr(y) + chr(x)) == "a" + chr(x) + chr(y)
    low_rep, high_rep = 0x334, 0x345  # class 1 and class 240
    assert swaps(high_rep, low_rep)
    chains = [[low_rep], [high_rep]]
    ccc = {}
    for c in CPS:
        if c in decomp or hangul(c):
            continue
        nonstarter = swaps(high_rep, c) or swaps(c, low_rep)
        if not nonstarter:
            continue
        for i, chain in enumerate(chains):
            y = chain[0]
            if c == y or (not swaps(y, c) and not swaps(c, y)):
                chain.append(c)
                break
            if swaps(y, c):  # c is lower than this chain
                chains.insert(i, [c])
                break
        else:
            chains.append([c])
    for i, chain in enumerate(chains):
        for c in chain:
            ccc[c] = i + 1
    for c, d in decomp.items():  # decompositions are stored in canonical order
        assert nfd("".join(map(chr, d))) == "".join(map(chr, d))

    pool, pool_at, records, record_at, of = [0], {}, [], {}, {}
    for c in range(0x110000):
        if c in flags:
            d = decomp.get(c)
            at = 0
            if d:
                at = pool_at.get(tuple(d))
                if at is None:
                    at = pool_at[tuple(d)] = len(pool)
                    pool += [x | (0x80000000 if i == len(d) - 1 else 0) for i, x in enumerate(d)]
            r = (delta[c], flags[c] | ccc.get(c, 0) << 9, at)
        else:
            r = (0, 0, 0)
        if r not in record_at:
            record_at[r] = len(records)
            records.append(r)
        of[c] = record_at[r]
    def shared(items, n):  # cut in runs of n, equal runs once: the runs, and which of them stands where
        runs, at = {}, []
        for i in range(0, len(items), n):
            at.append(runs.setdefault(tuple(items[i:i + n]), len(runs)))
        return list(runs), at
    blocks, block_of = shared([of[c] for c in range(0x110000)], BLOCK)
    groups, group_of = shared(block_of, GROUP)
    assert len(groups) <= 256

    def rows(items, width=150):
        line = ""
        for it in items:
            if len(line) + len(it) + 1 > width:
                print(line)
                line = ""
            line += it + ","
        print(line)

    print(f"""/* unicode_table: what the Hugging Face tokenizers library thinks of every code point; see unicode.h.
 * Generated by gen_unicode_table.py from tokenizers {tokenizers.__version__}: not to be edited. */
#include "runtime/text/unicode.h"

const struct xc_codepoint xc_codepoint_records[{len(records)}] = {{""")
    rows("{%d,%d,%d}" % r for r in records)
    print("};\n\nconst uint32_t xc_codepoint_decomposed[%d] = {" % len(pool))
    rows("%du" % x for x in pool)
    print("};\n\nconst uint8_t xc_codepoint_index[%d] = {" % len(group_of))
    rows(str(x) for x in group_of)
    for name, runs, n in (("groups", groups, GROUP), ("blocks", blocks, BLOCK)):
        print("};\n\nconst uint16_t xc_codepoint_%s[%d][%d] = {" % (name, len(runs), n))
        rows("{" + ",".join(map(str, r)) + "}" for r in runs)
    print("};")
    print(f"{len(records)} records, {len(blocks)} blocks, {len(pool)} decomposed, {len(chains)} combining classes, "
          f"{8 * len(records) + 4 * len(pool) + len(group_of) + 2 * GROUP * len(groups) + 2 * BLOCK * len(blocks)} bytes", file=sys.stderr)
    print({hex(1 << i): sum(1 for f in flags.values() if f >> i & 1) for i in range(9)}, file=sys.stderr)


if __name__ == "__main__":
    main()
