/* tokenizer: Hugging Face tokenizer files to a description (tokenizer_section.h), and a section back to tokenizer.json.
 *
 * What each file may say was read off the documentation of the tokenizers library and tried against it; anything else is refused by name. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/json.h"
#include "formats/tokenizer.h"
#include "formats/tokenizer_source.h"
#include "runtime/text/encoder.h"

#define MAX_FILE ((size_t)256 << 20)
#define MAX_MODEL_LENGTH 10000000.0 /* model_max_length above this means "none" (it is usually 1e30) */

static const char *const gpt2_pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

enum xc_status xc_tok_add_added(struct xc_tok_spec *spec, int32_t id, uint32_t flags, struct xc_err *err)
{
    for (size_t i = 0; i < spec->n_added; i++)
        if (spec->added[i].id == id) return XC_OK; /* the first one counts */
    XC_TRY(xc_grow((void **)&spec->added, &spec->added_cap, spec->n_added + 1, sizeof *spec->added, err));
    spec->added[spec->n_added++] = (struct xc_tok_added){id, flags};
    return XC_OK;
}

/* --- parts of tokenizer.json --- */

/* A vocabulary object: spelling -> id. */
enum xc_status xc_tok_read_vocab(struct xc_tok_spec *spec, const json_t *vocab, struct xc_err *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(vocab)) return xc_fail(err, XC_E_FORMAT, "the vocabulary must be an object of token: id");
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value) {
        int64_t id;

        if (!xc_json_as_int(&id, value, 0, XC_TOK_MAX_TOKENS - 1))
            return xc_fail(err, XC_E_RANGE, "token '%.100s' must have an id in [0, %d]", key, XC_TOK_MAX_TOKENS - 1);
        XC_TRY(xc_tok_spec_add_token(spec, id, key, strlen(key), true, err));
    }
    return XC_OK;
}

static enum xc_status add_merge(struct xc_tok_spec *spec, const char *a, size_t na, const char *b, size_t nb, struct xc_err *err)
{
    const int32_t left = xc_tok_spec_find(spec, a, na), right = xc_tok_spec_find(spec, b, nb);
    char both[2 * XC_TOK_MAX_TOKEN_BYTES];
    int32_t result;

    if (left < 0 || right < 0)
        return xc_fail(err, XC_E_FORMAT, "merge %zu: token '%.*s' is not in the vocabulary", spec->n_merges, (int)(left < 0 ? na : nb), left < 0 ? a : b);
    memcpy(both, a, na);
    memcpy(both + na, b, nb);
    result = xc_tok_spec_find(spec, both, na + nb);
    if (result < 0) return xc_fail(err, XC_E_FORMAT, "merge %zu: '%.*s' is not in the vocabulary", spec->n_merges, (int)(na + nb), both);
    if (spec->n_merges > UINT32_MAX / 64) return xc_fail(err, XC_E_LIMIT, "too many merges");
    XC_TRY(xc_grow((void **)&spec->merges, &spec->merges_cap, spec->n_merges + 1, sizeof *spec->merges, err));
    spec->merges[spec->n_merges++] = (struct xc_tok_merge){(uint32_t)left, (uint32_t)right, (uint32_t)result};
    return XC_OK;
}

/* "a b" */
enum xc_status xc_tok_add_merge_line(struct xc_tok_spec *spec, const char *line, size_t n, struct xc_err *err)
{
    const char *gap = memchr(line, ' ', n);
    const size_t na = gap ? (size_t)(gap - line) : 0;

    if (!gap || memchr(gap + 1, ' ', n - na - 1)) return xc_fail(err, XC_E_FORMAT, "merge %zu must be two tokens", spec->n_merges);
    return add_merge(spec, line, na, gap + 1, n - na - 1, err);
}

static enum xc_status read_merges(struct xc_tok_spec *spec, const json_t *merges, struct xc_err *err)
{
    const json_t *m;
    size_t i;

    json_array_foreach(merges, i, m) {
        const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);

        if (json_is_string(m))
            XC_TRY(xc_tok_add_merge_line(spec, json_string_value(m), json_string_length(m), err));
        else if (json_array_size(m) == 2 && json_is_string(a) && json_is_string(b))
            XC_TRY(add_merge(spec, json_string_value(a), json_string_length(a), json_string_value(b), json_string_length(b), err));
        else
            return xc_fail(err, XC_E_FORMAT, "merge %zu must be two tokens", i);
    }
    return XC_OK;
}

enum xc_status xc_tok_set_unk(struct xc_tok_spec *spec, const char *unk, struct xc_err *err)
{
    if (!unk) return XC_OK;
    spec->h.unk_id = xc_tok_spec_find(spec, unk, strlen(unk));
    return spec->h.unk_id >= 0 ? XC_OK : xc_fail(err, XC_E_FORMAT, "unknown token '%.100s' is not in the vocabulary", unk);
}

static enum xc_status read_wordpiece(struct xc_tok_spec *spec, const json_t *model, struct xc_err *err)
{
    int64_t limit;
    const char *unk;

    spec->h.model = XC_TOK_WORDPIECE;
    spec->h.split = XC_TOK_SPLIT_BERT;
    XC_TRY(xc_json_str_or(&spec->prefix, model, "continuing_subword_prefix", "##", err));
    if (strlen(spec->prefix) > 64) return xc_fail(err, XC_E_RANGE, "continuing_subword_prefix is too long");
    XC_TRY(xc_json_int_or(&limit, model, "max_input_chars_per_word", 0, XC_TOK_MAX_WORD_CHARS, 100, err));
    spec->h.max_word_chars = (int32_t)limit;
    XC_TRY(xc_tok_read_vocab(spec, json_object_get(model, "vocab"), err));
    XC_TRY(xc_json_str_or(&unk, model, "unk_token", "[UNK]", err));
    return xc_tok_set_unk(spec, unk, err);
}

static enum xc_status read_bpe(struct xc_tok_spec *spec, const json_t *model, struct xc_err *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *text;
    json_t *merges;
    double dropout;
    bool on;

    spec->h.model = XC_TOK_BPE;
    for (size_t i = 0; i < XC_ARRAY_LEN(affixes); i++) {
        XC_TRY(xc_json_str_or(&text, model, affixes[i], "", err));
        if (*text) return xc_fail(err, XC_E_UNSUPPORTED, "BPE with %s '%.50s' is not supported", affixes[i], text);
    }
    XC_TRY(xc_json_number_or(&dropout, model, "dropout", 0, 1, 0, err));
    if (dropout > 0) return xc_fail(err, XC_E_UNSUPPORTED, "BPE with dropout is not supported");
    XC_TRY(xc_json_bool_or(&on, model, "fuse_unk", false, err));
    if (on) spec->h.flags |= XC_TOK_FUSE_UNK;
    XC_TRY(xc_json_bool_or(&on, model, "ignore_merges", false, err));
    if (on) spec->h.flags |= XC_TOK_WHOLE_WORDS;
    XC_TRY(xc_tok_read_vocab(spec, json_object_get(model, "vocab"), err));
    XC_TRY(xc_json_array(&merges, model, "merges", err));
    XC_TRY(read_merges(spec, merges, err));
    XC_TRY(xc_json_str_or(&text, model, "unk_token", NULL, err));
    XC_TRY(xc_tok_set_unk(spec, text, err));
    XC_TRY(xc_json_bool_or(&on, model, "byte_fallback", false, err));
    if (on) spec->h.flags |= XC_TOK_BYTE_FALLBACK;
    return XC_OK;
}

/* files of before 2020 do not name it */
static enum xc_status model_type(const char **type, json_t **model, const json_t *root, struct xc_err *err)
{
    XC_TRY(xc_json_object(model, root, "model", err));
    return xc_json_str_or(type, *model, "type", json_object_get(*model, "merges") ? "BPE" : json_object_get(*model, "max_input_chars_per_word") ? "WordPiece" : "", err);
}

static enum xc_status read_model(struct xc_tok_spec *spec, const json_t *root, struct xc_err *err)
{
    const char *type;
    json_t *model;

    XC_TRY(model_type(&type, &model, root, err));
    if (xc_tok_is(type, "WordPiece")) return read_wordpiece(spec, model, err);
    if (xc_tok_is(type, "BPE")) return read_bpe(spec, model, err);
    return xc_fail(err, XC_E_UNSUPPORTED, "tokenizer model '%.50s' is not supported; WordPiece, BPE and Unigram are", type);
}

enum xc_status xc_tok_type_of(const char **type, const json_t *part, const char *what, struct xc_err *err)
{
    enum xc_status status = xc_json_str(type, part, "type", err);

    return status == XC_OK ? XC_OK : xc_fail(err, status, "%s must have a type", what);
}

static enum xc_status read_bert_normalizer(struct xc_tok_spec *spec, const json_t *n, struct xc_err *err)
{
    bool clean, cjk, lower, strip;

    XC_TRY(xc_json_bool_or(&clean, n, "clean_text", true, err));
    XC_TRY(xc_json_bool_or(&cjk, n, "handle_chinese_chars", true, err));
    XC_TRY(xc_json_bool_or(&lower, n, "lowercase", true, err));
    XC_TRY(xc_json_bool_or(&strip, n, "strip_accents", lower, err));
    spec->h.flags |= (clean ? XC_TOK_CLEAN : 0u) | (cjk ? XC_TOK_CJK : 0u) | (lower ? XC_TOK_LOWER : 0u) | (strip ? XC_TOK_STRIP : 0u);
    return XC_OK;
}

static enum xc_status read_normalizer(struct xc_tok_spec *spec, const json_t *n, int depth, struct xc_err *err)
{
    const char *type;
    const json_t *list;

    if (!n || json_is_null(n)) return XC_OK;
    XC_TRY(xc_tok_type_of(&type, n, "normalizer", err));
    list = json_object_get(n, "normalizers");
    if (xc_tok_is(type, "Sequence") && depth < 8) {
        if (json_array_size(list) == 0) return XC_OK;
        if (json_array_size(list) == 1) return read_normalizer(spec, json_array_get(list, 0), depth + 1, err);
        return xc_fail(err, XC_E_UNSUPPORTED, "a sequence of %zu normalizers is not supported", json_array_size(list));
    }
    if (spec->h.model == XC_TOK_WORDPIECE) {
        if (xc_tok_is(type, "BertNormalizer")) return read_bert_normalizer(spec, n, err);
        if (xc_tok_is(type, "Lowercase")) {
            spec->h.flags |= XC_TOK_LOWER;
            return XC_OK;
        }
    }
    return xc_fail(err, XC_E_UNSUPPORTED, "normalizer '%.50s' is not supported with this model", type);
}

/* A Split that does what ByteLevel's own pattern does. */
static enum xc_status read_split(const json_t *p, struct xc_err *err)
{
    const char *pattern = json_string_value(json_object_get(json_object_get(p, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(p, "behavior"));

    if (!pattern) return xc_fail(err, XC_E_UNSUPPORTED, "a Split without a regular expression is not supported");
    if (!xc_tok_is(pattern, gpt2_pattern)) return xc_fail(err, XC_E_UNSUPPORTED, "split pattern '%.150s' is not supported", pattern);
    if (!xc_tok_is(behavior, "Isolated") || json_is_true(json_object_get(p, "invert")))
        return xc_fail(err, XC_E_UNSUPPORTED, "a Split with behavior '%.50s' is not supported", behavior ? behavior : "");
    return XC_OK;
}

static enum xc_status read_byte_level(struct xc_tok_spec *spec, const json_t *p, bool has_split, struct xc_err *err)
{
    bool prefix, regex;

    XC_TRY(xc_json_bool_or(&prefix, p, "add_prefix_space", true, err));
    XC_TRY(xc_json_bool_or(&regex, p, "use_regex", true, err));
    if (regex == has_split || (has_split && prefix)) return xc_fail(err, XC_E_UNSUPPORTED, "ByteLevel with use_regex %s is not supported here", regex ? "true" : "false");
    if (spec->h.flags & XC_TOK_BYTE_FALLBACK) return xc_fail(err, XC_E_UNSUPPORTED, "byte_fallback is not supported with ByteLevel");
    if (prefix) spec->h.flags |= XC_TOK_PREFIX_SPACE;
    spec->h.split = XC_TOK_SPLIT_GPT2;
    return XC_OK;
}

static enum xc_status read_pre_tokenizer(struct xc_tok_spec *spec, const json_t *p, struct xc_err *err)
{
    const json_t *list;
    const char *type;

    if (!json_is_object(p)) return xc_fail(err, XC_E_UNSUPPORTED, "a tokenizer without a pre-tokenizer is not supported");
    XC_TRY(xc_tok_type_of(&type, p, "pre_tokenizer", err));
    if (xc_tok_is(type, "Sequence")) {
        list = json_object_get(p, "pretokenizers");
        if (json_array_size(list) == 2 && xc_tok_is(json_string_value(json_object_get(json_array_get(list, 0), "type")), "Split") &&
            xc_tok_is(json_string_value(json_object_get(json_array_get(list, 1), "type")), "ByteLevel") && spec->h.model == XC_TOK_BPE) {
            XC_TRY(read_split(json_array_get(list, 0), err));
            return read_byte_level(spec, json_array_get(list, 1), true, err);
        }
        if (json_array_size(list) != 1)
            return xc_fail(err, XC_E_UNSUPPORTED, "a sequence of %zu pre-tokenizers is not supported", json_array_size(list));
        p = json_array_get(list, 0);
        XC_TRY(xc_tok_type_of(&type, p, "pre_tokenizer", err));
    }
    if (xc_tok_is(type, "BertPreTokenizer") && spec->h.model == XC_TOK_WORDPIECE) return XC_OK;
    if (xc_tok_is(type, "ByteLevel") && spec->h.model == XC_TOK_BPE) return read_byte_level(spec, p, false, err);
    if (xc_tok_is(type, "Split")) {
        XC_TRY(read_split(p, err)); /* an unknown pattern is named */
        return xc_fail(err, XC_E_UNSUPPORTED, "a Split without ByteLevel is not supported");
    }
    return xc_fail(err, XC_E_UNSUPPORTED, "pre-tokenizer '%.50s' is not supported with this model", type);
}

enum xc_status xc_tok_read_added(struct xc_tok_spec *spec, const json_t *list, struct xc_err *err)
{
    static const struct { const char *key; uint32_t flag; } names[] = {
        {"single_word", XC_TOK_SINGLE_WORD}, {"lstrip", XC_TOK_LSTRIP}, {"rstrip", XC_TOK_RSTRIP}, {"normalized", XC_TOK_NORMALIZED}, {"special", XC_TOK_SPECIAL}};
    const json_t *t;
    size_t i;

    /* Special tokens come before the others in a search, and so here; in the file they are in the order of their ids. */
    for (int pass = 0; pass < 2; pass++)
        json_array_foreach(list, i, t) {
            const bool special = json_is_true(json_object_get(t, "special"));
            const char *s;
            uint32_t flags = 0;
            int32_t known;
            int64_t id;

            XC_TRY(xc_json_str(&s, t, "content", err));
            XC_TRY(xc_json_int(&id, t, "id", 0, XC_TOK_MAX_TOKENS - 1, err));
            if (special != !pass || !*s) continue;
            for (size_t k = 0; k < XC_ARRAY_LEN(names); k++) {
                bool on;

                XC_TRY(xc_json_bool_or(&on, t, names[k].key, false, err));
                if (on) flags |= names[k].flag;
            }
            if (strstr(s, "\xEF\xBF\xBD")) return xc_fail(err, XC_E_UNSUPPORTED, "added token %lld holds U+FFFD", (long long)id);
            known = xc_tok_spec_find(spec, s, strlen(s));
            if (known >= 0 && known != id)
                return xc_fail(err, XC_E_FORMAT, "added token '%.100s' has id %lld, and %d in the vocabulary", s, (long long)id, (int)known);
            if (known >= 0)
                flags |= XC_TOK_IN_VOCAB;
            else if (xc_tok_spec_find_any(spec, s, strlen(s)) >= 0)
                continue;
            else
                XC_TRY(xc_tok_spec_add_token(spec, id, s, strlen(s), false, err));
            XC_TRY(xc_tok_add_added(spec, (int32_t)id, flags, err));
        }
    return XC_OK;
}

/* --- post-processors --- */

static enum xc_status add_piece(struct xc_tok_spec *spec, bool pair, uint8_t what, int64_t type, int32_t id, struct xc_err *err)
{
    uint32_t *n = pair ? &spec->h.n_pair : &spec->h.n_single;

    if (*n == XC_TOK_MAX_PIECES) return xc_fail(err, XC_E_LIMIT, "template of more than %d pieces", XC_TOK_MAX_PIECES);
    (pair ? spec->pair : spec->single)[(*n)++] = (struct xc_tok_piece){what, (uint8_t)type, 0, id};
    return XC_OK;
}

static enum xc_status add_template(struct xc_tok_spec *spec, bool pair, const json_t *list, const json_t *special, struct xc_err *err)
{
    int seen[2] = {0};
    const json_t *p;
    size_t i;

    json_array_foreach(list, i, p) {
        const json_t *sp = json_object_get(p, "SpecialToken"), *seq = json_object_get(p, "Sequence");
        const char *name;
        int64_t type;

        if (!sp && !seq) return xc_fail(err, XC_E_FORMAT, "template piece %zu is neither a text nor a special token", i);
        XC_TRY(xc_json_str(&name, sp ? sp : seq, "id", err));
        XC_TRY(xc_json_int_or(&type, sp ? sp : seq, "type_id", 0, 255, 0, err));
        if (seq) {
            const bool b = xc_tok_is(name, "B");

            if (!b && !xc_tok_is(name, "A")) return xc_fail(err, XC_E_FORMAT, "template names text '%.50s'", name);
            seen[b]++;
            XC_TRY(add_piece(spec, pair, b ? XC_TOK_PIECE_B : XC_TOK_PIECE_A, type, 0, err));
        } else {
            const json_t *ids = json_object_get(json_object_get(special, name), "ids");
            int64_t id;

            if (json_array_size(ids) == 0) return xc_fail(err, XC_E_FORMAT, "template token '%.50s' has no ids", name);
            for (size_t k = 0; k < json_array_size(ids); k++) {
                if (!xc_json_as_int(&id, json_array_get(ids, k), 0, (int64_t)spec->n_tokens - 1))
                    return xc_fail(err, XC_E_RANGE, "template token '%.50s' has an id outside the vocabulary", name);
                XC_TRY(add_piece(spec, pair, XC_TOK_PIECE_SPECIAL, type, (int32_t)id, err));
            }
        }
    }
    if (seen[0] != 1 || seen[1] != pair) return xc_fail(err, XC_E_UNSUPPORTED, "a template that does not hold each text once is not supported");
    return XC_OK;
}

/* cls A sep [sep] B sep, as BertProcessing and RobertaProcessing make them. */
enum xc_status xc_tok_add_usual(struct xc_tok_spec *spec, int32_t cls, int32_t sep, bool roberta, struct xc_err *err)
{
    const uint8_t b = !roberta;

    spec->h.flags |= XC_TOK_TEMPLATE;
    spec->h.n_single = spec->h.n_pair = 0;
    for (int pair = 0; pair < 2; pair++) {
        XC_TRY(add_piece(spec, pair, XC_TOK_PIECE_SPECIAL, 0, cls, err));
        XC_TRY(add_piece(spec, pair, XC_TOK_PIECE_A, 0, 0, err));
        XC_TRY(add_piece(spec, pair, XC_TOK_PIECE_SPECIAL, 0, sep, err));
        if (!pair) continue;
        if (roberta) XC_TRY(add_piece(spec, pair, XC_TOK_PIECE_SPECIAL, 0, sep, err));
        XC_TRY(add_piece(spec, pair, XC_TOK_PIECE_B, b, 0, err));
        XC_TRY(add_piece(spec, pair, XC_TOK_PIECE_SPECIAL, b, sep, err));
    }
    return XC_OK;
}

/* A, and A B: what is made without a post-processor. */
enum xc_status xc_tok_add_plain(struct xc_tok_spec *spec, struct xc_err *err)
{
    XC_TRY(add_piece(spec, false, XC_TOK_PIECE_A, 0, 0, err));
    XC_TRY(add_piece(spec, true, XC_TOK_PIECE_A, 0, 0, err));
    return add_piece(spec, true, XC_TOK_PIECE_B, 1, 0, err);
}

static enum xc_status read_post_processor(struct xc_tok_spec *spec, const json_t *p, int depth, struct xc_err *err)
{
    const char *type;
    const json_t *list, *item;
    size_t i;

    if (!p || json_is_null(p)) return XC_OK;
    XC_TRY(xc_tok_type_of(&type, p, "post_processor", err));
    if (xc_tok_is(type, "ByteLevel")) return XC_OK; /* offsets only */
    if (xc_tok_is(type, "Sequence") && depth < 8) {
        list = json_object_get(p, "processors");
        json_array_foreach(list, i, item) XC_TRY(read_post_processor(spec, item, depth + 1, err));
        return XC_OK;
    }
    if (spec->h.n_single) return xc_fail(err, XC_E_UNSUPPORTED, "a second post-processor ('%.50s') is not supported", type);
    if (xc_tok_is(type, "TemplateProcessing")) {
        const json_t *special = json_object_get(p, "special_tokens");

        spec->h.flags |= XC_TOK_TEMPLATE;
        XC_TRY(add_template(spec, false, json_object_get(p, "single"), special, err));
        return add_template(spec, true, json_object_get(p, "pair"), special, err);
    }
    if (xc_tok_is(type, "BertProcessing") || xc_tok_is(type, "RobertaProcessing")) {
        int64_t cls, sep;

        if (!xc_json_as_int(&cls, json_array_get(json_object_get(p, "cls"), 1), 0, (int64_t)spec->n_tokens - 1) ||
            !xc_json_as_int(&sep, json_array_get(json_object_get(p, "sep"), 1), 0, (int64_t)spec->n_tokens - 1))
            return xc_fail(err, XC_E_FORMAT, "%s must have cls and sep of the vocabulary", type);
        return xc_tok_add_usual(spec, (int32_t)cls, (int32_t)sep, xc_tok_is(type, "RobertaProcessing"), err);
    }
    return xc_fail(err, XC_E_UNSUPPORTED, "post-processor '%.50s' is not supported", type);
}

/* BPE of characters: nothing before it, or a Metaspace, or a Split at a string. */
static bool of_characters(const json_t *p)
{
    const json_t *const list = json_object_get(p, "pretokenizers");
    const json_t *const last = json_array_size(list) ? json_array_get(list, json_array_size(list) - 1) : p;

    return !last || json_is_null(last) || xc_tok_is(json_string_value(json_object_get(last, "type")), "Metaspace") || json_object_get(json_object_get(last, "pattern"), "String");
}

static enum xc_status read_tokenizer_json(struct xc_tok_source *src, struct xc_err *err)
{
    struct xc_tok_spec *spec = &src->spec;
    const json_t *root = src->json, *truncation = json_object_get(root, "truncation"), *pre = json_object_get(root, "pre_tokenizer");
    const char *type;
    json_t *model;

    XC_TRY(model_type(&type, &model, root, err));
    if (xc_tok_is(type, "Unigram")) {
        XC_TRY(xc_tok_read_unigram(src, root, err));
    } else {
        XC_TRY(read_model(spec, root, err));
        if (spec->h.model == XC_TOK_BPE && of_characters(pre)) {
            if (spec->h.flags & XC_TOK_WHOLE_WORDS) return xc_fail(err, XC_E_UNSUPPORTED, "ignore_merges is not supported without ByteLevel");
            if (spec->h.flags & XC_TOK_BYTE_FALLBACK) XC_TRY(xc_tok_set_byte_fallback(spec, err));
            XC_TRY(xc_tok_read_characters(src, root, err));
        } else {
            XC_TRY(read_normalizer(spec, json_object_get(root, "normalizer"), 0, err));
            XC_TRY(read_pre_tokenizer(spec, pre, err));
        }
    }
    XC_TRY(xc_tok_read_added(spec, json_object_get(root, "added_tokens"), err));
    XC_TRY(read_post_processor(spec, json_object_get(root, "post_processor"), 0, err));
    if (!spec->h.n_single) XC_TRY(xc_tok_add_plain(spec, err));
    if (json_is_object(truncation)) {
        int64_t limit;

        XC_TRY(xc_json_int_or(&limit, truncation, "max_length", 0, INT32_MAX, 0, err));
        spec->h.max_tokens = (int32_t)limit;
        if (xc_tok_is(json_string_value(json_object_get(truncation, "direction")), "Left")) spec->h.flags |= XC_TOK_LEFT;
    }
    return XC_OK;
}

/* --- all together --- */

static enum xc_status find_roles(struct xc_tok_source *src)
{
    static const struct { const char *key, *usual[3]; } roles[XC_TOKEN_ROLE_COUNT] = {
        [XC_TOKEN_CLS] = {"cls_token", {"[CLS]", "<s>"}},   [XC_TOKEN_SEP] = {"sep_token", {"[SEP]", "</s>"}},
        [XC_TOKEN_PAD] = {"pad_token", {"[PAD]", "<pad>"}}, [XC_TOKEN_UNK] = {"unk_token", {"[UNK]", "<unk>"}},
        [XC_TOKEN_MASK] = {"mask_token", {"[MASK]", "<mask>"}},
    };

    for (int i = 0; i < XC_TOKEN_ROLE_COUNT; i++) {
        const char *s = xc_tok_role_text(src, roles[i].key);
        int32_t id = s ? xc_tok_spec_find_any(&src->spec, s, strlen(s)) : -1;

        if (i == XC_TOKEN_UNK && src->spec.h.unk_id >= 0) id = src->spec.h.unk_id;
        for (int k = 0; id < 0 && roles[i].usual[k]; k++) id = xc_tok_spec_find_any(&src->spec, roles[i].usual[k], strlen(roles[i].usual[k]));
        src->spec.h.roles[i] = id;
    }
    return XC_OK;
}

static enum xc_status set_limit(struct xc_tok_source *src, const struct xc_tokenizer_compile_opts *opts, struct xc_err *err)
{
    double length;
    const char *side;

    XC_TRY(xc_json_str_or(&side, src->config, "truncation_side", NULL, err));
    if (xc_tok_is(side, "left")) src->spec.h.flags |= XC_TOK_LEFT;
    if (xc_tok_is(side, "right")) src->spec.h.flags &= ~(uint32_t)XC_TOK_LEFT;
    XC_TRY(xc_json_number_or(&length, src->config, "model_max_length", 0, 1e300, 0, err));
    if (length >= 1 && length <= MAX_MODEL_LENGTH) src->spec.h.max_tokens = (int32_t)length;
    if (opts && opts->max_tokens < 0) return xc_fail(err, XC_E_ARG, "limit of %d tokens", (int)opts->max_tokens);
    if (opts && opts->max_tokens) src->spec.h.max_tokens = opts->max_tokens;
    return XC_OK;
}

static enum xc_status parse(json_t **out, const struct xc_tokenizer_file *f, const char *name, struct xc_err *err)
{
    if (!f->bytes) return XC_OK;
    XC_TRY(xc_json_parse(out, f->bytes, f->size, name, NULL, err));
    return json_is_object(*out) ? XC_OK : xc_fail_at(err, xc_fail(err, XC_E_FORMAT, "not a JSON object"), "%s", name);
}

static enum xc_status compile(struct xc_buf **out, struct xc_tok_source *src, const struct xc_tokenizer_compile_opts *opts, struct xc_err *err)
{
    const struct xc_tokenizer_files *f = src->files;
    enum xc_status status;
    const char *name;

    XC_TRY(parse(&src->config, &f->config, "tokenizer_config.json", err));
    XC_TRY(parse(&src->special, &f->special, "special_tokens_map.json", err));
    XC_TRY(parse(&src->added, &f->added, "added_tokens.json", err));
    if (!src->config) { /* so that the getters find their defaults */
        src->config = json_object();
        if (!src->config) return xc_fail_nomem(err, sizeof(json_t));
    }
    if (f->json.bytes) {
        name = "tokenizer.json";
        XC_TRY(parse(&src->json, &f->json, name, err));
        status = read_tokenizer_json(src, err);
    } else if (f->spm.bytes) {
        name = "spiece.model";
        status = xc_tok_read_sentencepiece(src, err);
    } else if (f->vocab_txt.bytes) {
        name = "vocab.txt";
        status = xc_tok_read_vocab_txt(src, err);
    } else if (f->vocab_json.bytes && f->merges_txt.bytes) {
        name = "vocab.json";
        XC_TRY(parse(&src->vocab, &f->vocab_json, name, err));
        status = xc_tok_read_vocab_json(src, err);
    } else {
        return xc_fail(err, XC_E_NOT_FOUND, "no tokenizer.json, no spiece.model, no vocab.txt, no vocab.json with merges.txt");
    }
    if (status == XC_OK) status = xc_utf8_valid((const uint8_t *)src->spec.prefix, strlen(src->spec.prefix)) ? XC_OK : XC_E_FORMAT;
    if (status != XC_OK) return xc_fail_at(err, status, "%s", name);
    status = set_limit(src, opts, err);
    if (status != XC_OK) return xc_fail_at(err, status, "tokenizer_config.json");
    find_roles(src);
    return xc_tok_spec_build(out, &src->spec, err);
}

enum xc_status xc_tokenizer_compile_files(struct xc_buf **out, const struct xc_tokenizer_files *files, const struct xc_tokenizer_compile_opts *opts,
                                          struct xc_err *err)
{
    struct xc_tok_source src = {.files = files};
    enum xc_status status;

    *out = NULL;
    xc_tok_spec_init(&src.spec);
    status = compile(out, &src, opts, err);
    xc_tok_spec_release(&src.spec);
    xc_json_free(&src.json);
    xc_json_free(&src.config);
    xc_json_free(&src.special);
    xc_json_free(&src.added);
    xc_json_free(&src.vocab);
    return status;
}

/* The whole file, or no bytes when it does not exist. */
static enum xc_status read_file(struct xc_tokenizer_file *f, const char *dir, const char *name, struct xc_err *err)
{
    char path[4096];
    enum xc_status status = XC_OK;
    struct stat st;
    char *bytes = NULL;
    size_t have = 0;
    int fd;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path) return xc_fail(err, XC_E_ARG, "path '%.100s' is too long", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR) return XC_OK;
        return xc_fail_at(err, xc_fail(err, XC_E_IO, "cannot open: %s", strerror(errno)), "%s", path);
    }
    if (fstat(fd, &st) != 0)
        status = xc_fail(err, XC_E_IO, "cannot stat: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = xc_fail(err, XC_E_IO, "not a regular file");
    else if (st.st_size > (off_t)MAX_FILE)
        status = xc_fail(err, XC_E_LIMIT, "%lld bytes, the limit is %zu", (long long)st.st_size, MAX_FILE);
    else if (!(bytes = xc_malloc((size_t)st.st_size + 1)))
        status = xc_fail_nomem(err, (size_t)st.st_size + 1);
    while (status == XC_OK && have < (size_t)st.st_size) {
        const ssize_t n = read(fd, bytes + have, (size_t)st.st_size - have);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = xc_fail(err, XC_E_IO, "cannot read: %s", strerror(errno));
        if (n <= 0) break;
        have += (size_t)n;
    }
    close(fd);
    if (status != XC_OK) {
        xc_free(bytes);
        return xc_fail_at(err, status, "%s", path);
    }
    f->bytes = bytes;
    f->size = have;
    return XC_OK;
}

enum xc_status xc_tokenizer_compile(struct xc_buf **out, const char *dir, const struct xc_tokenizer_compile_opts *opts, struct xc_err *err)
{
    struct xc_tokenizer_files f = {0};
    static const char *const spm[] = XC_TOKENIZER_SPM_NAMES;
    const struct { struct xc_tokenizer_file *file; const char *name; } list[] = {
        {&f.json, "tokenizer.json"}, {&f.config, "tokenizer_config.json"}, {&f.special, "special_tokens_map.json"}, {&f.added, "added_tokens.json"},
        {&f.spm, spm[0]}, {&f.spm, spm[1]}, {&f.spm, spm[2]}, {&f.vocab_txt, "vocab.txt"}, {&f.vocab_json, "vocab.json"}, {&f.merges_txt, "merges.txt"}};
    enum xc_status status = XC_OK;
    char place[sizeof err->where];

    *out = NULL;
    for (size_t i = 0; i < XC_ARRAY_LEN(list) && status == XC_OK; i++) {
        if (i >= 4 && f.json.bytes) break; /* tokenizer.json says it all */
        if (list[i].file->bytes) continue; /* found by another name */
        status = read_file(list[i].file, dir, list[i].name, err);
    }
    if (status == XC_OK) {
        status = xc_tokenizer_compile_files(out, &f, opts, err);
        if (status != XC_OK && err) { /* say which directory */
            memcpy(place, err->where, sizeof place);
            place[sizeof place - 1] = 0;
            err->where[0] = 0;
            if (place[0])
                xc_fail_at(err, status, "%s/%s", dir, place);
            else
                xc_fail_at(err, status, "%s", dir);
        }
    }
    for (size_t i = 0; i < XC_ARRAY_LEN(list); i++) {
        xc_free((void *)(uintptr_t)list[i].file->bytes);
        list[i].file->bytes = NULL;
    }
    return status;
}
