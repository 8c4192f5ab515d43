/* tokenizer_source: what the readers of tokenizer files share while they make a description (tokenizer_section.h) of one. */
#ifndef XC_FORMATS_TOKENIZER_SOURCE_H
#define XC_FORMATS_TOKENIZER_SOURCE_H

#include <string.h>

#include "formats/json.h"
#include "formats/tokenizer.h"
#include "formats/tokenizer_section.h"

/* What is at hand while compiling. */
struct xc_tok_source {
    const struct xc_tokenizer_files *files;
    json_t *json, *config, *special, *added, *vocab; /* parsed files, NULL where there is none */
    struct xc_tok_spec spec;
};

static inline bool xc_tok_is(const char *a, const char *b) { return a && strcmp(a, b) == 0; }

/* ---- tokenizer.c: parts of tokenizer.json ---- */
/* A vocabulary object: spelling -> id; "a b" of a list of merges; the unknown token by its spelling. */
enum xc_status xc_tok_read_vocab(struct xc_tok_spec *spec, const json_t *vocab, struct xc_err *err);
enum xc_status xc_tok_add_merge_line(struct xc_tok_spec *spec, const char *line, size_t n, struct xc_err *err);
enum xc_status xc_tok_set_unk(struct xc_tok_spec *spec, const char *unk, struct xc_err *err);
/* Added tokens: one, of which the first with an id counts; a list as tokenizer.json has it. */
enum xc_status xc_tok_add_added(struct xc_tok_spec *spec, int32_t id, uint32_t flags, struct xc_err *err);
enum xc_status xc_tok_read_added(struct xc_tok_spec *spec, const json_t *list, struct xc_err *err);
/* Templates: cls A sep [sep] B sep, as BertProcessing and RobertaProcessing make them; A, and A B, what is made without a post-processor. */
enum xc_status xc_tok_add_usual(struct xc_tok_spec *spec, int32_t cls, int32_t sep, bool roberta, struct xc_err *err);
enum xc_status xc_tok_add_plain(struct xc_tok_spec *spec, struct xc_err *err);
/* The type of a part of tokenizer.json, called `what` in messages. */
enum xc_status xc_tok_type_of(const char **type, const json_t *part, const char *what, struct xc_err *err);

/* ---- tokenizer_vocab.c ---- */
/* The spelling of a role: tokenizer_config.json, then special_tokens_map.json; a string or an object with "content". NULL = neither says. */
const char *xc_tok_role_text(const struct xc_tok_source *src, const char *role);
/* added_tokens_decoder of tokenizer_config.json ({"id": {"content", ...}}), or added_tokens.json ({"content": id}). */
enum xc_status xc_tok_read_more_added(struct xc_tok_source *src, struct xc_err *err);
enum xc_status xc_tok_read_vocab_txt(struct xc_tok_source *src, struct xc_err *err);
enum xc_status xc_tok_read_vocab_json(struct xc_tok_source *src, struct xc_err *err);

/* ---- tokenizer_unigram.c ---- */
/* Unknown characters become bytes: all 256 tokens "<0x00>" must be there. */
enum xc_status xc_tok_set_byte_fallback(struct xc_tok_spec *spec, struct xc_err *err);
/* Model, normalizer and pre_tokenizer of a tokenizer.json of type Unigram. */
enum xc_status xc_tok_read_unigram(struct xc_tok_source *src, const json_t *root, struct xc_err *err);
/* The last two alone, for BPE of characters. */
enum xc_status xc_tok_read_characters(struct xc_tok_source *src, const json_t *root, struct xc_err *err);

/* ---- sentencepiece.c ---- */
/* A SentencePiece model: spiece.model and its other names. */
enum xc_status xc_tok_read_sentencepiece(struct xc_tok_source *src, struct xc_err *err);

#endif
