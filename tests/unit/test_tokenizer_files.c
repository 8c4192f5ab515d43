/* Tokenizers: the files they are compiled from, what is refused by name, damaged sections, and allocations that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text/section.h"
#include "tests/unit/tokenizer_cases.h"

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

/* --- refused by name --- */

#define BLANKS "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}"

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
        {"{" BPE("") "," META "}", NULL, XC_OK},
        {"{" BPE("") ",\"normalizer\":" BLANKS "}", NULL, XC_OK},
        {"{" BPE("") "}", "without a pre-tokenizer", XC_E_UNSUPPORTED},
        {"{" BPE("") ",\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}," META "}", "without a pre-tokenizer", XC_E_UNSUPPORTED},
        {"{" BPE("") ",\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"}," META "}", "'Prepend'", XC_E_UNSUPPORTED},
        {"{" BPE("") ",\"normalizer\":" BLANKS "," META "}", "behind a Replace of blanks", XC_E_UNSUPPORTED},
        {"{" BPE(",\"byte_fallback\":true") "," META "}", "no token '<0x00>'", XC_E_FORMAT},
        {"{" BPE(",\"ignore_merges\":true") "," META "}", "ignore_merges", XC_E_UNSUPPORTED},
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
        {"\x12\x02\x18\x03", 4, "of type word"},
        {"\x12\x03\xC0\x01\x01", 5, "treat_whitespace_as_suffix"},
        {"\x1A\x02\x28\x00", 4, "escape_whitespaces"},
        {"\x1A\x05\x12\x03" "abc", 7, "damaged"},
        {"\x0A\x03\x0A\x01" "a\x0A\x05\x0A\x01" "a\x18\x04", 12, "'a', is there twice"},
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

/* --- hostile sections --- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocab_txt),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_vocab_json),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_sentencepiece_refused),
        cmocka_unit_test(test_hostile_sections),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
