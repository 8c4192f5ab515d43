/* tokenizer_json: a compiled tokenizer back to a tokenizer.json that the tokenizers library loads.
 *
 * What the section does not keep is written as that library's default: the decoder by model kind, no padding. A post-processor comes
 * back as TemplateProcessing, whatever it was. */
#include "formats/json.h"
#include "formats/tokenizer.h"
#include "runtime/text/encoder.h"

static json_t *text_of(const struct xc_tokenizer *tok, uint32_t id)
{
    size_t n;
    const uint8_t *s = xc_tokenizer_string(tok, id, &n);

    return json_stringn((const char *)s, n);
}

/* Which ids are the model's own: used, and not an added token that the model lacks. */
static uint8_t *vocabulary_ids(const struct xc_tokenizer *tok)
{
    const size_t n = (size_t)tok->h->n_tokens;
    uint8_t *own = xc_calloc(n, 1);

    for (uint32_t i = 0; own && i < n; i++) {
        size_t len;

        xc_tokenizer_string(tok, i, &len);
        own[i] = len > 0;
    }
    for (uint32_t i = 0; own && i < tok->n_added; i++)
        if (!(tok->added[i].flags & XC_TOK_IN_VOCAB)) own[tok->added[i].id] = 0;
    return own;
}

static int put_vocab(json_t *model, const struct xc_tokenizer *tok)
{
    uint8_t *own = vocabulary_ids(tok);
    json_t *vocab = json_object();
    int bad = !own || !vocab;

    for (uint32_t i = 0; !bad && i < (uint32_t)tok->h->n_tokens; i++) {
        size_t n;
        const uint8_t *s = xc_tokenizer_string(tok, i, &n);

        if (own[i]) bad |= json_object_setn_new(vocab, (const char *)s, n, json_integer(i));
    }
    xc_free(own);
    return bad | json_object_set_new(model, "vocab", vocab);
}

/* Spellings and scores by id; the ids of the model's own tokens are 0 .. n - 1 (check_writable). */
static int put_scores(json_t *model, const struct xc_tokenizer *tok)
{
    uint8_t *own = vocabulary_ids(tok);
    json_t *vocab = json_array();
    int bad = !own || !vocab;

    for (uint32_t i = 0; !bad && i < (uint32_t)tok->h->n_tokens && own[i]; i++) {
        json_t *pair = json_array();

        bad |= json_array_append_new(pair, text_of(tok, i));
        bad |= json_array_append_new(pair, xc_json_new_number(tok->scores[i]));
        bad |= json_array_append_new(vocab, pair);
    }
    xc_free(own);
    return bad | json_object_set_new(model, "vocab", vocab);
}

static json_t *unigram_of(const struct xc_tokenizer *tok)
{
    json_t *m = json_object();
    int bad = json_object_set_new(m, "type", json_string("Unigram"));

    bad |= json_object_set_new(m, "unk_id", json_integer(tok->h->unk_id));
    bad |= put_scores(m, tok);
    bad |= json_object_set_new(m, "byte_fallback", json_boolean(tok->h->flags & XC_TOK_BYTE_FALLBACK));
    if (bad) xc_json_free(&m);
    return m;
}

/* The table of replacements in base64. */
static json_t *charsmap_of(const struct xc_tokenizer *tok)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *s = (const uint8_t *)tok->h + tok->h->array[XC_TOK_CHARSMAP].offset;
    const size_t n = tok->h->array[XC_TOK_CHARSMAP].size;
    char *text = xc_malloc(n / 3 * 4 + 5);
    json_t *out = NULL;
    size_t m = 0;

    if (!text) return NULL;
    for (size_t i = 0; i < n; i += 3) {
        const uint32_t group = (uint32_t)s[i] << 16 | (i + 1 < n ? (uint32_t)s[i + 1] << 8 : 0u) | (i + 2 < n ? s[i + 2] : 0u);

        for (size_t k = 0; k < 4; k++) text[m++] = i + k > n ? '=' : digits[group >> (18 - 6 * k) & 63];
    }
    out = json_stringn(text, m);
    xc_free(text);
    return out;
}

static json_t *unigram_normalizer_of(const struct xc_tokenizer *tok)
{
    const uint32_t f = tok->h->flags;
    json_t *list = json_array();
    int bad = !list;

    if (tok->h->array[XC_TOK_CHARSMAP].size) bad |= json_array_append_new(list, json_pack("{s:s, s:o}", "type", "Precompiled", "precompiled_charsmap", charsmap_of(tok)));
    if (f & (XC_TOK_STRIP_START | XC_TOK_STRIP_END))
        bad |= json_array_append_new(list, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", !!(f & XC_TOK_STRIP_START), "strip_right", !!(f & XC_TOK_STRIP_END)));
    if (f & XC_TOK_SQUEEZE)
        bad |= json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "Regex", " {2,}", "content", f & XC_TOK_SQUEEZE_META ? "\xE2\x96\x81" : " "));
    if (f & XC_TOK_META_NORM && f & XC_TOK_PREFIX_SPACE) bad |= json_array_append_new(list, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", "\xE2\x96\x81"));
    if (f & XC_TOK_META_NORM) bad |= json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", "\xE2\x96\x81"));
    if (bad) xc_json_free(&list);
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *metaspace_of(const struct xc_tokenizer *tok, bool split)
{
    const uint32_t f = tok->h->flags;

    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", "\xE2\x96\x81", "prepend_scheme", f & XC_TOK_PREFIX_SPACE ? "always" : f & XC_TOK_PREFIX_FIRST ? "first" : "never",
                     "split", split);
}

static json_t *unigram_pre_tokenizer_of(const struct xc_tokenizer *tok)
{
    json_t *meta = tok->h->flags & XC_TOK_META_NORM ? json_null() : metaspace_of(tok, tok->h->split != XC_TOK_SPLIT_NONE);

    if (tok->h->split != XC_TOK_SPLIT_WHITE_META) return meta;
    return json_pack("{s:s, s:[{s:s}, o]}", "type", "Sequence", "pretokenizers", "type", "WhitespaceSplit", meta);
}

static json_t *model_of(const struct xc_tokenizer *tok)
{
    const bool bpe = tok->h->model == XC_TOK_BPE;
    json_t *m = json_object(), *merges;
    int bad = json_object_set_new(m, "type", json_string(bpe ? "BPE" : "WordPiece"));

    bad |= json_object_set_new(m, "unk_token", tok->h->unk_id >= 0 ? text_of(tok, (uint32_t)tok->h->unk_id) : json_null());
    if (bpe) {
        bad |= json_object_set_new(m, "dropout", json_null());
        bad |= json_object_set_new(m, "continuing_subword_prefix", json_null());
        bad |= json_object_set_new(m, "end_of_word_suffix", json_null());
        bad |= json_object_set_new(m, "fuse_unk", json_boolean(tok->h->flags & XC_TOK_FUSE_UNK));
        bad |= json_object_set_new(m, "byte_fallback", json_boolean(tok->h->flags & XC_TOK_BYTE_FALLBACK));
        bad |= json_object_set_new(m, "ignore_merges", json_boolean(tok->h->flags & XC_TOK_WHOLE_WORDS));
    } else {
        bad |= json_object_set_new(m, "continuing_subword_prefix",
                                   json_stringn((const char *)tok->h + tok->h->array[XC_TOK_PREFIX].offset, tok->n_prefix));
        bad |= json_object_set_new(m, "max_input_chars_per_word", json_integer(tok->h->max_word_chars));
    }
    bad |= put_vocab(m, tok);
    if (bpe) {
        merges = json_array();
        for (uint32_t i = 0; !bad && i < tok->n_merges; i++) {
            json_t *pair = json_array();

            bad |= json_array_append_new(pair, text_of(tok, tok->merges[i].left));
            bad |= json_array_append_new(pair, text_of(tok, tok->merges[i].right));
            bad |= json_array_append_new(merges, pair);
        }
        bad |= json_object_set_new(m, "merges", merges);
    }
    if (bad) xc_json_free(&m);
    return m;
}

static json_t *added_of(const struct xc_tokenizer *tok)
{
    json_t *list = json_array();
    int bad = !list;

    /* by ascending id, as the library writes them (and wants them: ids of new tokens follow each other) */
    for (int64_t last = -1; !bad;) {
        const struct xc_tok_added *a = NULL;

        for (uint32_t i = 0; i < tok->n_added; i++)
            if (tok->added[i].id > last && (!a || tok->added[i].id < a->id)) a = &tok->added[i];
        if (!a) break;
        last = a->id;
        bad |= json_array_append_new(list, json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)a->id, "content", text_of(tok, (uint32_t)a->id),
                                                     "single_word", !!(a->flags & XC_TOK_SINGLE_WORD), "lstrip", !!(a->flags & XC_TOK_LSTRIP),
                                                     "rstrip", !!(a->flags & XC_TOK_RSTRIP), "normalized", !!(a->flags & XC_TOK_NORMALIZED),
                                                     "special", !!(a->flags & XC_TOK_SPECIAL)));
    }
    if (bad) xc_json_free(&list);
    return list;
}

static json_t *pieces_of(const struct xc_tokenizer *tok, bool pair, json_t *special)
{
    const struct xc_tok_piece *p = tok->pieces + (pair ? tok->h->n_single : 0);
    json_t *list = json_array();
    int bad = !list;

    for (uint32_t i = 0; !bad && i < (pair ? tok->h->n_pair : tok->h->n_single); i++) {
        if (p[i].what != XC_TOK_PIECE_SPECIAL) {
            bad |= json_array_append_new(list, json_pack("{s:{s:s, s:i}}", "Sequence", "id", p[i].what == XC_TOK_PIECE_A ? "A" : "B", "type_id", p[i].type));
            continue;
        }
        json_t *name = text_of(tok, (uint32_t)p[i].id);

        bad |= !name;
        if (bad) break;
        bad |= json_array_append_new(list, json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", name, "type_id", p[i].type));
        bad |= json_object_setn_new(special, json_string_value(name), json_string_length(name),
                                    json_pack("{s:O, s:[i], s:[O]}", "id", name, "ids", (int)p[i].id, "tokens", name));
        json_decref(name);
    }
    if (bad) xc_json_free(&list);
    return list;
}

static json_t *post_processor_of(const struct xc_tokenizer *tok)
{
    json_t *special, *p;
    int bad;

    if (!(tok->h->flags & XC_TOK_TEMPLATE))
        return tok->h->split == XC_TOK_SPLIT_GPT2 ? json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1)
                                           : json_null();
    special = json_object();
    p = json_object();
    bad = json_object_set_new(p, "type", json_string("TemplateProcessing"));
    bad |= json_object_set_new(p, "single", pieces_of(tok, false, special));
    bad |= json_object_set_new(p, "pair", pieces_of(tok, true, special));
    bad |= json_object_set_new(p, "special_tokens", special);
    if (bad) xc_json_free(&p);
    return p;
}

static json_t *normalizer_of(const struct xc_tokenizer *tok)
{
    const uint32_t f = tok->h->flags;

    if (tok->h->split >= XC_TOK_SPLIT_NONE) return unigram_normalizer_of(tok);
    if (tok->h->model == XC_TOK_BPE) return json_null();
    return json_pack("{s:s, s:b, s:b, s:b, s:b}", "type", "BertNormalizer", "clean_text", !!(f & XC_TOK_CLEAN), "handle_chinese_chars", !!(f & XC_TOK_CJK), "strip_accents",
                     !!(f & XC_TOK_STRIP), "lowercase", !!(f & XC_TOK_LOWER));
}

static json_t *byte_level(bool prefix) { return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix, "trim_offsets", 1, "use_regex", 1); }

static json_t *pre_tokenizer_of(const struct xc_tokenizer *tok)
{
    if (tok->h->split >= XC_TOK_SPLIT_NONE) return unigram_pre_tokenizer_of(tok);
    return tok->h->model == XC_TOK_BPE ? byte_level(tok->h->flags & XC_TOK_PREFIX_SPACE) : json_pack("{s:s}", "type", "BertPreTokenizer");
}

static json_t *decoder_of(const struct xc_tokenizer *tok)
{
    if (tok->h->split >= XC_TOK_SPLIT_NONE) return metaspace_of(tok, true);
    if (tok->h->model == XC_TOK_BPE) return byte_level(true);
    return json_pack("{s:s, s:o, s:b}", "type", "WordPiece", "prefix", json_stringn((const char *)tok->h + tok->h->array[XC_TOK_PREFIX].offset, tok->n_prefix), "cleanup", 1);
}

static json_t *document(const struct xc_tokenizer *tok)
{
    json_t *d = json_object();
    int bad = json_object_set_new(d, "version", json_string("1.0"));

    bad |= json_object_set_new(d, "truncation", tok->h->max_tokens
        ? json_pack("{s:s, s:i, s:s, s:i}", "direction", tok->h->flags & XC_TOK_LEFT ? "Left" : "Right", "max_length", (int)tok->h->max_tokens, "strategy", "LongestFirst", "stride", 0)
        : json_null());
    bad |= json_object_set_new(d, "padding", json_null());
    bad |= json_object_set_new(d, "added_tokens", added_of(tok));
    bad |= json_object_set_new(d, "normalizer", normalizer_of(tok));
    bad |= json_object_set_new(d, "pre_tokenizer", pre_tokenizer_of(tok));
    bad |= json_object_set_new(d, "post_processor", post_processor_of(tok));
    bad |= json_object_set_new(d, "decoder", decoder_of(tok));
    bad |= json_object_set_new(d, "model", tok->h->model == XC_TOK_UNIGRAM ? unigram_of(tok) : model_of(tok));
    if (bad) xc_json_free(&d);
    return d;
}

/* A list of scores has no holes, and what is searched is all of it. */
static enum xc_status check_unigram(const struct xc_tokenizer *tok, struct xc_err *err)
{
    uint8_t *own = vocabulary_ids(tok);
    bool ended = false;
    enum xc_status status = own ? XC_OK : xc_fail_nomem(err, (size_t)tok->h->n_tokens);

    for (int32_t i = 0; i < tok->h->n_tokens && status == XC_OK; i++) {
        if (own[i] && (ended || tok->scores[i] != tok->scores[i]))
            status = xc_fail(err, XC_E_UNSUPPORTED, "token %d cannot be written as one of a list of scores", (int)i);
        ended |= !own[i];
    }
    xc_free(own);
    return status;
}

/* What encoding does not mind and JSON does: spellings that are not UTF-8, merges of ids that are not there. */
static enum xc_status check_writable(const struct xc_tokenizer *tok, struct xc_err *err)
{
    const uint32_t n = (uint32_t)tok->h->n_tokens;

    for (uint32_t i = 0; i < n; i++) {
        size_t len;
        const uint8_t *s = xc_tokenizer_string(tok, i, &len);

        if (!xc_utf8_valid(s, len)) return xc_fail(err, XC_E_FORMAT, "token %u is not UTF-8", (unsigned)i);
    }
    if (tok->h->flags & XC_TOK_SENTENCEPIECE) return xc_fail(err, XC_E_UNSUPPORTED, "a tokenizer of a SentencePiece model has no tokenizer.json that gives the same ids");
    if (!xc_utf8_valid((const uint8_t *)tok->h + tok->h->array[XC_TOK_PREFIX].offset, tok->n_prefix))
        return xc_fail(err, XC_E_FORMAT, "the prefix of continued words is not UTF-8");
    if (tok->h->model == XC_TOK_UNIGRAM) XC_TRY(check_unigram(tok, err));
    for (uint32_t i = 0; i < tok->n_merges; i++)
        if (tok->merges[i].left >= n || tok->merges[i].right >= n) return xc_fail(err, XC_E_RANGE, "merge %u joins ids outside the vocabulary", (unsigned)i);
    return XC_OK;
}

enum xc_status xc_tokenizer_decompile(char **json, size_t *size, struct xc_buf *section, struct xc_err *err)
{
    struct xc_tokenizer *tok;
    enum xc_status status;
    json_t *d;

    *json = NULL;
    *size = 0;
    XC_TRY(xc_tokenizer_open(&tok, section, err));
    status = check_writable(tok, err);
    if (status == XC_OK) {
        d = document(tok);
        status = d ? xc_json_text(json, size, d, 0, err) : xc_fail_nomem(err, section->size);
        xc_json_free(&d);
    }
    xc_tokenizer_free(&tok);
    return status;
}
