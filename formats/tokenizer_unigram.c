/* tokenizer_unigram: a tokenizer.json of type Unigram, and what goes before BPE of characters, as transformers makes them of SentencePiece models:
 * Precompiled, Strip and Replace in this order, Metaspace with or without WhitespaceSplit before it; or, in place of Metaspace, Prepend (U+2581) and Replace
 * (blanks by it). Other normalizers and pre-tokenizers are refused by name. */
#include <math.h>

#include "formats/tokenizer_source.h"
#include "runtime/text/charsmap.h"

#define META "\xE2\x96\x81" /* U+2581 */

enum xc_status xc_tok_set_byte_fallback(struct xc_tok_spec *spec, struct xc_err *err)
{
    spec->h.flags |= XC_TOK_BYTE_FALLBACK;
    for (unsigned c = 0; c < 256; c++) {
        char s[8];

        snprintf(s, sizeof s, "<0x%02X>", c);
        if (xc_tok_spec_find(spec, s, 6) < 0) return xc_fail(err, XC_E_FORMAT, "byte_fallback is on, but there is no token '%s'", s);
    }
    return XC_OK;
}

static enum xc_status read_model(struct xc_tok_spec *spec, const json_t *model, struct xc_err *err)
{
    json_t *vocab;
    double lowest = INFINITY;
    int64_t unk;
    bool on;

    XC_TRY(xc_json_array(&vocab, model, "vocab", err));
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *const pair = json_array_get(vocab, i), *const s = json_array_get(pair, 0), *const score = json_array_get(pair, 1);

        if (json_array_size(pair) != 2 || !json_is_string(s) || !json_is_number(score) || !(fabs(json_number_value(score)) <= 1e30))
            return xc_fail(err, XC_E_FORMAT, "token %zu must be a spelling and a score", i);
        XC_TRY(xc_tok_spec_add_token(spec, (int64_t)i, json_string_value(s), json_string_length(s), true, err));
        spec->tokens[i].score = json_number_value(score);
        lowest = fmin(lowest, spec->tokens[i].score);
    }
    if (!json_array_size(vocab)) return xc_fail(err, XC_E_FORMAT, "empty vocabulary");
    spec->unk_score = lowest - 10.0;
    if (!xc_json_as_int(&unk, json_object_get(model, "unk_id"), 0, (int64_t)json_array_size(vocab) - 1))
        return xc_fail(err, XC_E_UNSUPPORTED, "a Unigram model without an unk_id inside its vocabulary is not supported");
    spec->h.unk_id = (int32_t)unk;
    XC_TRY(xc_json_bool_or(&on, model, "byte_fallback", false, err));
    return on ? xc_tok_set_byte_fallback(spec, err) : XC_OK;
}

static int digit(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648 with padding. */
static enum xc_status base64(uint8_t **out, size_t *n, const char *s, size_t len, struct xc_err *err)
{
    const size_t pad = len && s[len - 1] == '=' ? len > 1 && s[len - 2] == '=' ? 2 : 1 : 0;
    uint8_t *bytes;

    if (len % 4) return xc_fail(err, XC_E_FORMAT, "precompiled_charsmap is no base64");
    bytes = xc_malloc(len / 4 * 3 + 1);
    if (!bytes) return xc_fail_nomem(err, len);
    for (size_t i = 0; i < len; i += 4) {
        uint32_t group = 0;

        for (size_t k = 0; k < 4; k++) {
            const int d = i + k < len - pad ? digit(s[i + k]) : 0;

            if (d < 0) {
                xc_free(bytes);
                return xc_fail(err, XC_E_FORMAT, "precompiled_charsmap is no base64");
            }
            group = group << 6 | (uint32_t)d;
        }
        bytes[i / 4 * 3] = (uint8_t)(group >> 16);
        bytes[i / 4 * 3 + 1] = (uint8_t)(group >> 8);
        bytes[i / 4 * 3 + 2] = (uint8_t)group;
    }
    *out = bytes;
    *n = len / 4 * 3 - pad;
    return XC_OK;
}

/* *stage: how far in the order the sequence is. */
static enum xc_status read_normalizer(struct xc_tok_spec *spec, const json_t *n, int *stage, int depth, struct xc_err *err)
{
    const char *type, *content;
    const json_t *list, *item, *text;
    size_t i;
    struct xc_charsmap map;
    bool left, right;

    if (!n || json_is_null(n)) return XC_OK;
    XC_TRY(xc_tok_type_of(&type, n, "normalizer", err));
    if (xc_tok_is(type, "Sequence") && depth < 8) {
        list = json_object_get(n, "normalizers");
        json_array_foreach(list, i, item) XC_TRY(read_normalizer(spec, item, stage, depth + 1, err));
        return XC_OK;
    }
    if (xc_tok_is(type, "Precompiled") && *stage < 1) {
        *stage = 1;
        text = json_object_get(n, "precompiled_charsmap");
        if (!text || json_is_null(text)) return XC_OK;
        if (!json_is_string(text)) return xc_fail(err, XC_E_FORMAT, "precompiled_charsmap must be a string");
        XC_TRY(base64(&spec->charsmap, &spec->n_charsmap, json_string_value(text), json_string_length(text), err));
        return xc_charsmap_open(&map, spec->charsmap, spec->n_charsmap) ? XC_OK : xc_fail(err, XC_E_FORMAT, "precompiled_charsmap is damaged");
    }
    if (xc_tok_is(type, "Strip") && *stage < 2) {
        *stage = 2;
        XC_TRY(xc_json_bool_or(&left, n, "strip_left", true, err));
        XC_TRY(xc_json_bool_or(&right, n, "strip_right", true, err));
        spec->h.flags |= (left ? XC_TOK_STRIP_START : 0u) | (right ? XC_TOK_STRIP_END : 0u);
        return XC_OK;
    }
    if (xc_tok_is(type, "Prepend") && *stage < 4 && xc_tok_is(json_string_value(json_object_get(n, "prepend")), META)) {
        *stage = 4;
        spec->h.flags |= XC_TOK_PREFIX_SPACE;
        return XC_OK;
    }
    if (xc_tok_is(type, "Replace") && *stage < 5) {
        content = json_string_value(json_object_get(n, "content"));
        if (xc_tok_is(content, META) && xc_tok_is(json_string_value(json_object_get(json_object_get(n, "pattern"), "String")), " ")) {
            *stage = 5;
            spec->h.flags |= XC_TOK_META_NORM;
            return XC_OK;
        }
        if (*stage >= 3 || !xc_tok_is(json_string_value(json_object_get(json_object_get(n, "pattern"), "Regex")), " {2,}") || (!xc_tok_is(content, " ") && !xc_tok_is(content, META)))
            return xc_fail(err, XC_E_UNSUPPORTED, "a Replace of other than two and more blanks by one, or of blanks by U+2581, is not supported");
        *stage = 3;
        spec->h.flags |= XC_TOK_SQUEEZE | (xc_tok_is(content, META) ? XC_TOK_SQUEEZE_META : 0u);
        return XC_OK;
    }
    return xc_fail(err, XC_E_UNSUPPORTED, "normalizer '%.50s' is not supported here; Precompiled, Strip, Replace, Prepend and Replace in this order are", type);
}

static enum xc_status read_metaspace(struct xc_tok_spec *spec, const json_t *p, bool white, struct xc_err *err)
{
    const char *replacement, *scheme;
    bool split, prefix;

    XC_TRY(xc_json_str_or(&replacement, p, "replacement", META, err));
    if (!xc_tok_is(replacement, META)) return xc_fail(err, XC_E_UNSUPPORTED, "Metaspace with the replacement '%.20s' is not supported", replacement);
    XC_TRY(xc_json_bool_or(&prefix, p, "add_prefix_space", true, err)); /* files of before 2024 */
    XC_TRY(xc_json_str_or(&scheme, p, "prepend_scheme", prefix ? "always" : "never", err));
    if (xc_tok_is(scheme, "always")) spec->h.flags |= XC_TOK_PREFIX_SPACE;
    else if (xc_tok_is(scheme, "first")) spec->h.flags |= XC_TOK_PREFIX_FIRST;
    else if (!xc_tok_is(scheme, "never")) return xc_fail(err, XC_E_FORMAT, "prepend_scheme '%.20s' is none of always, first, never", scheme);
    XC_TRY(xc_json_bool_or(&split, p, "split", true, err));
    if (white && !split) return xc_fail(err, XC_E_UNSUPPORTED, "WhitespaceSplit before a Metaspace that does not split is not supported");
    spec->h.split = white ? XC_TOK_SPLIT_WHITE_META : split ? XC_TOK_SPLIT_META : XC_TOK_SPLIT_NONE;
    return XC_OK;
}

static enum xc_status read_pre_tokenizer(struct xc_tok_spec *spec, const json_t *p, struct xc_err *err)
{
    const char *type;
    bool white = false;

    if (spec->h.flags & XC_TOK_META_NORM) { /* there is no blank left to split at */
        spec->h.split = XC_TOK_SPLIT_NONE;
        if (!p || json_is_null(p) || xc_tok_is(json_string_value(json_object_get(json_object_get(p, "pattern"), "String")), " ")) return XC_OK;
        return xc_fail(err, XC_E_UNSUPPORTED, "a pre-tokenizer is not supported behind a Replace of blanks by U+2581");
    }
    if (!json_is_object(p) || spec->h.flags & XC_TOK_PREFIX_SPACE) return xc_fail(err, XC_E_UNSUPPORTED, "a tokenizer of characters without a pre-tokenizer or a Replace of blanks by U+2581 is not supported");
    XC_TRY(xc_tok_type_of(&type, p, "pre_tokenizer", err));
    if (xc_tok_is(type, "Sequence")) {
        const json_t *const list = json_object_get(p, "pretokenizers");
        const size_t n = json_array_size(list);

        white = n == 2 && xc_tok_is(json_string_value(json_object_get(json_array_get(list, 0), "type")), "WhitespaceSplit");
        if (n != 1 && !white) return xc_fail(err, XC_E_UNSUPPORTED, "a sequence of %zu pre-tokenizers other than WhitespaceSplit and Metaspace is not supported", n);
        p = json_array_get(list, n - 1);
        XC_TRY(xc_tok_type_of(&type, p, "pre_tokenizer", err));
    }
    if (!xc_tok_is(type, "Metaspace")) return xc_fail(err, XC_E_UNSUPPORTED, "pre-tokenizer '%.50s' is not supported with this model", type);
    return read_metaspace(spec, p, white, err);
}

enum xc_status xc_tok_read_unigram(struct xc_tok_source *src, const json_t *root, struct xc_err *err)
{
    src->spec.h.model = XC_TOK_UNIGRAM;
    XC_TRY(read_model(&src->spec, json_object_get(root, "model"), err));
    return xc_tok_read_characters(src, root, err);
}

enum xc_status xc_tok_read_characters(struct xc_tok_source *src, const json_t *root, struct xc_err *err)
{
    int stage = 0;

    XC_TRY(read_normalizer(&src->spec, json_object_get(root, "normalizer"), &stage, 0, err));
    return read_pre_tokenizer(&src->spec, json_object_get(root, "pre_tokenizer"), err);
}
