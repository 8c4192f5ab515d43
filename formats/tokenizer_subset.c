/* tokenizer_subset: a compiled tokenizer with fewer tokens: the section taken apart, ids changed, and built again. */
#include <math.h>
#include <string.h>

#include "formats/tokenizer.h"
#include "formats/tokenizer_section.h"
#include "runtime/text/bpe.h"

static int32_t moved(const int32_t *new_id, int32_t id) { return id >= 0 ? new_id[id] : -1; }

static enum xc_status add_tokens(struct xc_tok_spec *spec, const struct xc_tokenizer *tok, const int32_t *new_id, struct xc_err *err)
{
    const size_t n = (size_t)tok->h->n_tokens;
    uint8_t *alone = xc_calloc(n + 1, 1); /* added tokens that the model's vocabulary lacks */
    enum xc_status status = alone ? XC_OK : xc_fail_nomem(err, n);

    for (uint32_t i = 0; alone && i < tok->n_added; i++) alone[tok->added[i].id] = !(tok->added[i].flags & XC_TOK_IN_VOCAB);
    for (uint32_t i = 0; i < n && status == XC_OK; i++) {
        size_t len;
        const uint8_t *s = xc_tokenizer_string(tok, i, &len);

        if (!len || new_id[i] < 0) continue;
        status = xc_tok_spec_add_token(spec, new_id[i], (const char *)s, len, !alone[i], err);
        if (status == XC_OK && tok->h->array[XC_TOK_SCORES].size) spec->tokens[new_id[i]].score = tok->scores[i];
        if (status == XC_OK && (tok->user_defined || tok->unused)) spec->tokens[new_id[i]].kind = tok->kinds[i];
    }
    xc_free(alone);
    return status;
}

static enum xc_status add_rest(struct xc_tok_spec *spec, const struct xc_tokenizer *tok, const int32_t *new_id, struct xc_err *err)
{
    const struct xc_tok_header *h = tok->h;

    for (uint32_t i = 0; i < tok->n_added; i++) {
        if (moved(new_id, tok->added[i].id) < 0) continue;
        XC_TRY(xc_grow((void **)&spec->added, &spec->added_cap, spec->n_added + 1, sizeof *spec->added, err));
        spec->added[spec->n_added++] = (struct xc_tok_added){ .id = new_id[tok->added[i].id], .flags = tok->added[i].flags };
    }
    for (uint32_t i = 0; i < tok->n_merges; i++) {
        const struct xc_tok_merge *m = &tok->merges[i];

        if (new_id[m->left] < 0 || new_id[m->right] < 0 || new_id[m->result] < 0) continue;
        XC_TRY(xc_grow((void **)&spec->merges, &spec->merges_cap, spec->n_merges + 1, sizeof *spec->merges, err));
        spec->merges[spec->n_merges++] = (struct xc_tok_merge){ (uint32_t)new_id[m->left], (uint32_t)new_id[m->right], (uint32_t)new_id[m->result] };
    }
    for (uint32_t i = 0; i < h->n_single + h->n_pair; i++) {
        struct xc_tok_piece piece = tok->pieces[i];

        if (piece.what == XC_TOK_PIECE_SPECIAL) piece.id = moved(new_id, piece.id);
        if (piece.what == XC_TOK_PIECE_SPECIAL && piece.id < 0) return xc_fail(err, XC_E_ARG, "a token of the template is not among those kept");
        if (i < h->n_single) spec->single[i] = piece;
        else spec->pair[i - h->n_single] = piece;
    }
    return XC_OK;
}

static enum xc_status subset(struct xc_buf **out, const struct xc_tokenizer *tok, const int32_t *new_id, struct xc_err *err)
{
    const struct xc_tok_header *h = tok->h;
    struct xc_tok_spec spec;
    char *prefix = xc_strndup((const char *)tok->section->data + h->array[XC_TOK_PREFIX].offset, h->array[XC_TOK_PREFIX].size);
    enum xc_status status;

    if (!prefix) return xc_fail_nomem(err, h->array[XC_TOK_PREFIX].size);
    xc_tok_spec_init(&spec);
    spec.prefix = prefix;
    spec.h.model = h->model;
    spec.h.split = h->split;
    spec.h.flags = h->flags;
    spec.h.max_tokens = h->max_tokens;
    spec.h.max_word_chars = h->max_word_chars;
    spec.h.n_single = h->n_single;
    spec.h.n_pair = h->n_pair;
    spec.h.unk_id = moved(new_id, h->unk_id);
    for (int i = 0; i < 5; i++) spec.h.roles[i] = moved(new_id, h->roles[i]);
    status = add_tokens(&spec, tok, new_id, err);
    if (status == XC_OK && h->array[XC_TOK_SCORES].size) spec.unk_score = tok->scores[h->n_tokens]; /* as it was: the same paths */
    if (status == XC_OK && h->split >= XC_TOK_SPLIT_NONE) {
        spec.n_charsmap = h->array[XC_TOK_CHARSMAP].size;
        spec.charsmap = xc_malloc(spec.n_charsmap + 1);
        if (!spec.charsmap) status = xc_fail_nomem(err, spec.n_charsmap);
        else memcpy(spec.charsmap, tok->section->data + h->array[XC_TOK_CHARSMAP].offset, spec.n_charsmap);
    }
    if (status == XC_OK) status = add_rest(&spec, tok, new_id, err);
    if (status == XC_OK) status = xc_tok_spec_build(out, &spec, err);
    xc_tok_spec_release(&spec);
    xc_free(prefix);
    return status;
}

enum xc_status xc_tokenizer_subset(struct xc_buf **out, struct xc_buf *section, const int32_t *new_id, struct xc_err *err)
{
    struct xc_tokenizer *tok = NULL;
    enum xc_status status;

    *out = NULL;
    XC_TRY(xc_tokenizer_open(&tok, section, err));
    status = subset(out, tok, new_id, err);
    xc_tokenizer_free(&tok);
    return status;
}

/* ---- what must stay for a set of tokens to work ---- */
static bool single_character(const uint8_t *s, size_t len)
{
    size_t n = len > 0;

    for (size_t i = 1; i < len; i++) n += (s[i] & 0xC0) != 0x80;
    return n == 1;
}

static bool keep_if(uint8_t *keep, int32_t id)
{
    if (id < 0 || keep[id]) return false;
    keep[id] = 1;
    return true;
}

/* The same of sentencepiece's BPE, where any two pieces merge that spell a third. Those that are not used can be on the way to any other. */
static void keep_spelled_parts(uint8_t *keep, const struct xc_tokenizer *tok)
{
    for (uint32_t i = 0; tok->unused && i < (uint32_t)tok->h->n_tokens; i++) keep[i] |= tok->kinds[i] == XC_TOK_UNUSED;
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = (uint32_t)tok->h->n_tokens; i-- > 0;) {
            size_t len;
            const uint8_t *s = xc_tokenizer_string(tok, i, &len);

            if (!keep[i] || isnan(tok->scores[i])) continue;
            for (size_t cut = 1; cut < len; cut++) {
                more |= keep_if(keep, xc_bpe_find(tok, s, cut));
                more |= keep_if(keep, xc_bpe_find(tok, s + cut, len - cut));
            }
        }
    }
}

/* A token is made by merging two others, which are made in turn: all of them, for every merge that makes it. */
static void keep_parts(uint8_t *keep, const struct xc_tokenizer *tok)
{
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = tok->n_merges; i-- > 0;) {
            const struct xc_tok_merge *m = &tok->merges[i];

            if (!keep[m->result] || (keep[m->left] && keep[m->right])) continue;
            keep[m->left] = keep[m->right] = 1;
            more = true;
        }
    }
}

enum xc_status xc_tokenizer_close_set(uint8_t *keep, struct xc_buf *section, bool characters, struct xc_err *err)
{
    struct xc_tokenizer *tok = NULL;

    XC_TRY(xc_tokenizer_open(&tok, section, err));
    const struct xc_tok_header *h = tok->h;

    for (uint32_t i = 0; i < tok->n_added; i++) keep[tok->added[i].id] = 1;
    for (int i = 0; i < 5; i++)
        if (h->roles[i] >= 0) keep[h->roles[i]] = 1;
    if (h->unk_id >= 0) keep[h->unk_id] = 1;
    for (uint32_t i = 0; i < h->n_single + h->n_pair; i++)
        if (tok->pieces[i].what == XC_TOK_PIECE_SPECIAL) keep[tok->pieces[i].id] = 1;
    for (int c = 0; (h->model == XC_TOK_BPE || h->flags & XC_TOK_BYTE_FALLBACK) && c < 256; c++)
        if (tok->byte_ids[c] >= 0) keep[tok->byte_ids[c]] = 1;
    for (uint32_t i = 0; h->split != XC_TOK_SPLIT_GPT2 && characters && i < (uint32_t)h->n_tokens; i++) {
        const uint8_t *prefix = tok->section->data + h->array[XC_TOK_PREFIX].offset;
        const size_t n = h->array[XC_TOK_PREFIX].size;
        size_t len;
        const uint8_t *s = xc_tokenizer_string(tok, i, &len);

        if (single_character(s, len) || (len > n && !memcmp(s, prefix, n) && single_character(s + n, len - n))) keep[i] = 1;
    }
    if (h->model == XC_TOK_BPE && h->flags & XC_TOK_SENTENCEPIECE) keep_spelled_parts(keep, tok);
    else keep_parts(keep, tok);
    xc_tokenizer_free(&tok);
    return XC_OK;
}
