/* tokenizer_section: writes a compiled tokenizer (runtime/text/section.h) from a description. Knows no file format. */
#ifndef XC_FORMATS_TOKENIZER_SECTION_H
#define XC_FORMATS_TOKENIZER_SECTION_H

#include "runtime/base/buf.h"
#include "runtime/text/section.h"

struct xc_tok_spec_token {
    const char *s; /* not ours: belongs to the source; NULL = unused id */
    uint32_t len;
    bool in_vocab; /* of the model; else an added token alone */
    double score;  /* unigram, sentencepiece; NaN = not searched in texts */
    uint8_t kind;  /* enum xc_tok_kind */
};

struct xc_tok_spec {
    struct xc_tok_header h; /* model, split, flags, limits, roles, unk_id, n_single, n_pair; the rest is filled by build */
    struct xc_tok_spec_token *tokens;
    size_t n_tokens, tokens_cap;
    uint32_t *map; /* id + 1 by spelling, open addressing; in_vocab tokens only */
    size_t map_size, map_used;
    struct xc_tok_added *added; /* spelled like their token */
    size_t n_added, added_cap;
    struct xc_tok_merge *merges;
    size_t n_merges, merges_cap;
    struct xc_tok_piece single[XC_TOK_MAX_PIECES], pair[XC_TOK_MAX_PIECES];
    const char *prefix; /* "##"; not ours */
    double unk_score;   /* unigram: of an unknown character */
    uint8_t *charsmap;  /* unigram: ours */
    size_t n_charsmap;
};

void xc_tok_spec_init(struct xc_tok_spec *spec);
void xc_tok_spec_release(struct xc_tok_spec *spec);

/* A spelling that comes twice keeps its last id (vocab.txt); an id that comes twice is an error. */
enum xc_status xc_tok_spec_add_token(struct xc_tok_spec *spec, int64_t id, const char *s, size_t len, bool in_vocab, struct xc_err *err);

/* Id of a spelling in the model's vocabulary, -1 when it is not there. */
int32_t xc_tok_spec_find(const struct xc_tok_spec *spec, const char *s, size_t len);

/* Any token, added ones too (a slower search); -1 when it is not there. */
int32_t xc_tok_spec_find_any(const struct xc_tok_spec *spec, const char *s, size_t len);

enum xc_status xc_tok_spec_build(struct xc_buf **out, struct xc_tok_spec *spec, struct xc_err *err);

#endif
