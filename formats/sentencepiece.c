/* sentencepiece: a .model file of the sentencepiece library (a protobuf, sentencepiece_model.proto) of type unigram or BPE.
 *
 * Ids are those of the library itself (XC_TOK_SENTENCEPIECE), which is what the slow tokenizers of transformers use; no token is searched in texts but those
 * that tokenizer_config.json or added_tokens.json add. Refused by name: word and char models, blanks that are not escaped or go behind words;
 * and, since they have ids of their own, tokenizer classes other than Reformer's and T5's (these need their tokenizer.json). */
#include <math.h>
#include <string.h>

#include "formats/tokenizer_source.h"
#include "runtime/text/charsmap.h"
#include "runtime/text/unicode.h"

enum { UNIGRAM = 1, BPE };
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

/* ---- protobuf ---- */
struct field {
    uint64_t number, value; /* value: of a varint or of 4 bytes */
    const uint8_t *s;       /* of bytes */
    size_t n;
};

static bool varint(uint64_t *out, const uint8_t **p, const uint8_t *end)
{
    *out = 0;
    for (int shift = 0; shift < 64 && *p < end; shift += 7) {
        const uint8_t b = *(*p)++;

        *out |= (uint64_t)(b & 127) << shift;
        if (b < 128) return true;
    }
    return false;
}

/* The next field of a message; a message that is cut or is none is an error. */
static enum xc_status next(struct field *f, const uint8_t **p, const uint8_t *end, struct xc_err *err)
{
    uint64_t tag, n;
    bool ok = varint(&tag, p, end) && tag >> 3;

    *f = (struct field){ .number = tag >> 3 };
    if (ok && (tag & 7) == 0) {
        ok = varint(&f->value, p, end);
    } else if (ok && ((tag & 7) == 5 || (tag & 7) == 1)) {
        const size_t bytes = (tag & 7) == 5 ? 4 : 8;

        ok = (size_t)(end - *p) >= bytes;
        for (size_t i = 0; ok && i < bytes; i++) f->value |= (uint64_t)*(*p)++ << (8 * i);
    } else if (ok && (tag & 7) == 2) {
        ok = varint(&n, p, end) && n <= (uint64_t)(end - *p);
        if (ok) f->s = *p, f->n = (size_t)n, *p += n;
    } else {
        ok = false;
    }
    return ok ? XC_OK : xc_fail(err, XC_E_FORMAT, "no SentencePiece model, or one that is cut");
}

/* ---- its messages ---- */
struct model { uint64_t type; double lowest; bool bytes, unused, crossing; }; /* crossing: a piece has U+2581 behind something else */

static bool crosses(const uint8_t *s, size_t n)
{
    bool other = false;

    for (size_t i = 0; i < n; i++) {
        const bool meta = n - i >= 3 && !memcmp(s + i, "\xE2\x96\x81", 3);

        if (meta && other) return true;
        if (meta) i += 2;
        other |= !meta;
    }
    return false;
}

static enum xc_status read_piece(struct xc_tok_spec *spec, const struct field *piece, struct model *m, struct xc_err *err)
{
    const uint8_t *p = piece->s, *const end = p + piece->n, *s = (const uint8_t *)"";
    const size_t id = spec->n_tokens;
    struct xc_tok_spec_token *token;
    uint64_t type = NORMAL;
    float score = 0;
    size_t n = 0;
    struct field f;

    while (p < end) {
        XC_TRY(next(&f, &p, end, err));
        if (f.number == 1 && f.s) s = f.s, n = f.n;
        if (f.number == 2) memcpy(&score, &(uint32_t){ (uint32_t)f.value }, sizeof score);
        if (f.number == 3) type = f.value;
    }
    if (id >= XC_TOK_MAX_TOKENS) return xc_fail(err, XC_E_LIMIT, "more than %d pieces", XC_TOK_MAX_TOKENS);
    if (n == 0 || !xc_utf8_valid(s, n)) return xc_fail(err, XC_E_FORMAT, "piece %zu is empty or no UTF-8", id);
    if (!(fabsf(score) <= 1e30f)) return xc_fail(err, XC_E_RANGE, "piece %zu has a score of %g", id, (double)score);
    if (type < NORMAL || type > BYTE) return xc_fail(err, XC_E_UNSUPPORTED, "piece %zu has the unknown type %llu", id, (unsigned long long)type);
    if (xc_tok_spec_find(spec, (const char *)s, n) >= 0 && *s) return xc_fail(err, XC_E_FORMAT, "piece %zu, '%.*s', is there twice", id, n < 100 ? (int)n : 100, (const char *)s);
    XC_TRY(xc_tok_spec_add_token(spec, (int64_t)id, (const char *)s, n, true, err));
    token = &spec->tokens[id];
    if (type == UNKNOWN) spec->h.unk_id = (int32_t)id;
    if (type == UNKNOWN || type == CONTROL || type == BYTE || !*s) return XC_OK; /* not searched: its score stays NaN */
    token->score = (double)score;
    token->kind = type == USER_DEFINED ? XC_TOK_USER : type == UNUSED ? XC_TOK_UNUSED : XC_TOK_PLAIN;
    m->unused |= type == UNUSED;
    m->crossing |= type != USER_DEFINED && crosses(s, n);
    if (type == NORMAL) m->lowest = fmin(m->lowest, (double)score);
    return XC_OK;
}

static enum xc_status read_trainer(const struct field *spec, struct model *m, struct xc_err *err)
{
    const uint8_t *p = spec->s, *const end = p + spec->n;
    struct field f;

    while (p < end) {
        XC_TRY(next(&f, &p, end, err));
        if (f.number == 3) m->type = f.value;
        if (f.number == 3 && f.value != UNIGRAM && f.value != BPE)
            return xc_fail(err, XC_E_UNSUPPORTED, "a SentencePiece model of type %s is not supported, unigram and BPE are", f.value == 3 ? "word" : f.value == 4 ? "char" : "unknown");
        if (f.number == 24 && f.value) return xc_fail(err, XC_E_UNSUPPORTED, "treat_whitespace_as_suffix is not supported");
        if (f.number == 35) m->bytes = f.value != 0;
    }
    return XC_OK;
}

static enum xc_status read_normalizer(struct xc_tok_spec *spec, const struct field *normalizer, struct xc_err *err)
{
    const uint8_t *p = normalizer->s, *const end = p + normalizer->n, *map = NULL;
    struct xc_charsmap opened;
    size_t n = 0;
    struct field f;

    while (p < end) {
        XC_TRY(next(&f, &p, end, err));
        if (f.number == 2 && f.s) map = f.s, n = f.n;
        if (f.number == 3 && !f.value) spec->h.flags &= ~(uint32_t)XC_TOK_PREFIX_SPACE;
        if (f.number == 4 && !f.value) spec->h.flags &= ~(uint32_t)XC_TOK_SQUEEZE;
        if (f.number == 5 && !f.value) return xc_fail(err, XC_E_UNSUPPORTED, "escape_whitespaces false is not supported");
    }
    xc_free(spec->charsmap); /* a second message replaces the first */
    spec->charsmap = xc_malloc(n + 1);
    spec->n_charsmap = n;
    if (!spec->charsmap) return xc_fail_nomem(err, n + 1);
    if (n) memcpy(spec->charsmap, map, n);
    return xc_charsmap_open(&opened, spec->charsmap, n) ? XC_OK : xc_fail(err, XC_E_FORMAT, "precompiled_charsmap is damaged");
}

/* T5: a text ends with </s>; Reformer: nothing is added. */
static enum xc_status add_template(struct xc_tok_source *src, struct xc_err *err)
{
    struct xc_tok_spec *spec = &src->spec;
    const char *cls;
    int32_t eos;

    XC_TRY(xc_json_str_or(&cls, src->config, "tokenizer_class", NULL, err));
    if (!cls || !strncmp(cls, "Reformer", 8) || !strncmp(cls, "PreTrainedTokenizer", 19)) return xc_tok_add_plain(spec, err);
    if (strncmp(cls, "T5", 2)) return xc_fail(err, XC_E_UNSUPPORTED, "tokenizer_class '%.50s' is not supported without a tokenizer.json", cls);
    eos = xc_tok_spec_find(spec, "</s>", 4);
    if (eos < 0) return xc_fail(err, XC_E_FORMAT, "T5's '</s>' is not among the pieces");
    spec->h.flags |= XC_TOK_TEMPLATE;
    spec->h.n_single = 2;
    spec->h.n_pair = 4;
    spec->single[0] = spec->pair[0] = (struct xc_tok_piece){ .what = XC_TOK_PIECE_A };
    spec->pair[2] = (struct xc_tok_piece){ .what = XC_TOK_PIECE_B };
    spec->single[1] = spec->pair[1] = spec->pair[3] = (struct xc_tok_piece){ .what = XC_TOK_PIECE_SPECIAL, .id = eos };
    return XC_OK;
}

/* Of an unknown character 10 below the worst; of a user-defined piece more than anything else; one that is not used has none. */
static void score_unigram(struct xc_tok_spec *spec, double lowest)
{
    spec->h.model = XC_TOK_UNIGRAM;
    spec->unk_score = (double)((float)lowest - 10.0f);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        struct xc_tok_spec_token *const t = &spec->tokens[i];

        if (t->kind == XC_TOK_USER) t->score = (double)(float)(0.1 * (double)(t->len - 1));
        if (t->kind == XC_TOK_UNUSED) t->score = NAN;
        if (t->kind == XC_TOK_UNUSED) t->kind = XC_TOK_PLAIN;
    }
}

enum xc_status xc_tok_read_sentencepiece(struct xc_tok_source *src, struct xc_err *err)
{
    const uint8_t *p = (const uint8_t *)src->files->spm.bytes, *const end = p + src->files->spm.size;
    struct xc_tok_spec *spec = &src->spec;
    struct model m = { .type = UNIGRAM, .lowest = INFINITY };
    struct field f;

    spec->h.model = XC_TOK_BPE;
    spec->h.split = XC_TOK_SPLIT_NONE;
    spec->h.flags = XC_TOK_SENTENCEPIECE | XC_TOK_PREFIX_SPACE | XC_TOK_SQUEEZE;
    while (p < end) {
        XC_TRY(next(&f, &p, end, err));
        if (f.number == 1 && f.s) XC_TRY(read_piece(spec, &f, &m, err));
        if (f.number == 2 && f.s) XC_TRY(read_trainer(&f, &m, err));
        if (f.number == 3 && f.s) XC_TRY(read_normalizer(spec, &f, err));
    }
    if (spec->h.unk_id < 0 || isinf(m.lowest)) return xc_fail(err, XC_E_FORMAT, "the SentencePiece model has no unknown piece, or no piece to search for");
    if (m.type == UNIGRAM) score_unigram(spec, m.lowest);
    else if (!m.unused && !m.crossing) spec->h.split = XC_TOK_SPLIT_META; /* nothing is merged across */
    if (m.bytes) XC_TRY(xc_tok_set_byte_fallback(spec, err));
    XC_TRY(xc_tok_read_more_added(src, err));
    for (size_t i = 0; i < spec->n_added; i++) spec->added[i].flags &= ~(uint32_t)XC_TOK_NORMALIZED; /* found in the text as it is, as slow tokenizers do */
    return add_template(src, err);
}
