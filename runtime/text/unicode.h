/* unicode: UTF-8 in and out, and the properties of code points as the Hugging Face tokenizers library sees them.
 *
 * The table is asked from that library (gen_unicode_table.py) and not from utf8proc, since equality of ids is with it and
 * its parts follow different versions of Unicode. Lookup: index[cp / 512] -> groups[][cp / 16 % 32] -> blocks[][cp % 16] -> records[]. */
#ifndef XC_RUNTIME_TEXT_UNICODE_H
#define XC_RUNTIME_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    XC_CP_WHITE = 1,       /* White_Space, and \s of the split patterns */
    XC_CP_CONTROL = 2,     /* BERT's clean_text removes it (U+0000, U+FFFD, Cc, Cf, Co, Cn but not \t \n \r) */
    XC_CP_CJK = 4,         /* BERT puts blanks around it */
    XC_CP_MARK = 8,        /* Mn: BERT's strip_accents removes it after NFD */
    XC_CP_PUNCT = 16,      /* BERT makes it a word of its own */
    XC_CP_LETTER = 32,     /* \p{L} */
    XC_CP_NUMBER = 64,     /* \p{N} */
    XC_CP_WORD = 128,      /* \w, for added tokens with single_word */
    XC_CP_LONG_LOWER = 256 /* U+0130 alone: lower case is two code points, i and U+0307 */
};
#define XC_CP_CLASS_SHIFT 9 /* above the flags: the rank of the canonical combining class, 0 for starters */
#define XC_REPLACEMENT 0xFFFDu
#define XC_CP_LAST 0x80000000u /* marks the last code point of a decomposition */

struct xc_codepoint {
    int32_t lower;       /* lower case = cp + lower */
    uint16_t bits;       /* XC_CP_* | combining class rank << XC_CP_CLASS_SHIFT */
    uint16_t decomposed; /* 0, or the full canonical decomposition's place in xc_codepoint_decomposed (Hangul is computed) */
};

extern const struct xc_codepoint xc_codepoint_records[2091];
extern const uint32_t xc_codepoint_decomposed[3267];
extern const uint8_t xc_codepoint_index[2176];
extern const uint16_t xc_codepoint_groups[101][32];
extern const uint16_t xc_codepoint_blocks[751][16];

static inline const struct xc_codepoint *xc_codepoint_of(uint32_t cp)
{
    return &xc_codepoint_records[xc_codepoint_blocks[xc_codepoint_groups[xc_codepoint_index[cp >> 9]][cp >> 4 & 31]][cp & 15]];
}

/* Full canonical decomposition of cp (marks in canonical order), itself when it has none; returns how many, at most 4. */
int xc_decompose(uint32_t out[4], uint32_t cp);

/* Grapheme clusters (grapheme_table.c): code points that join what is before them, what is behind them, and those that nothing joins. In order. */
enum { XC_JOIN_AFTER = 1, XC_JOIN_BEFORE = 2, XC_JOIN_CONTROL = 4 };
#define XC_JOINING_RANGES 360
struct xc_joining { uint32_t first, last, bits; };
extern const struct xc_joining xc_joining_ranges[XC_JOINING_RANGES];

/* Reads one code point at s (n >= 1 bytes left); returns the bytes used. An ill-formed sequence is U+FFFD and uses the longest
 * prefix of a well-formed one (W3C "maximal subpart"), as Python's errors="replace" and Rust's from_utf8_lossy do. */
int xc_utf8_read(uint32_t *cp, const uint8_t *s, size_t n);

/* Writes cp (a scalar value); returns the bytes written, at most 4. */
static inline int xc_utf8_write(uint8_t *out, uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xC0 | cp >> 6);
        out[1] = (uint8_t)(0x80 | (cp & 63));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (uint8_t)(0xE0 | cp >> 12);
        out[1] = (uint8_t)(0x80 | (cp >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | cp >> 18);
    out[1] = (uint8_t)(0x80 | (cp >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (cp >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (cp & 63));
    return 4;
}

/* True when the n bytes are well-formed UTF-8. */
bool xc_utf8_valid(const uint8_t *s, size_t n);

#endif
