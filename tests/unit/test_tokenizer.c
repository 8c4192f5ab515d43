/* Tokenizers: ids of the Hugging Face library (tests/vectors/tokenizer, made by gen_tokenizer.py), words and limits, UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text/unicode.h"
#include "tests/unit/tokenizer_cases.h"

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
        cmocka_unit_test(test_words_and_limits),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
