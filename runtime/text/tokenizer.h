/* tokenizer: text to token ids, from the compiled section of a .xc file. No JSON, no regex engine.
 *
 * The section is made by formats/tokenizer.c from tokenizer.json, or vocab.txt, or vocab.json + merges.txt; its layout is in
 * docs/tokenizer-section.md. Opening checks every offset once, so that encoding needs no further bounds checks on the section; it copies
 * nothing, so opening an mmapped section is cheap.
 *
 * A struct xc_tokenizer is read-only after open and may be used by many threads; each thread brings its own struct xc_tokens. */
#ifndef XC_RUNTIME_TEXT_TOKENIZER_H
#define XC_RUNTIME_TEXT_TOKENIZER_H

#include "runtime/base/base.h"
#include "runtime/base/buf.h"

struct xc_tokenizer;

/* The ids of one or many texts, and scratch that is kept between calls. Zero-initialise; release at the end. */
struct xc_tokens {
    int32_t *ids;     /* n */
    uint8_t *types;   /* n: token type (segment) ids */
    int32_t *words;   /* n: index of the whitespace word a token begins in or continues, from 0 in each text (as Hugging Face's
                         word_ids does for a pair); -1 for tokens of the template and for tokens of white space alone */
    size_t n, cap;
    bool truncated;   /* the last call had to cut */
    void *scratch;    /* the encoder's own */
    size_t scratch_cap;
};

void xc_tokens_release(struct xc_tokens *tokens);

/* How to encode; XC_ENCODE_DEFAULT follows the file: special tokens added, truncated to the model's limit. */
struct xc_encode_opts {
    int32_t max_tokens; /* 0 = the section's own limit; special tokens included */
    bool no_special;    /* leave out [CLS], [SEP], <s>, ... */
    bool no_truncate;
};
#define XC_ENCODE_DEFAULT { 0, false, false }

enum xc_status xc_tokenizer_open(struct xc_tokenizer **out, struct xc_buf *section, struct xc_err *err);
void xc_tokenizer_free(struct xc_tokenizer **tok);

/* Appends the ids of text a, or of the pair (a, b) when b is not NULL, to *out. Texts are bytes with a length: NULs and invalid
 * UTF-8 are allowed (invalid bytes become U+FFFD, as a reader of text would make them). Truncation follows Hugging Face's
 * "longest_first" for pairs. Work and memory are linear in the text (BPE: n log n, and 32 bytes a byte, in the length of one word);
 * with truncation no more of a text is looked at than can matter, but for a memchr after added tokens. Fails with XC_E_NOMEM; with
 * XC_E_RANGE when a text passes 2 GiB or the limit is below the number of special tokens. out->n is then as before. */
enum xc_status xc_tokenizer_encode(const struct xc_tokenizer *tok, struct xc_tokens *out, const char *a, size_t a_len, const char *b,
                                   size_t b_len, const struct xc_encode_opts *opts, struct xc_err *err);

/* Ids of pre-split words (for tagging): the same as encode with is_split_into_words; words[] are indices into the list. */
enum xc_status xc_tokenizer_encode_words(const struct xc_tokenizer *tok, struct xc_tokens *out, const char *const *words, size_t n_words,
                                         const struct xc_encode_opts *opts, struct xc_err *err);

int32_t xc_tokenizer_vocab_size(const struct xc_tokenizer *tok); /* added tokens included */
int32_t xc_tokenizer_max_tokens(const struct xc_tokenizer *tok); /* 0 = no limit */
const char *xc_tokenizer_kind(const struct xc_tokenizer *tok);   /* "wordpiece", "bpe" */

/* The bytes of a token as the vocabulary spells it (not NUL-terminated); NULL when the id is out of range or unused. */
const char *xc_tokenizer_token(const struct xc_tokenizer *tok, int32_t id, size_t *len);

/* Id of a special token by role, -1 when it has none. */
enum xc_token_role { XC_TOKEN_CLS, XC_TOKEN_SEP, XC_TOKEN_PAD, XC_TOKEN_UNK, XC_TOKEN_MASK, XC_TOKEN_ROLE_COUNT };
int32_t xc_tokenizer_special(const struct xc_tokenizer *tok, enum xc_token_role role);

#endif
