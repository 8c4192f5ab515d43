/* encoder: what the parts of the tokenizer share: the opened section, the scratch of a thread, and one call of encode.
 *
 *   text -> split at added tokens -> normalise -> split at normalised added tokens -> words -> model -> ids
 *   encode.c                         wordpiece.c,  encode.c                         wordpiece.c, bpe.c,
 *                                   unigram.c                                      unigram.c */
#ifndef XC_RUNTIME_TEXT_ENCODER_H
#define XC_RUNTIME_TEXT_ENCODER_H

#include "runtime/text/charsmap.h"
#include "runtime/text/section.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/unicode.h"

struct xc_encoder;

/* One model kind. piece() encodes text that holds no added token. */
struct xc_text_model {
    const char *name;
    void (*open)(struct xc_tokenizer *tok);
    enum xc_status (*piece)(struct xc_encoder *e, const uint8_t *s, size_t n);
    /* Writes the normalised text to scratch->norm (n_norm bytes) and to norm_words its word indices; NULL = text is not changed. */
    enum xc_status (*normalise)(struct xc_encoder *e, const uint8_t *s, size_t n);
};
extern const struct xc_text_model xc_text_wordpiece, xc_text_bpe, xc_text_unigram, xc_text_characters; /* the last: BPE of characters */

/* What a byte of text is to the scanner of wordpiece.c or bpe.c. */
enum xc_byte_kind {
    XC_BYTE_SLOW, /* not ASCII, or something rare: look at the code point */
    XC_BYTE_WORD, XC_BYTE_SPACE, XC_BYTE_PUNCT, XC_BYTE_DROP, /* BERT */
    XC_BYTE_LETTER, XC_BYTE_NUMBER, XC_BYTE_OTHER             /* GPT-2, and XC_BYTE_SPACE */
};

struct xc_tokenizer {
    struct xc_buf *section;
    const struct xc_tok_header *h;
    const struct xc_text_model *model;
    const uint32_t *str_block;
    const uint16_t *str_rel;
    const uint8_t *strings;
    const uint32_t *units;
    const struct xc_tok_added *added;
    const uint32_t *added_units;
    const struct xc_tok_piece *pieces;
    const int32_t *byte_ids;
    const struct xc_tok_merge *merges;
    const uint32_t *merge_table;
    const double *scores;    /* unigram, sentencepiece */
    const uint8_t *kinds;    /* enum xc_tok_kind; read where user_defined or unused is set */
    bool user_defined, unused;
    struct xc_charsmap charsmap;
    uint32_t n_added, n_prefix, n_merges, merge_mask;
    uint8_t first[2][256];   /* level 0 raw, 1 normalised: may an added token start with this byte? */
    int only_first[2];       /* the one byte that can, -1 when there are several */
    uint8_t kind[256];       /* enum xc_byte_kind */
    uint8_t lower[256];      /* BERT: what XC_BYTE_WORD bytes become, 0 for all others */
    int32_t punct_id[128];   /* BERT: the id of an ASCII punctuation mark */
    uint8_t spell[256][2];   /* byte-level BPE: a byte as the vocabulary spells it */
    uint8_t spell_len[256];
};

struct xc_text_scratch {
    uint8_t *word;     /* the current word, normalised or spelled */
    size_t word_cap;
    uint32_t *pending; /* non-starters that wait for their place in canonical order */
    size_t pending_cap;
    uint32_t *sorted;
    size_t sorted_cap;
    uint8_t *norm;
    size_t norm_cap;
    int32_t *norm_words; /* by byte of norm: index of the raw word */
    size_t norm_words_cap;
    uint32_t *symbols; /* BPE, five arrays of a window: id, previous, next, pair with next, place */
    size_t symbols_cap;
    uint32_t *cuts;    /* BPE with unused pieces, by id: bytes of the left part where such a piece was last seen */
    size_t cuts_cap;
    uint64_t *heap;    /* order << 32 | position */
    size_t heap_cap;
    struct xc_uni_node *nodes; /* unigram: of the bytes in word, and what words these belong to */
    size_t nodes_cap;
    int32_t *node_words;
    size_t node_words_cap;
    size_t uni_window; /* bytes; 0 = XC_UNI_WINDOW (unigram.c); tests take small ones */
    size_t bpe_window; /* symbols; 0 = XC_BPE_WINDOW (bpe.h); tests take small ones */
};

struct xc_encoder {
    const struct xc_tokenizer *tok;
    struct xc_tokens *out;
    struct xc_text_scratch *scratch;
    struct xc_err *err;
    size_t stop;          /* out->n at which nothing more is needed */
    int32_t word;         /* index of the white-space word we are in, -1 before the first */
    bool gap;             /* white space has been seen since */
    bool fixed_word;      /* encode_words: the caller counts */
    bool first;           /* what comes next begins the text */
    bool unknown;         /* sentencepiece's BPE: the last piece was unknown */
    const int32_t *word_of; /* reading normalised text: the words of its bytes */
    size_t n_norm;
    size_t n_first;       /* unigram: bytes of norm that stem from the text's first character */
};

enum xc_status xc_tokens_reserve(struct xc_tokens *out, size_t more, struct xc_err *err);

/* Room for n more ids; then xc_encoder_emit cannot fail. */
static inline enum xc_status xc_encoder_room(struct xc_encoder *e, size_t n)
{
    return e->out->cap - e->out->n >= n ? XC_OK : xc_tokens_reserve(e->out, n, e->err);
}

static inline void xc_encoder_emit(struct xc_encoder *e, int32_t id, int32_t word)
{
    struct xc_tokens *out = e->out;

    out->ids[out->n] = id;
    out->words[out->n++] = word;
}

static inline bool xc_encoder_full(const struct xc_encoder *e) { return e->out->n >= e->stop; }

/* Something that is not white space begins: are we in the next word? */
static inline void xc_encoder_enter(struct xc_encoder *e)
{
    e->word += e->gap;
    e->gap = false;
}

static inline void xc_encoder_leave(struct xc_encoder *e) { e->gap = !e->fixed_word; }

static inline const uint8_t *xc_tokenizer_string(const struct xc_tokenizer *tok, uint32_t id, size_t *len)
{
    const uint32_t from = tok->str_block[id >> 4] + tok->str_rel[id];

    *len = tok->str_block[(id + 1) >> 4] + tok->str_rel[id + 1] - from;
    return tok->strings + from;
}

/* The tokens of the vocabulary that s[0..n) begins with, shortest first: from at = units[root], i = 0. */
struct xc_prefixes { uint32_t at; size_t i; };

static inline bool xc_tokenizer_next_prefix(const struct xc_tokenizer *tok, struct xc_prefixes *p, uint32_t *id, size_t *len, const uint8_t *s, size_t n)
{
    while (p->i < n && !xc_trie_leaf(p->at)) {
        const uint32_t label = s[p->i] + 1u, child = tok->units[xc_trie_payload(p->at) ^ label];

        if (xc_trie_label(child) != label) return false;
        p->at = child;
        *len = ++p->i;
        if (xc_trie_leaf(child)) { /* the rest of its token is not in the trie */
            const uint8_t *t = xc_tokenizer_string(tok, *id = xc_trie_payload(child), len);

            return *len >= p->i && *len <= n && !memcmp(t + p->i, s + p->i, *len - p->i);
        }
        if (xc_trie_end(child)) {
            *id = xc_trie_payload(tok->units[xc_trie_payload(child)]);
            return true;
        }
    }
    return false;
}

/* The longest token that s[0..n) begins with, from a root `depth` bytes deep; -1 when there is none. */
static inline int32_t xc_tokenizer_longest(const struct xc_tokenizer *tok, uint32_t root, size_t depth, const uint8_t *s, size_t n, size_t *len)
{
    const uint32_t *units = tok->units;
    uint32_t u = units[root], found = 0;
    size_t i = 0, best = 0;

    for (; i < n; i++) {
        const uint32_t label = s[i] + 1u, child = units[xc_trie_payload(u) ^ label];

        if (xc_trie_label(child) != label) break;
        u = child;
        if (u & (512 | 1024)) {
            if (xc_trie_leaf(u)) {
                size_t whole;
                const uint8_t *t = xc_tokenizer_string(tok, xc_trie_payload(u), &whole);
                const size_t have = depth + i + 1, rest = whole - have;

                if (whole < have || rest > n - i - 1) break;
                for (size_t k = 0; k < rest; k++)
                    if (t[have + k] != s[i + 1 + k]) goto end;
                *len = i + 1 + rest;
                return (int32_t)xc_trie_payload(u);
            }
            best = i + 1;
            found = u;
        }
    }
end:
    *len = best;
    return best ? (int32_t)xc_trie_payload(units[xc_trie_payload(found)]) : -1;
}

#endif
