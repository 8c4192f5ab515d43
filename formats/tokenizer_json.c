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
        bad |= json_object_set_new(m, "byte_fallback", json_false());
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
        return tok->h->model == XC_TOK_BPE ? json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1)
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

static json_t *document(const struct xc_tokenizer *tok)
{
    const uint32_t f = tok->h->flags;
    const bool bpe = tok->h->model == XC_TOK_BPE;
    json_t *d = json_object();
    int bad = json_object_set_new(d, "version", json_string("1.0"));

    bad |= json_object_set_new(d, "truncation", tok->h->max_tokens
        ? json_pack("{s:s, s:i, s:s, s:i}", "direction", f & XC_TOK_LEFT ? "Left" : "Right", "max_length", (int)tok->h->max_tokens, "strategy", "LongestFirst", "stride", 0)
        : json_null());
    bad |= json_object_set_new(d, "padding", json_null());
    bad |= json_object_set_new(d, "added_tokens", added_of(tok));
    bad |= json_object_set_new(d, "normalizer", bpe ? json_null()
        : json_pack("{s:s, s:b, s:b, s:b, s:b}", "type", "BertNormalizer", "clean_text", !!(f & XC_TOK_CLEAN), "handle_chinese_chars", !!(f & XC_TOK_CJK),
                    "strip_accents", !!(f & XC_TOK_STRIP), "lowercase", !!(f & XC_TOK_LOWER)));
    bad |= json_object_set_new(d, "pre_tokenizer", bpe
        ? json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", !!(f & XC_TOK_PREFIX_SPACE), "trim_offsets", 1, "use_regex", 1)
        : json_pack("{s:s}", "type", "BertPreTokenizer"));
    bad |= json_object_set_new(d, "post_processor", post_processor_of(tok));
    bad |= json_object_set_new(d, "decoder", bpe
        ? json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1)
        : json_pack("{s:s, s:o, s:b}", "type", "WordPiece", "prefix", json_stringn((const char *)tok->h + tok->h->array[XC_TOK_PREFIX].offset, tok->n_prefix),
                    "cleanup", 1));
    bad |= json_object_set_new(d, "model", model_of(tok));
    if (bad) xc_json_free(&d);
    return d;
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
    if (!xc_utf8_valid((const uint8_t *)tok->h + tok->h->array[XC_TOK_PREFIX].offset, tok->n_prefix))
        return xc_fail(err, XC_E_FORMAT, "the prefix of continued words is not UTF-8");
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
