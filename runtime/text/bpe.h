/* bpe: byte-pair merging alone: for the compiler, which asks what the bytes of each token merge to, and for words of characters (unigram.c). */
#ifndef XC_RUNTIME_TEXT_BPE_H
#define XC_RUNTIME_TEXT_BPE_H

#include "runtime/text/encoder.h"

#define XC_BPE_WINDOW 8192 /* symbols that are merged at once, see merge.c */
#define XC_BPE_NO_PAIR 0xFFFFFFFFu

/* What is merged: one word of bytes, or well-formed UTF-8 where the tokenizer's symbols are characters. */
struct xc_bpe_word {
    const uint8_t *s;
    size_t n;
    const int32_t *words; /* the words of its bytes, -1 none; NULL: all are of `word` */
    int32_t word;
};

/* Emits the ids of s[0..n), one word of bytes. */
enum xc_status xc_bpe_merge(struct xc_encoder *e, const uint8_t *s, size_t n, int32_t word);

/* The same of any word of at least one byte, in O(n log n). */
enum xc_status xc_bpe_merge_long(struct xc_encoder *e, const struct xc_bpe_word *w);

/* The symbols of s[0..n), at most `room`, and the bytes where they begin (place, room + 1 of them; NULL: not wanted); *used: the bytes that
 * they stand for. What has no symbol is the unknown token, or nothing when there is none. */
size_t xc_bpe_symbols(const struct xc_tokenizer *tok, uint32_t *id, uint32_t *place, size_t room, size_t *used, const uint8_t *s, size_t n);

/* The token of the trie that is spelled s[0..n), -1 when there is none. */
int32_t xc_bpe_find(const struct xc_tokenizer *tok, const uint8_t *s, size_t n);

/* Bytes of the longest user-defined piece that s[0..n) begins with, 0 when there is none. */
size_t xc_bpe_user(const struct xc_tokenizer *tok, uint32_t *id, const uint8_t *s, size_t n);

static inline uint32_t xc_bpe_rank(const struct xc_tokenizer *tok, uint32_t left, uint32_t right)
{
    uint32_t at = xc_tok_pair_hash(left, right) & tok->merge_mask;

    for (uint32_t i = 0; i <= tok->h->max_probes; i++, at = (at + 1) & tok->merge_mask) {
        const uint32_t slot = tok->merge_table[at];

        if (slot == 0) break;
        if (tok->merges[slot - 1].left == left && tok->merges[slot - 1].right == right) return slot - 1;
    }
    return XC_BPE_NO_PAIR;
}

#endif
