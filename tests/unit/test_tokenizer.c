/* Tokenizers: ids of the Hugging Face library (tests/vectors/tokenizer, made by gen_tokenizer.py) and everything that may go wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/tokenizer.h"
#include "runtime/text/encoder.h"
#include "runtime/text/section.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/unicode.h"

static const char *const names[] = {"uncased", "cased", "roberta", "gpt2", "unigram", "unigram_bytes"};
enum { N_NAMES = 6 };

/* --- helpers --- */

#define OK(call) do { if ((call) != XC_OK) fail_msg("%s: %s: %s", #call, err.where, err.msg); } while (0)

static struct xc_buf *vector_file(const char *name)
{
    const char *root = getenv("XC_SOURCE_ROOT");
    struct xc_err err = {0};
    struct xc_buf *buf;
    char path[1024];

    snprintf(path, sizeof path, "%s/tests/vectors/tokenizer/%s", root ? root : ".", name);
    OK(xc_buf_map(&buf, path, &err));
    return buf;
}

static struct xc_buf *compile_vector(const char *name)
{
    const char *root = getenv("XC_SOURCE_ROOT");
    struct xc_err err = {0};
    struct xc_buf *section;
    char path[1024];

    snprintf(path, sizeof path, "%s/tests/vectors/tokenizer/%s", root ? root : ".", name);
    OK(xc_tokenizer_compile(&section, path, NULL, &err));
    return section;
}

static struct xc_tokenizer *open_section(struct xc_buf *section)
{
    struct xc_tokenizer *tok;
    struct xc_err err = {0};

    OK(xc_tokenizer_open(&tok, section, &err));
    return tok;
}

static enum xc_status compile_text(struct xc_buf **out, const char *json, struct xc_err *err)
{
    const struct xc_tokenizer_files f = {.json = {json, strlen(json)}};

    return xc_tokenizer_compile_files(out, &f, NULL, err);
}

static const uint8_t *take(const uint8_t **p, size_t n)
{
    const uint8_t *at = *p;

    *p += n;
    return at;
}

static uint32_t take_u16(const uint8_t **p)
{
    const uint8_t *b = take(p, 2);

    return (uint32_t)(b[0] | b[1] << 8);
}

static uint32_t take_u32(const uint8_t **p)
{
    const uint32_t low = take_u16(p);

    return low | take_u16(p) << 16;
}

static void expect_ids(const char *name, uint32_t i, const struct xc_tokens *out, const uint8_t **p, bool types)
{
    const uint32_t n = take_u16(p);

    if (out->n != n) fail_msg("%s, text %u: %zu ids, not %u", name, i, out->n, n);
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t id = take_u16(p);

        if (out->ids[k] != (int32_t)id) fail_msg("%s, text %u, token %u: id %d, not %u", name, i, k, (int)out->ids[k], id);
    }
    if (types) assert_memory_equal(out->types, take(p, n), n);
}

static void expect_vector(const char *name, struct xc_tokenizer *tok)
{
    const struct xc_encode_opts all = {.no_truncate = true};
    struct xc_buf *texts = vector_file("texts.bin"), *ids;
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    const uint8_t *t = texts->data, *p;
    char path[64];

    snprintf(path, sizeof path, "%s/ids.bin", name);
    ids = vector_file(path);
    p = ids->data;
    for (uint32_t i = 0, n = take_u32(&t); i < n; i++) {
        const uint32_t len = take_u32(&t);
        char *copy = malloc(len ? len : 1); /* of its exact size: a read past the end is found */

        memcpy(copy, take(&t, len), len);
        out.n = 0;
        OK(xc_tokenizer_encode(tok, &out, copy, len, NULL, 0, &all, &err));
        free(copy);
        expect_ids(name, i, &out, &p, false);
    }
    assert_ptr_equal(p, ids->data + ids->size);
    xc_tokens_release(&out);
    xc_buf_unref(&ids);
    xc_buf_unref(&texts);
}

/* --- the same ids --- */

static void test_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct xc_buf *section = compile_vector(names[i]);
        struct xc_tokenizer *tok = open_section(section);

        expect_vector(names[i], tok);
        assert_string_equal(xc_tokenizer_kind(tok), i < 2 ? "wordpiece" : i < 4 ? "bpe" : "unigram");
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
}

static void test_modes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct xc_buf *section = compile_vector(names[i]), *file;
        struct xc_tokenizer *tok = open_section(section);
        struct xc_tokens out = {0};
        struct xc_err err = {0};
        const uint8_t *p;
        char path[64];
        uint32_t n = 0;

        snprintf(path, sizeof path, "%s/modes.bin", names[i]);
        file = vector_file(path);
        for (p = file->data; p < file->data + file->size; n++) {
            const uint32_t flags = take_u16(&p), limit = take_u16(&p), n_texts = take_u16(&p);
            const struct xc_encode_opts opts = {.max_tokens = (int32_t)limit, .no_special = flags & 2, .no_truncate = limit == 0};
            char *texts[512];
            size_t lens[512];

            assert_true(n_texts <= 512);
            for (uint32_t k = 0; k < n_texts; k++) {
                lens[k] = take_u16(&p);
                texts[k] = malloc(lens[k] + 1);
                memcpy(texts[k], take(&p, lens[k]), lens[k]);
                texts[k][lens[k]] = 0;
            }
            out.n = 0;
            if (flags & 4)
                OK(xc_tokenizer_encode_words(tok, &out, (const char *const *)texts, n_texts, &opts, &err));
            else
                OK(xc_tokenizer_encode(tok, &out, texts[0], lens[0], flags & 1 ? texts[1] : NULL, flags & 1 ? lens[1] : 0, &opts, &err));
            for (uint32_t k = 0; k < n_texts; k++) free(texts[k]);
            expect_ids(names[i], n, &out, &p, true);
            if (limit) assert_true(out.n <= limit);
        }
        assert_int_equal(n, 250);
        xc_tokens_release(&out);
        xc_buf_unref(&file);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
}

/* Compiling is deterministic; what decompile writes compiles to the same ids. */
static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct xc_buf *section = compile_vector(names[i]), *again = compile_vector(names[i]);
        struct xc_tokenizer *tok;
        struct xc_err err = {0};
        char *json;
        size_t n;

        assert_int_equal(section->size, again->size);
        assert_memory_equal(section->data, again->data, section->size);
        xc_buf_unref(&again);
        OK(xc_tokenizer_decompile(&json, &n, section, &err));
        OK(compile_text(&again, json, &err));
        tok = open_section(again);
        expect_vector(names[i], tok);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&again);
        xc_buf_unref(&section);
        xc_free(json);
    }
}

/* A small WordPiece: word, ##s, the, a, b, c and so on. */
static const char *const small_vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n##s\nthe\na\nb\nc\n.\n##x\nabc\n";

static struct xc_buf *compile_vocab_txt(const char *vocab, const char *config, int32_t max_tokens)
{
    const struct xc_tokenizer_files f = {.vocab_txt = {vocab, strlen(vocab)}, .config = {config, config ? strlen(config) : 0}};
    const struct xc_tokenizer_compile_opts opts = {max_tokens};
    struct xc_err err = {0};
    struct xc_buf *section;

    OK(xc_tokenizer_compile_files(&section, &f, &opts, &err));
    return section;
}

static void expect(struct xc_tokenizer *tok, const char *text, const char *want)
{
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    char got[512] = "";

    OK(xc_tokenizer_encode(tok, &out, text, strlen(text), NULL, 0, NULL, &err));
    for (size_t i = 0; i < out.n; i++) {
        size_t n;
        const char *s = xc_tokenizer_token(tok, out.ids[i], &n);

        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", i ? " " : "", (int)n, s);
    }
    assert_string_equal(got, want);
    xc_tokens_release(&out);
}

static void test_vocab_txt(void **state)
{
    struct xc_buf *section = compile_vocab_txt(small_vocab, "{\"model_max_length\": 1000000000000000019884624838656}", 0);
    struct xc_tokenizer *tok = open_section(section);
    size_t n;

    (void)state;
    assert_int_equal(xc_tokenizer_vocab_size(tok), 14);
    assert_int_equal(xc_tokenizer_max_tokens(tok), 0);
    assert_int_equal(xc_tokenizer_special(tok, XC_TOKEN_CLS), 2);
    assert_int_equal(xc_tokenizer_special(tok, XC_TOKEN_MASK), 4);
    assert_null(xc_tokenizer_token(tok, 14, &n));
    assert_null(xc_tokenizer_token(tok, -1, &n));
    expect(tok, "The WORDS.", "[CLS] the word ##s . [SEP]");
    expect(tok, "wörds [MASK]a", "[CLS] word ##s [MASK] a [SEP]");
    expect(tok, "wordq", "[CLS] [UNK] [SEP]");
    expect(tok, "[mask]", "[CLS] [UNK] [UNK] [UNK] [SEP]");
    expect(tok, "", "[CLS] [SEP]");
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);

    section = compile_vocab_txt(small_vocab, "{\"do_lower_case\": false, \"model_max_length\": 12, \"cls_token\": {\"content\": \"a\"}}", 0);
    tok = open_section(section);
    assert_int_equal(xc_tokenizer_max_tokens(tok), 12);
    assert_int_equal(xc_tokenizer_special(tok, XC_TOKEN_CLS), 8);
    expect(tok, "The the", "a [UNK] the [SEP]");
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);

    section = compile_vocab_txt(small_vocab, "{\"model_max_length\": 12}", 5);
    tok = open_section(section);
    assert_int_equal(xc_tokenizer_max_tokens(tok), 5);
    expect(tok, "a b c a b c", "[CLS] a b c [SEP]");
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
}

/* Canonical order of marks that are kept (Mc): U+1B44 is of class 9, U+302E and U+302F of 224; equal classes keep their order, and removed marks
 * (U+0301, class 230) do not matter, but U+0CBF (Mn, a starter) ends a run. Short runs and long ones are sorted by different code. */
static void test_order(void **state)
{
    static const char *const vocab = "[UNK]\n[CLS]\n[SEP]\na\n##\xE1\xAD\x84\n##\xE3\x80\xAE\n##\xE3\x80\xAF\n";
    struct xc_buf *section = compile_vocab_txt(vocab, NULL, 0);
    struct xc_tokenizer *tok = open_section(section);
    struct xc_tokens out = {0};
    struct xc_err err = {0};

    (void)state;
    expect(tok, "a\u302f\u302e", "[CLS] a ##\u302f ##\u302e [SEP]");
    expect(tok, "a\u302f\u0301\u1b44\u302e", "[CLS] a ##\u1b44 ##\u302f ##\u302e [SEP]");
    expect(tok, "a\u302f\u0cbf\u1b44\u302e", "[CLS] a ##\u302f ##\u1b44 ##\u302e [SEP]");
    for (size_t n = 1; n < 30; n++) { /* 3n marks after one letter */
        char text[300] = "a";

        for (size_t i = 0; i < n; i++) strcat(text, "\u302f\u1b44\u302e");
        out.n = 0;
        OK(xc_tokenizer_encode(tok, &out, text, strlen(text), NULL, 0, NULL, &err));
        assert_int_equal(out.n, 3 * n + 3);
        for (size_t i = 0; i < 3 * n; i++) assert_int_equal(out.ids[2 + i], i < n ? 4 : (i - n) % 2 ? 5 : 6);
    }
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
}

static const char *const small_bpe = "{\"<s>\":0,\"</s>\":1,\"<unk>\":2,\"<pad>\":3,\"<mask>\":4,\"a\":5,\"b\":6,\"\u0120\":7,\"ab\":8,\"\u0120ab\":9,\"aa\":10,\"aaaa\":11}";
static const char *const small_merges = "#version: 0.2\na b\n\u0120 ab\na a\naa aa\n";

static void test_vocab_json(void **state)
{
    struct xc_tokenizer_files f = {.vocab_json = {small_bpe, strlen(small_bpe)}, .merges_txt = {small_merges, strlen(small_merges)}};
    const char *config = "{\"tokenizer_class\": \"T5Tokenizer\"}";
    struct xc_tokenizer *tok;
    struct xc_buf *section;
    struct xc_err err = {0};

    (void)state;
    OK(xc_tokenizer_compile_files(&section, &f, NULL, &err));
    tok = open_section(section);
    expect(tok, "ab ab  <mask>b", "<s> ab \u0120ab <mask> b </s>");
    expect(tok, "aaaaa b", "<s> aaaa a \u0120 b </s>");
    assert_int_equal(xc_tokenizer_special(tok, XC_TOKEN_SEP), 1);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    f.config = (struct xc_tokenizer_file){config, strlen(config)};
    assert_int_equal(xc_tokenizer_compile_files(&section, &f, NULL, &err), XC_E_UNSUPPORTED);
    assert_null(section);
    assert_non_null(strstr(err.msg, "T5Tokenizer"));
}

static void test_words_and_limits(void **state)
{
    struct xc_buf *section = compile_vocab_txt(small_vocab, NULL, 0);
    struct xc_tokenizer *tok = open_section(section);
    const char *text = " the  words.a\tb [MASK]c ";
    const int32_t want[] = {-1, 0, 1, 1, 1, 1, 2, 3, 3, -1};
    const char *const list[] = {"words", "", "a.b", "c"};
    const int32_t want_list[] = {-1, 0, 0, 2, 2, 2, 3, -1};
    struct xc_encode_opts opts = XC_ENCODE_DEFAULT;
    struct xc_tokens out = {0};
    struct xc_err err = {0};

    (void)state;
    OK(xc_tokenizer_encode(tok, &out, text, strlen(text), NULL, 0, &opts, &err));
    assert_int_equal(out.n, 10);
    assert_memory_equal(out.words, want, sizeof want);
    /* appends */
    OK(xc_tokenizer_encode_words(tok, &out, list, 4, &opts, &err));
    assert_int_equal(out.n, 18);
    assert_memory_equal(out.words, want, sizeof want);
    assert_memory_equal(out.words + 10, want_list, sizeof want_list);
    OK(xc_tokenizer_encode_words(tok, &out, NULL, 0, &opts, &err));
    assert_int_equal(out.n, 20);
    assert_false(out.truncated);
    opts.max_tokens = 1;
    assert_int_equal(xc_tokenizer_encode(tok, &out, "a", 1, NULL, 0, &opts, &err), XC_E_RANGE);
    assert_int_equal(out.n, 20);
    opts.max_tokens = -1;
    assert_int_equal(xc_tokenizer_encode(tok, &out, "a", 1, NULL, 0, &opts, &err), XC_E_ARG);
    opts.max_tokens = 2;
    OK(xc_tokenizer_encode(tok, &out, "a", 1, NULL, 0, &opts, &err));
    assert_int_equal(out.n, 22);
    assert_true(out.truncated);
    assert_int_equal(xc_tokenizer_encode(tok, &out, "a", (size_t)3 << 30, NULL, 0, &opts, &err), XC_E_RANGE);
    assert_int_equal(xc_tokenizer_encode(tok, &out, NULL, 1, NULL, 0, &opts, &err), XC_E_ARG);
    /* NULL opts; an empty second text is still a pair */
    out.n = 0;
    OK(xc_tokenizer_encode(tok, &out, "a", 1, "", 0, NULL, &err));
    assert_int_equal(out.n, 4);
    assert_int_equal(out.types[2], 0);
    assert_int_equal(out.types[3], 1);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
}

/* --- refused by name --- */

#define WP "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1}}"
#define BERT "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}"
#define BPE(more) "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]" more "}"
#define UNI(more) "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"a\",-1.5],[\"ab\",-2],[\"\\u2581\",-3]]" more "}"
#define META "\"pre_tokenizer\":{\"type\":\"Metaspace\"}"
#define BYTE "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"

static void test_refused(void **state)
{
    static const struct { const char *json, *msg; enum xc_status status; } list[] = {
        {"{" WP "," BERT "}", NULL, XC_OK},
        {"{" BPE("") "," BYTE "}", NULL, XC_OK},
        {"{" BPE("") ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\"},"
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}", NULL, XC_OK},
        {"{}", "'model'", XC_E_FORMAT},
        {"[]", "not a JSON object", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"WordLevel\",\"vocab\":[]}}", "model 'WordLevel'", XC_E_UNSUPPORTED},
        {"{" UNI("") "," META "}", NULL, XC_OK},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}," META "}", "empty vocabulary", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}," META "}", "'vocab'", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}," META "}", "a spelling and a score", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1e300]]}," META "}", "a spelling and a score", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}," META "}", "unk_id", XC_E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",0]]}," META "}", "unk_id", XC_E_UNSUPPORTED},
        {"{" UNI(",\"byte_fallback\":true") "," META "}", "no token '<0x00>'", XC_E_FORMAT},
        {"{" UNI("") "}", "without a pre-tokenizer", XC_E_UNSUPPORTED},
        {"{" UNI("") "," BYTE "}", "pre-tokenizer 'ByteLevel'", XC_E_UNSUPPORTED},
        {"{" UNI("") ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}}", "replacement '_'", XC_E_UNSUPPORTED},
        {"{" UNI("") ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"last\"}}", "prepend_scheme 'last'", XC_E_FORMAT},
        {"{" UNI("") "," META ",\"normalizer\":{\"type\":\"NFKC\"}}", "normalizer 'NFKC'", XC_E_UNSUPPORTED},
        {"{" UNI("") "," META ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\"},{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}]}}", "'Precompiled'", XC_E_UNSUPPORTED},
        {"{" UNI("") "," META ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A*==\"}}", "no base64", XC_E_FORMAT},
        {"{" UNI("") "," META ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"////////\"}}", "damaged", XC_E_FORMAT},
        {"{" UNI("") "," META ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\" \"}}", "a Replace", XC_E_UNSUPPORTED},
        {"{" WP ",\"pre_tokenizer\":{\"type\":\"Whitespace\"}}", "pre-tokenizer 'Whitespace'", XC_E_UNSUPPORTED},
        {"{" WP "}", "without a pre-tokenizer", XC_E_UNSUPPORTED},
        {"{" WP "," BERT ",\"normalizer\":{\"type\":\"NFKC\"}}", "normalizer 'NFKC'", XC_E_UNSUPPORTED},
        {"{" WP "," BERT ",\"normalizer\":{}}", "normalizer must have a type", XC_E_FORMAT},
        {"{" WP "," BERT ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"}]}}", "sequence of 2 normalizers", XC_E_UNSUPPORTED},
        {"{" WP "," BERT ",\"post_processor\":{\"type\":\"Odd\"}}", "post-processor 'Odd'", XC_E_UNSUPPORTED},
        {"{" WP "," BERT ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},{\"Sequence\":{\"id\":\"A\"}}],\"pair\":[]}}", "each text once", XC_E_UNSUPPORTED},
        {"{" WP "," BERT ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",99],\"sep\":[\"x\",1]}}", "cls and sep", XC_E_FORMAT},
        {"{" BPE(",\"byte_fallback\":true") "," BYTE "}", "byte_fallback", XC_E_UNSUPPORTED},
        {"{" BPE(",\"dropout\":0.1") "," BYTE "}", "dropout", XC_E_UNSUPPORTED},
        {"{" BPE(",\"end_of_word_suffix\":\"</w>\"") "," BYTE "}", "end_of_word_suffix '</w>'", XC_E_UNSUPPORTED},
        {"{" BPE("") ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[abc]+\"},\"behavior\":\"Isolated\"}}", "split pattern '[abc]+'", XC_E_UNSUPPORTED},
        {"{" BPE("") ",\"pre_tokenizer\":{\"type\":\"Metaspace\"}}", "pre-tokenizer 'Metaspace'", XC_E_UNSUPPORTED},
        {"{" BPE("") "," BYTE ",\"normalizer\":{\"type\":\"NFC\"}}", "normalizer 'NFC'", XC_E_UNSUPPORTED},
        {"{" BPE("") ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}}", "use_regex", XC_E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}," BYTE "}", "'b' is not in the vocabulary", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}," BYTE "}", "'ab' is not in the vocabulary", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"ab\"]}," BYTE "}", "must be two tokens", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}," BERT "}", "'[UNK]' is not in the vocabulary", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0,\"b\":0}}," BERT "}", "same id 0", XC_E_FORMAT},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":-1}}," BERT "}", "token 'a' must have an id", XC_E_RANGE},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":2147483647}}," BERT "}", "token 'a' must have an id", XC_E_RANGE},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":[1]}," BERT "}", "must be an object", XC_E_FORMAT},
        {"{" WP "," BERT ",\"added_tokens\":[{\"id\":0,\"content\":\"a\"}]}", "has id 0, and 1 in the vocabulary", XC_E_FORMAT},
        {"{" WP "," BERT ",\"added_tokens\":[{\"id\":1,\"content\":\"z\"}]}", "same id 1", XC_E_FORMAT},
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(list); i++) {
        struct xc_err err = {0};
        struct xc_buf *section;
        const enum xc_status status = compile_text(&section, list[i].json, &err);

        if (status != list[i].status) fail_msg("%s: %s: %s", list[i].json, xc_status_name(status), err.msg);
        if (list[i].msg && !strstr(err.msg, list[i].msg)) fail_msg("%s: '%s' lacks '%s'", list[i].json, err.msg, list[i].msg);
        if (status != XC_OK) {
            assert_null(section);
            assert_non_null(strstr(err.where, "tokenizer.json"));
        }
        xc_buf_unref(&section);
    }
}

/* --- hostile sections --- */

/* Opens a changed copy and, if it opens, encodes: wrong ids are fine, a crash is not. */
static bool try_section(const uint8_t *bytes, size_t n)
{
    static const char text[] = "the words abc, ab [MASK] <mask> don't stop \xC3\xA9\xE4\xB8\xAD\xFF caf\xC3\xA9 newword abababab aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct xc_tokenizer *tok;
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    struct xc_buf *buf;
    bool opened;

    OK(xc_buf_new(&buf, n, &err));
    memcpy(buf->data, bytes, n);
    opened = xc_tokenizer_open(&tok, buf, &err) == XC_OK;
    if (opened) {
        (void)xc_tokenizer_encode(tok, &out, text, sizeof text - 1, text, sizeof text - 1, NULL, &err);
        for (size_t i = 0; i < out.n; i++) assert_in_range(out.ids[i], 0, xc_tokenizer_vocab_size(tok) - 1);
        xc_tokenizer_free(&tok);
    } else {
        assert_null(tok);
        assert_true(err.msg[0]);
    }
    xc_tokens_release(&out);
    xc_buf_unref(&buf);
    return opened;
}

/* --- SentencePiece --- */

static enum xc_status compile_spm(struct xc_buf **out, const uint8_t *bytes, size_t n, const char *config, struct xc_err *err)
{
    const struct xc_tokenizer_files f = {.spm = {(const char *)bytes, n}, .config = {config, config ? strlen(config) : 0}};

    return xc_tokenizer_compile_files(out, &f, NULL, err);
}

static void test_sentencepiece(void **state)
{
    static const char text[] = "a b";
    struct xc_buf *section = compile_vector("spm"), *file = vector_file("spm/spiece.model"), *made;
    struct xc_tokenizer *tok = open_section(section);
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    char *json;
    size_t n, plain;

    (void)state;
    expect_vector("spm", tok);
    assert_string_equal(xc_tokenizer_kind(tok), "unigram");
    OK(xc_tokenizer_encode(tok, &out, text, sizeof text - 1, NULL, 0, NULL, &err));
    plain = out.n;
    assert_int_equal(xc_tokenizer_decompile(&json, &n, section, &err), XC_E_UNSUPPORTED); /* the library and a tokenizer.json disagree */
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    /* T5 ends a text with </s>; other classes have ids of their own */
    OK(compile_spm(&section, file->data, file->size, "{\"tokenizer_class\": \"T5Tokenizer\"}", &err));
    tok = open_section(section);
    out.n = 0;
    OK(xc_tokenizer_encode(tok, &out, text, sizeof text - 1, NULL, 0, NULL, &err));
    assert_int_equal(out.n, plain + 1);
    assert_int_equal(out.ids[plain], 2);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    assert_int_equal(compile_spm(&section, file->data, file->size, "{\"tokenizer_class\": \"XLMRobertaTokenizer\"}", &err), XC_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "XLMRoberta"));
    /* cut anywhere it is refused, or, between two fields, read as far as it goes */
    for (size_t cut = 0; cut < file->size; cut += 1 + cut / 200) {
        uint8_t *copy = malloc(cut ? cut : 1);

        memcpy(copy, file->data, cut);
        if (compile_spm(&made, copy, cut, NULL, &err) == XC_OK) (void)try_section(made->data, made->size);
        else assert_true(!made && err.msg[0]);
        xc_buf_unref(&made);
        free(copy);
    }
    xc_tokens_release(&out);
    xc_buf_unref(&file);
}

static void test_sentencepiece_refused(void **state)
{
    static const struct { const char *bytes; size_t n; const char *msg; } list[] = {
        {"\x12\x02\x18\x02", 4, "of type BPE"},
        {"\x12\x03\xC0\x01\x01", 5, "treat_whitespace_as_suffix"},
        {"\x1A\x02\x28\x00", 4, "escape_whitespaces"},
        {"\x1A\x05\x12\x03" "abc", 7, "damaged"},
        {"\x0A\x05\x0A\x01" "a\x18\x04", 7, "user-defined symbol"},
        {"\x0A\x05\x0A\x01" "a\x18\x09", 7, "unknown type 9"},
        {"\x0A\x03\x0A\x01\xFF", 5, "no UTF-8"},
        {"\x0A\x03\x0A\x01" "a", 5, "no unknown piece"},
        {"\x0A\x08\x0A\x01" "a\x15\x00\x00\xC0\x7F", 10, "a score of nan"},
        {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11, "cut"},
        {"{}", 2, "no SentencePiece model"},
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(list); i++) {
        struct xc_err err = {0};
        struct xc_buf *section;

        assert_int_not_equal(compile_spm(&section, (const uint8_t *)list[i].bytes, list[i].n, NULL, &err), XC_OK);
        if (!strstr(err.msg, list[i].msg)) fail_msg("%zu: '%s' lacks '%s'", i, err.msg, list[i].msg);
        assert_non_null(strstr(err.where, "spiece.model"));
    }
}

static void test_hostile_sections(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct xc_buf *section = compile_vector(names[i]);
        uint8_t *copy = malloc(section->size);
        uint32_t seed = 1;

        memcpy(copy, section->data, section->size);
        assert_true(try_section(copy, section->size));
        for (size_t n = 0; n < section->size; n += n < 512 ? 1 : 997) assert_false(try_section(copy, n));
        for (size_t at = 0; at < sizeof(struct xc_tok_header); at++)
            for (int k = 0; k < 5; k++) {
                static const uint8_t xors[] = {1, 0x80, 0xFF, 0x10, 0x7F};

                copy[at] ^= xors[k];
                try_section(copy, section->size);
                copy[at] ^= xors[k];
            }
        for (int k = 0; k < 1500; k++) { /* several wrong bytes in the arrays */
            memcpy(copy, section->data, section->size);
            for (int j = 0; j < 1 + k % 8; j++) {
                seed = seed * 1664525u + 1013904223u;
                copy[256 + (seed >> 4) % (section->size - 256)] ^= (uint8_t)(1u << (seed & 7));
            }
            try_section(copy, section->size);
        }
        memcpy(copy, section->data, section->size); /* a file from before unigram: only unigram needs its arrays */
        memset(copy + offsetof(struct xc_tok_header, array) + XC_TOK_SCORES * 8, 0, 16);
        assert_int_equal(try_section(copy, section->size), ((const struct xc_tok_header *)(const void *)section->data)->model != XC_TOK_UNIGRAM);
        free(copy);
        xc_buf_unref(&section);
    }
}

/* --- memory --- */

#define MIXED "{\"added_tokens\":[{\"id\":0,\"content\":\"u\",\"special\":true},{\"id\":6,\"content\":\"New X\",\"normalized\":true}]," \
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," \
    "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",1],\"sep\":[\"b\",2]}," \
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1,\"b\":2,\"##c\":3,\"abc\":4,\"##d\":5}}}"

static char *repeat(const char *s, size_t n)
{
    const size_t len = strlen(s);
    char *out = malloc(len * n + 1);

    for (size_t i = 0; i < n; i++) memcpy(out + i * len, s, len);
    out[len * n] = 0;
    return out;
}

/* The whole way, with the (n+1)-th allocation failing: XC_E_NOMEM or success, no leak, no crash. */
static enum xc_status whole_way(const char *json, const char *text)
{
    struct xc_tokenizer *tok = NULL;
    struct xc_tokens out = {0};
    struct xc_buf *section;
    struct xc_err err = {0};
    enum xc_status status;
    char *back = NULL;
    size_t n;

    status = compile_text(&section, json, &err);
    if (status == XC_OK) status = xc_tokenizer_open(&tok, section, &err);
    if (status == XC_OK) status = xc_tokenizer_encode(tok, &out, text, strlen(text), text, strlen(text), NULL, &err);
    if (status == XC_OK) status = xc_tokenizer_decompile(&back, &n, section, &err);
    xc_free(back);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    return status;
}

static void test_out_of_memory(void **state)
{
    char *marks = repeat("a\xE3\x80\xAE\xE1\xAD\x84 New X c", 60), *run = repeat("\xE3\x80\xAE\xE1\xAD\x84", 50), *word = repeat("ab", 80);
    const char *const texts[] = {marks, run, word, word};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const char *json = i < 2 ? MIXED : i < 3 ? "{" BPE("") ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}}"
                                                 : "{" UNI("") "," META ",\"normalizer\":{\"type\":\"Strip\"},\"added_tokens\":[{\"id\":4,\"content\":\"bb\",\"normalized\":true}]}";
        int64_t failures = 0;

        assert_int_equal(whole_way(json, texts[i]), XC_OK);
        for (int64_t n = 0;; n++) {
            enum xc_status status;

            xc_alloc_fail_after(n);
            status = whole_way(json, texts[i]);
            xc_alloc_fail_after(-1);
            if (status == XC_OK) break;
            failures++;
            if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s", (long long)n, xc_status_name(status));
            assert_true(n < 5000);
        }
        assert_true(failures > 30);
    }
    free(marks);
    free(run);
    free(word);
}

static void test_no_allocation_after_the_first(void **state)
{
    char *text = repeat("The \xC3\xA9toile [MASK] newword <mask> abcdefghi\xE3\x80\xAE\xE1\xAD\x84 don't \xFF supercalifragilistic ", 200);

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct xc_buf *section = compile_vector(names[i]);
        struct xc_tokenizer *tok = open_section(section);
        struct xc_tokens out = {0};
        struct xc_err err = {0};
        int64_t before = 0;

        for (int k = 0; k < 3; k++) {
            if (k == 1) before = xc_alloc_count();
            out.n = 0;
            OK(xc_tokenizer_encode(tok, &out, text, strlen(text), text, strlen(text) / 2, NULL, &err));
        }
        assert_int_equal(xc_alloc_count(), before);
        xc_tokens_release(&out);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
    free(text);
}

/* --- size --- */

/* A million bytes of one word, one mark, one quote...: linear, so far under the limit of seconds even on a slow machine. */
static void test_long(void **state)
{
    static const char *const units[] = {"a", "ab", "\xCC\x81", "\xE3\x80\xAE\xE1\xAD\x84", "[MASK", "[", "<", "'", " ", "\n", "\xFF", "\xE4\xB8\xAD", "newwor", "1", "!", "lefty ", "\xC2\xA0", "'s", ". "};
    const clock_t start = clock();

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct xc_buf *section = compile_vector(names[i]);
        struct xc_tokenizer *tok = open_section(section);
        struct xc_encode_opts all = {.no_truncate = true}, few = {.max_tokens = 33};
        struct xc_tokens out = {0}, cut = {0};
        struct xc_err err = {0};

        for (size_t k = 0; k < XC_ARRAY_LEN(units); k++) {
            char *text = repeat(units[k], 1000000 / strlen(units[k]));

            out.n = cut.n = 0;
            OK(xc_tokenizer_encode(tok, &out, text, strlen(text), NULL, 0, &all, &err));
            OK(xc_tokenizer_encode(tok, &cut, text, strlen(text), NULL, 0, &few, &err));
            assert_true(cut.n <= 33 && cut.n <= out.n);
            assert_int_equal(cut.truncated, out.n > 33);
            if (cut.n > 1) assert_memory_equal(cut.ids, out.ids, (cut.n - 1) * sizeof *cut.ids);
            free(text);
        }
        xc_tokens_release(&out);
        xc_tokens_release(&cut);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 100);
}

/* --- long words, window by window (bpe.c) --- */

/* A vocabulary of all strings of up to three of a, b, c, and merges for all of the longer ones in an order drawn at random: merges whose parts come
 * later than they do, too, which training never makes. 'd' is unknown. */
static struct xc_buf *random_merges(uint32_t *seed, const char *unknown)
{
    char token[39][4], merges[256][16], json[8192];
    struct xc_err err = {0};
    struct xc_buf *section;
    int n = 0, m = 0, at = 0;

    for (int len = 1, from = 0, to; len <= 3; len++, from = to) {
        to = n;
        for (int i = len == 1 ? -1 : from; i < to; i++)
            for (char c = 'a'; c <= 'c'; c++) snprintf(token[n++], 4, "%.2s%c", i < 0 ? "" : token[i], c);
    }
    at += snprintf(json + at, sizeof json - (size_t)at, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",%s\"vocab\":{\"?\":39", unknown);
    for (int i = 0; i < n; i++) {
        at += snprintf(json + at, sizeof json - (size_t)at, ",\"%s\":%d", token[i], i);
        for (size_t cut = 1; cut < strlen(token[i]); cut++) snprintf(merges[m++], 16, "%.*s %s", (int)cut, token[i], token[i] + cut);
    }
    for (int i = m - 1; i > 0; i--) {
        char swap[16];
        int k;

        *seed = *seed * 1664525u + 1013904223u;
        k = (int)((*seed >> 8) % (uint32_t)(i + 1));
        memcpy(swap, merges[i], 16);
        memcpy(merges[i], merges[k], 16);
        memcpy(merges[k], swap, 16);
    }
    at += snprintf(json + at, sizeof json - (size_t)at, "},\"merges\":[");
    for (int i = 0; i < m; i++) at += snprintf(json + at, sizeof json - (size_t)at, "%s\"%s\"", i ? "," : "", merges[i]);
    snprintf(json + at, sizeof json - (size_t)at, "]}}");
    OK(compile_text(&section, json, &err));
    return section;
}

static void fill_word(char *word, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n;) { /* letters at random, now and then a run */
        size_t run = 1;

        *seed = *seed * 1664525u + 1013904223u;
        if ((*seed >> 24) < 10) run = (*seed >> 8) % 90;
        for (; run && i < n; run--) word[i++] = "aaabbbcccd"[(*seed >> 16) % 10];
    }
}

/* A long word gives the ids that it gives whole, whatever the windows it is taken in: from `least` bytes on, set at that place of the scratch. Takes the section. */
static void same_in_windows(struct xc_buf *section, int k, uint32_t *seed, size_t least, size_t at)
{
    const struct xc_encode_opts all = {.no_truncate = true};
    struct xc_tokenizer *tok = open_section(section);
    struct xc_tokens whole = {0}, out = {0};
    struct xc_err err = {0};
    char word[3000];

    fill_word(word, sizeof word, seed);
    if (k % 5 == 4) memset(word, "abd"[k % 3], sizeof word); /* nothing but a run */
    OK(xc_tokenizer_encode(tok, &whole, word, sizeof word, NULL, 0, &all, &err)); /* shorter than a window */
    OK(xc_tokenizer_encode(tok, &out, "a", 1, NULL, 0, &all, &err));
    for (size_t window = least; window < 600; window += 1 + window / 3) {
        out.n = 0;
        memcpy((char *)out.scratch + at, &window, sizeof window);
        OK(xc_tokenizer_encode(tok, &out, word, sizeof word, NULL, 0, &all, &err));
        assert_int_equal(out.n, whole.n);
        assert_memory_equal(out.ids, whole.ids, whole.n * sizeof *out.ids);
        assert_memory_equal(out.words, whole.words, whole.n * sizeof *out.words);
    }
    xc_tokens_release(&whole);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
}

static void test_windows(void **state)
{
    static const char *const unknown[] = {"", "\"unk_token\":\"?\",", "\"unk_token\":\"?\",\"fuse_unk\":true,"};
    uint32_t seed = 1;

    (void)state;
    for (int k = 0; k < 60; k++) same_in_windows(random_merges(&seed, unknown[k % 3]), k, &seed, 1, offsetof(struct xc_text_scratch, bpe_window));
}

/* --- unigram, window by window --- */

/* Tokens of up to three letters with scores drawn at random, few of them far better than the rest: paths stay open for long. One word of all. */
static struct xc_buf *random_scores(uint32_t *seed)
{
    char json[4096];
    struct xc_err err = {0};
    struct xc_buf *section;
    int at = snprintf(json, sizeof json, "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"split\":false},\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",-30]");

    for (int len = 1; len <= 3; len++)
        for (int i = 0, n = len == 1 ? 3 : len == 2 ? 9 : 27; i < n; i++) {
            *seed = *seed * 1664525u + 1013904223u;
            if (len > 1 && *seed >> 30 == 0) continue;
            at += snprintf(json + at, sizeof json - (size_t)at, ",[\"%c%.*s%.*s\",-%u.%u]", 'a' + i % 3, len > 1, &"abc"[i / 3 % 3], len > 2, &"abc"[i / 9], (unsigned)len * 3 + (*seed >> 20) % 4,
                           (*seed >> 8) % 100);
        }
    snprintf(json + at, sizeof json - (size_t)at, "]}}");
    OK(compile_text(&section, json, &err));
    return section;
}

static void test_unigram_windows(void **state)
{
    uint32_t seed = 3;

    (void)state;
    for (int k = 0; k < 60; k++) same_in_windows(random_scores(&seed), k, &seed, 8, offsetof(struct xc_text_scratch, uni_window));
}

/* The scratch of a word does not grow with the word. */
static void test_window_memory(void **state)
{
    const struct xc_encode_opts all = {.no_truncate = true};
    const size_t n = (size_t)4 << 20;
    char *word = malloc(n);

    (void)state;
    for (size_t i = 2; i < N_NAMES; i++)
        for (int run = 0; run < 2; run++) {
            struct xc_buf *section = compile_vector(names[i]);
            struct xc_tokenizer *tok = open_section(section);
            struct xc_tokens out = {0};
            struct xc_err err = {0};
            const struct xc_text_scratch *scratch;
            uint32_t seed = 7;

            if (run) memset(word, 'e', n);
            else fill_word(word, n, &seed);
            OK(xc_tokenizer_encode(tok, &out, word, n, NULL, 0, &all, &err));
            scratch = out.scratch;
            assert_true(scratch->nodes_cap <= 20000 && (i < 4 || scratch->word_cap <= 20000));
            assert_true(scratch->symbols_cap * sizeof(uint32_t) + scratch->heap_cap * sizeof(uint64_t) <= (size_t)1 << 20);
            xc_tokens_release(&out);
            xc_tokenizer_free(&tok);
            xc_buf_unref(&section);
        }
    free(word);
}

static void test_utf8(void **state)
{
    static const struct { const char *s; size_t n; uint32_t cp; int used; } list[] = {
        {"a", 1, 'a', 1},          {"\xC3\xA9", 2, 0xE9, 2},           {"\xE4\xB8\xAD", 3, 0x4E2D, 3},      {"\xF0\x9F\x98\x80", 4, 0x1F600, 4},
        {"\xC3", 1, 0xFFFD, 1},    {"\xC3(", 2, 0xFFFD, 1},            {"\xC0\x80", 2, 0xFFFD, 1},          {"\xED\xA0\x80", 3, 0xFFFD, 1},
        {"\xE2\x82", 2, 0xFFFD, 2}, {"\xF0\x9F\x98", 3, 0xFFFD, 3},    {"\xF4\x90\x80\x80", 4, 0xFFFD, 1},  {"\xF0\x80\x80\x80", 4, 0xFFFD, 1},
        {"\x80", 1, 0xFFFD, 1},    {"\xFF", 1, 0xFFFD, 1},             {"\xEF\xBF\xBD", 3, 0xFFFD, 3},      {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF, 4},
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(list); i++) {
        uint32_t cp;

        assert_int_equal(xc_utf8_read(&cp, (const uint8_t *)list[i].s, list[i].n), list[i].used);
        assert_int_equal(cp, list[i].cp);
    }
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t s[4];
        uint32_t cp;
        const int n = xc_utf8_write(s, c);

        if (c >= 0xD800 && c < 0xE000) continue;
        assert_int_equal(xc_utf8_read(&cp, s, (size_t)n), n);
        assert_int_equal(cp, c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_vocab_txt),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_vocab_json),
        cmocka_unit_test(test_words_and_limits),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_sentencepiece_refused),
        cmocka_unit_test(test_hostile_sections),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_no_allocation_after_the_first),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_unigram_windows),
        cmocka_unit_test(test_window_memory),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
