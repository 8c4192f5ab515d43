/* tokenizer_vocab: the files of before tokenizer.json: vocab.txt (BERT's WordPiece), vocab.json with merges.txt (byte-level BPE), and what
 * tokenizer_config.json, special_tokens_map.json and added_tokens.json say beside them. */
#include <stdlib.h>
#include <string.h>

#include "formats/tokenizer_source.h"
#include "runtime/text/unicode.h"

/* The spelling of a role: tokenizer_config.json, then special_tokens_map.json; a string or an object with "content". */
const char *xc_tok_role_text(const struct xc_tok_source *src, const char *role)
{
    const json_t *const from[] = {src->config, src->special};

    for (size_t i = 0; i < XC_ARRAY_LEN(from); i++) {
        const json_t *v = json_object_get(from[i], role);

        if (json_is_object(v)) v = json_object_get(v, "content");
        if (json_is_string(v)) return json_string_value(v);
    }
    return NULL;
}

static const char *role_text_or(const struct xc_tok_source *src, const char *role, const char *fallback)
{
    const char *s = xc_tok_role_text(src, role);

    return s ? s : fallback;
}

/* added_tokens_decoder of tokenizer_config.json ({"id": {"content", ...}}), or added_tokens.json ({"content": id}). */
enum xc_status xc_tok_read_more_added(struct xc_tok_source *src, struct xc_err *err)
{
    const json_t *decoder = json_object_get(src->config, "added_tokens_decoder");
    json_t *list = json_array(), *value;
    const char *key;
    enum xc_status status;
    int bad = !list;

    if (json_is_object(decoder)) {
        json_object_foreach((json_t *)(uintptr_t)decoder, key, value) {
            json_t *t = json_is_object(value) ? json_copy(value) : json_object(); /* what is no token fails in xc_tok_read_added */

            bad |= json_object_set_new(t, "id", json_integer(strtol(key, NULL, 10)));
            bad |= json_array_append_new(list, t);
        }
    } else {
        json_object_foreach(src->added, key, value) {
            bad |= json_array_append_new(list, json_pack("{s:s, s:O, s:b, s:b}", "content", key, "id", value, "normalized", 1, "special", 0));
        }
    }
    if (bad)
        status = xc_fail_nomem(err, sizeof(json_t));
    else
        status = xc_tok_read_added(&src->spec, list, err);
    xc_json_free(&list);
    return status;
}

static enum xc_status add_special(struct xc_tok_source *src, const char *s, uint32_t flags, int32_t *id, struct xc_err *err)
{
    *id = xc_tok_spec_find_any(&src->spec, s, strlen(s));
    if (*id < 0) return xc_fail(err, XC_E_FORMAT, "special token '%.100s' is not in the vocabulary", s);
    return xc_tok_add_added(&src->spec, *id, flags | XC_TOK_SPECIAL | XC_TOK_IN_VOCAB, err);
}

/* The next line, without its end; NULL after the last. */
static void next_line(const struct xc_tokenizer_file *f, size_t *at, const char **line, size_t *n)
{
    const char *end;

    if (*at >= f->size) {
        *line = NULL;
        return;
    }
    *line = f->bytes + *at;
    end = memchr(*line, '\n', f->size - *at);
    *n = end ? (size_t)(end - *line) : f->size - *at;
    *at += *n + 1;
    if (*n && (*line)[*n - 1] == '\r') --*n;
}

enum xc_status xc_tok_read_vocab_txt(struct xc_tok_source *src, struct xc_err *err)
{
    static const char *const names[] = {"pad_token", "unk_token", "cls_token", "sep_token", "mask_token"};
    static const char *const usual[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    struct xc_tok_spec *spec = &src->spec;
    bool lower, strip, cjk, basic;
    int32_t ids[5];
    const char *line;
    size_t at = 0, n = 0;

    spec->h.model = XC_TOK_WORDPIECE;
    spec->h.split = XC_TOK_SPLIT_BERT;
    spec->h.max_word_chars = 100;
    spec->prefix = "##";
    for (int64_t id = 0; next_line(&src->files->vocab_txt, &at, &line, &n), line; id++) {
        if (!xc_utf8_valid((const uint8_t *)line, n)) return xc_fail(err, XC_E_FORMAT, "line %lld is not UTF-8", (long long)id + 1);
        XC_TRY(xc_tok_spec_add_token(spec, id, line, n, true, err));
    }
    XC_TRY(xc_json_bool_or(&basic, src->config, "do_basic_tokenize", true, err));
    if (!basic) return xc_fail(err, XC_E_UNSUPPORTED, "do_basic_tokenize false is not supported");
    XC_TRY(xc_json_bool_or(&lower, src->config, "do_lower_case", true, err));
    XC_TRY(xc_json_bool_or(&strip, src->config, "strip_accents", lower, err));
    XC_TRY(xc_json_bool_or(&cjk, src->config, "tokenize_chinese_chars", true, err));
    spec->h.flags = XC_TOK_CLEAN | (cjk ? XC_TOK_CJK : 0u) | (lower ? XC_TOK_LOWER : 0u) | (strip ? XC_TOK_STRIP : 0u);
    XC_TRY(xc_tok_set_unk(spec, role_text_or(src, "unk_token", "[UNK]"), err));
    XC_TRY(xc_tok_read_more_added(src, err));
    for (int i = 0; i < 5; i++) {
        const char *s = role_text_or(src, names[i], usual[i]);

        if ((i == 0 || i == 4) && xc_tok_spec_find_any(spec, s, strlen(s)) < 0) continue; /* no padding and no masking is needed to encode */
        XC_TRY(add_special(src, s, 0, &ids[i], err));
    }
    return xc_tok_add_usual(spec, ids[2], ids[3], false, err);
}

/* Which family vocab.json + merges.txt belong to: the two differ in their template. */
static enum xc_status is_roberta(const struct xc_tok_source *src, bool *roberta, struct xc_err *err)
{
    static const char *const like_roberta[] = {"Roberta", "Bart", "Longformer", "LED"};
    const char *cls;

    XC_TRY(xc_json_str_or(&cls, src->config, "tokenizer_class", NULL, err));
    *roberta = xc_tok_spec_find(&src->spec, "<s>", 3) >= 0;
    if (!cls || strncmp(cls, "PreTrainedTokenizer", 19) == 0) return XC_OK;
    for (size_t i = 0; i < XC_ARRAY_LEN(like_roberta); i++) {
        *roberta = strncmp(cls, like_roberta[i], strlen(like_roberta[i])) == 0;
        if (*roberta) return XC_OK;
    }
    return strncmp(cls, "GPT2", 4) == 0 ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "tokenizer_class '%.50s' is not supported without a tokenizer.json", cls);
}

enum xc_status xc_tok_read_vocab_json(struct xc_tok_source *src, struct xc_err *err)
{
    static const char *const names[] = {"pad_token", "unk_token", "bos_token", "eos_token", "cls_token", "sep_token"};
    static const char *const usual[] = {"<pad>", "<unk>", "<s>", "</s>", "<s>", "</s>"};
    struct xc_tok_spec *spec = &src->spec;
    bool roberta, prefix;
    int32_t ids[6] = {0};
    const char *line, *s;
    size_t at = 0, n = 0;

    spec->h.model = XC_TOK_BPE;
    spec->h.split = XC_TOK_SPLIT_GPT2;
    XC_TRY(xc_tok_read_vocab(spec, src->vocab, err));
    while (next_line(&src->files->merges_txt, &at, &line, &n), line) {
        if (n == 0 || (n >= 8 && memcmp(line, "#version", 8) == 0)) continue;
        XC_TRY(xc_tok_add_merge_line(spec, line, n, err));
    }
    XC_TRY(is_roberta(src, &roberta, err));
    XC_TRY(xc_json_bool_or(&prefix, src->config, "add_prefix_space", false, err));
    if (prefix) spec->h.flags |= XC_TOK_PREFIX_SPACE;
    XC_TRY(xc_tok_read_more_added(src, err));
    for (int i = 0; i < 6; i++) {
        s = role_text_or(src, names[i], roberta ? usual[i] : (i == 0 || i > 3) ? NULL : "<|endoftext|>");
        if (!s || (i == 0 && xc_tok_spec_find_any(spec, s, strlen(s)) < 0)) continue;
        XC_TRY(add_special(src, s, 0, &ids[i], err));
    }
    s = role_text_or(src, "mask_token", roberta ? "<mask>" : NULL);
    if (s && xc_tok_spec_find_any(spec, s, strlen(s)) >= 0) XC_TRY(add_special(src, s, XC_TOK_LSTRIP, &ids[0], err));
    return roberta ? xc_tok_add_usual(spec, ids[4], ids[5], true, err) : xc_tok_add_plain(spec, err);
}
