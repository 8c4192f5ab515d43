/* SentencePiece models, and some of BPE as a tokenizer.json: ids of the sentencepiece and tokenizers packages (tests/vectors/tokenizer/sentencepiece, made by
 * gen_sentencepiece.py), and what is bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/text/encoder.h"
#include "tests/unit/tokenizer_cases.h"

static const char *const models[] = {"llama", "llama_added", "reformer", "bpe", "bpe_bytes", "bpe_user", "bpe_unused", "unigram_user", "unigram_far"};
enum { N_MODELS = 9, N_JSON = 3, N_BPE = 7, LONG = 200000 };
static const struct xc_encode_opts all = {.no_truncate = true};

static enum xc_status compile_model(struct xc_buf **out, size_t i, const uint8_t *bytes, size_t n, struct xc_err *err)
{
    const struct xc_tokenizer_file file = {(const char *)bytes, n};

    return xc_tokenizer_compile_files(out, i < N_JSON ? &(struct xc_tokenizer_files){.json = file} : &(struct xc_tokenizer_files){.spm = file}, NULL, err);
}

static struct xc_buf *model_file(size_t i, const char *what)
{
    char path[64];

    snprintf(path, sizeof path, "sentencepiece/%s.%s", models[i], what);
    return vector_file(path);
}

static struct xc_buf *model_section(size_t i)
{
    struct xc_buf *file = model_file(i, i < N_JSON ? "json" : "model"), *section;
    struct xc_err err = {0};

    OK(compile_model(&section, i, file->data, file->size, &err));
    xc_buf_unref(&file);
    return section;
}

/* --- the same ids --- */

static void expect_sum(struct xc_tokenizer *tok, struct xc_tokens *out, const char *text, size_t n, const uint8_t **sums, const char *what, uint32_t number)
{
    const uint32_t want = take_u32(sums);
    struct xc_err err = {0};
    char *copy = malloc(n ? n : 1); /* of its exact size: a read past the end is found */
    uint32_t h = 0x811C9DC5u;

    memcpy(copy, text, n);
    out->n = 0;
    OK(xc_tokenizer_encode(tok, out, copy, n, NULL, 0, &all, &err));
    for (size_t i = 0; i < out->n; i++) h = (h ^ (uint32_t)out->ids[i]) * 0x01000193u;
    if (h != want) fail_msg("%s: text %u (%.60s...) has other ids", what, (unsigned)number, copy);
    free(copy);
}

static char *long_text(const char *letters)
{
    char *out = malloc(LONG);
    uint32_t seed = 1;

    for (size_t i = 0; i < LONG; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = letters[(seed >> 16) % strlen(letters)];
    }
    return out;
}

/* Takes the section. */
static void expect_sums(size_t i, struct xc_buf *section)
{
    static const char *const letters[] = {"etaoinshrdlu", "ab"};
    struct xc_buf *texts[] = {vector_file("texts.bin"), vector_file("sentencepiece/texts.bin")}, *file = model_file(i, "sums");
    struct xc_tokenizer *tok = open_section(section);
    const uint8_t *sums = file->data;
    struct xc_tokens out = {0};

    assert_string_equal(xc_tokenizer_kind(tok), i < N_BPE ? "bpe" : "unigram");
    for (size_t k = 0; k < 2; k++) {
        const uint8_t *t = texts[k]->data;

        for (uint32_t j = 0, n = take_u32(&t); j < n; j++) {
            const uint32_t len = take_u32(&t);

            expect_sum(tok, &out, (const char *)take(&t, len), len, &sums, models[i], j);
        }
        xc_buf_unref(&texts[k]);
    }
    for (size_t k = 0; k < 2; k++) {
        char *text = long_text(letters[k]);

        expect_sum(tok, &out, text, LONG, &sums, models[i], (uint32_t)k);
        free(text);
    }
    assert_ptr_equal(sums, file->data + file->size);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    xc_buf_unref(&file);
}

static void test_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) expect_sums(i, model_section(i));
}

/* What is written as a tokenizer.json has the same ids; a .model is not, since the packages disagree. */
static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        struct xc_buf *section = model_section(i), *again;
        struct xc_err err = {0};
        char *json;
        size_t n;

        if (i < N_JSON) {
            OK(xc_tokenizer_decompile(&json, &n, section, &err));
            OK(compile_text(&again, json, &err));
            expect_sums(i, again);
            xc_free(json);
        } else {
            assert_int_equal(xc_tokenizer_decompile(&json, &n, section, &err), XC_E_UNSUPPORTED);
        }
        xc_buf_unref(&section);
    }
}

/* The window does not show, but in the time; limits give the beginning. */
static void test_windows(void **state)
{
    static const char *const parts[] = {"th", "e", "sch", "\xE4\xB8\xAD\xE6\x96\x87", "\xF0\x9F\x98\x80", "abcd", "\xC3\xA9", "newwor", "\xE2\x96\x81", "in", "ab", "\xEF\xBC\x81", "1"};
    char text[4000];
    size_t n = 0;
    uint32_t seed = 9;

    (void)state;
    while (n < sizeof text - 8) {
        seed = seed * 1664525u + 1013904223u;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s", parts[(seed >> 16) % XC_ARRAY_LEN(parts)]);
    }
    for (size_t i = 0; i < N_BPE; i++) {
        struct xc_buf *section = model_section(i);
        struct xc_tokenizer *tok = open_section(section);
        struct xc_tokens whole = {0}, out = {0};
        struct xc_err err = {0};

        OK(xc_tokenizer_encode(tok, &whole, text, n, NULL, 0, &all, &err));
        for (size_t window = 1; window < 600; window += 1 + window / 3) {
            out.n = 0;
            if (out.scratch) ((struct xc_text_scratch *)out.scratch)->bpe_window = window;
            OK(xc_tokenizer_encode(tok, &out, text, n, NULL, 0, &all, &err));
            assert_int_equal(out.n, whole.n);
            assert_memory_equal(out.ids, whole.ids, whole.n * sizeof *out.ids);
            assert_memory_equal(out.words, whole.words, whole.n * sizeof *out.words);
            out.n = 0;
            OK(xc_tokenizer_encode(tok, &out, text, n, NULL, 0, &(struct xc_encode_opts){.max_tokens = 37}, &err));
            assert_int_equal(out.n, 37);
            assert_memory_equal(out.ids, whole.ids, 37 * sizeof *out.ids);
        }
        xc_tokens_release(&whole);
        xc_tokens_release(&out);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
}

/* Words of the text, white space between them. */
static void test_words(void **state)
{
    static const char text[] = " the  the\tab abthe ";
    struct xc_buf *section = model_section(N_JSON);
    struct xc_tokenizer *tok = open_section(section);
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    int32_t last = 0;

    (void)state;
    OK(xc_tokenizer_encode(tok, &out, text, sizeof text - 1, NULL, 0, &all, &err));
    assert_int_equal(out.words[0], 0);
    for (size_t i = 0; i < out.n; last = out.words[i++]) assert_in_range(out.words[i], last, last + 1);
    assert_int_equal(last, 3);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
}

/* A run of anything: far under the limit of seconds even on a slow machine. */
static void test_runs(void **state)
{
    static const char *const units[] = {"a", "ab", "\xE2\x96\x81", " ", "\xF0\x9F\x98\x80", "newwor", "  ", "\xFF", "e "};
    const clock_t start = clock();

    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        struct xc_buf *section = model_section(i);
        struct xc_tokenizer *tok = open_section(section);
        struct xc_tokens out = {0};
        struct xc_err err = {0};

        for (size_t k = 0; k < XC_ARRAY_LEN(units); k++) {
            char *text = repeat(units[k], LONG / 5 / strlen(units[k]));

            out.n = 0;
            OK(xc_tokenizer_encode(tok, &out, text, strlen(text), NULL, 0, &all, &err));
            free(text);
        }
        xc_tokens_release(&out);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 60);
}

/* --- fewer tokens --- */

/* A text whose tokens are all kept has the same ones, whatever else is gone. Single characters stay. */
static void test_subset(void **state)
{
    static const char *const kept[] = {"the newword und ab abthe", "information", "schreiben solo \xC3\xA9t\xC3\xA9"};

    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        struct xc_buf *section = model_section(i), *small;
        struct xc_tokenizer *tok = open_section(section), *few;
        const size_t n = (size_t)xc_tokenizer_vocab_size(tok);
        uint8_t *keep = calloc(n, 1);
        int32_t *new_id = malloc(n * sizeof *new_id), next = 0;
        struct xc_tokens out = {0}, again = {0};
        struct xc_err err = {0};

        for (size_t k = 0; k < XC_ARRAY_LEN(kept); k++) OK(xc_tokenizer_encode(tok, &out, kept[k], strlen(kept[k]), NULL, 0, &all, &err));
        for (size_t k = 0; k < out.n; k++) keep[out.ids[k]] = 1;
        OK(xc_tokenizer_close_set(keep, section, true, &err));
        for (size_t k = 0; k < n; k++) {
            size_t len;

            assert_true(!xc_tokenizer_token(tok, (int32_t)k, &len) || len != 1 || keep[k]);
        }
        for (size_t k = 0; k < n; k++) new_id[k] = keep[k] ? next++ : -1;
        assert_true((size_t)next < n);
        OK(xc_tokenizer_subset(&small, section, new_id, &err));
        few = open_section(small);
        for (size_t k = 0; k < XC_ARRAY_LEN(kept); k++) OK(xc_tokenizer_encode(few, &again, kept[k], strlen(kept[k]), NULL, 0, &all, &err));
        assert_int_equal(again.n, out.n);
        for (size_t k = 0; k < out.n; k++) assert_int_equal(again.ids[k], new_id[out.ids[k]]);
        free(keep);
        free(new_id);
        xc_tokens_release(&out);
        xc_tokens_release(&again);
        xc_tokenizer_free(&few);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&small);
        xc_buf_unref(&section);
    }
}

/* --- bad files --- */

static void expect_refused(const struct xc_buf *section, size_t at, uint32_t value, size_t n, const char *msg)
{
    struct xc_tokenizer *tok;
    struct xc_err err = {0};
    struct xc_buf *buf;

    OK(xc_buf_new(&buf, section->size, &err));
    memcpy(buf->data, section->data, section->size);
    memcpy(buf->data + at, &value, n);
    assert_int_not_equal(xc_tokenizer_open(&tok, buf, &err), XC_OK);
    if (!strstr(err.msg, msg)) fail_msg("'%s' lacks '%s'", err.msg, msg);
    xc_buf_unref(&buf);
}

static void test_hostile_sections(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        struct xc_buf *section = model_section(i);
        const struct xc_tok_header *h = (const struct xc_tok_header *)(const void *)section->data;
        const size_t arrays = offsetof(struct xc_tok_header, array);
        uint8_t *copy = malloc(section->size);
        uint32_t seed = 1;

        assert_true(try_section(section->data, section->size));
        if (i >= N_JSON) {
            expect_refused(section, offsetof(struct xc_tok_header, flags), h->flags | XC_TOK_META_NORM, 4, "do not fit");
            expect_refused(section, offsetof(struct xc_tok_header, split), XC_TOK_SPLIT_GPT2, 4, i < N_BPE ? "do not fit" : "with split pattern 2");
            expect_refused(section, offsetof(struct xc_tok_header, unk_id), 0xFFFFFFFFu, 4, "unknown token");
            expect_refused(section, arrays + XC_TOK_SCORES * 8 + 4, h->array[XC_TOK_SCORES].size - 8, 4, "array 11");
        } else {
            expect_refused(section, offsetof(struct xc_tok_header, flags), h->flags | XC_TOK_SENTENCEPIECE, 4, i == 2 ? "array 11" : "do not fit"); /* without its scores */
        }
        if (h->array[XC_TOK_KINDS].size) {
            expect_refused(section, arrays + XC_TOK_KINDS * 8 + 4, (uint32_t)h->n_tokens - 1, 4, "array 13");
            expect_refused(section, h->array[XC_TOK_KINDS].offset + 5, 3, 1, "unknown kind 3");
        } else {
            assert_int_equal(h->array[XC_TOK_KINDS].offset, 0); /* as in files from before there were kinds */
        }
        for (int k = 0; k < 600; k++) { /* several wrong bytes in the header or the arrays */
            memcpy(copy, section->data, section->size);
            for (int j = 0; j < 1 + k % 8; j++) {
                seed = seed * 1664525u + 1013904223u;
                copy[(seed >> 4) % (k % 3 ? section->size : 256)] ^= (uint8_t)(1u << (seed & 7));
            }
            try_section(copy, section->size);
        }
        free(copy);
        xc_buf_unref(&section);
    }
}

static void test_cut_models(void **state)
{
    (void)state;
    for (size_t i = N_JSON; i < N_MODELS; i++) {
        struct xc_buf *file = model_file(i, "model"), *made;
        struct xc_err err = {0};

        for (size_t cut = 0; cut < file->size; cut += 1 + cut / 50) {
            uint8_t *copy = malloc(cut ? cut : 1);

            memcpy(copy, file->data, cut);
            if (compile_model(&made, i, copy, cut, &err) == XC_OK) (void)try_section(made->data, made->size);
            else assert_true(!made && err.msg[0]);
            xc_buf_unref(&made);
            free(copy);
        }
        xc_buf_unref(&file);
    }
}

/* Compiled and used with the (n+1)-th allocation failing: XC_E_NOMEM or success, no leak, no crash. */
static void test_out_of_memory(void **state)
{
    char *text = repeat("abthe\xF0\x9F\x98\x80 ", 60);

    (void)state;
    for (size_t i = N_BPE - 2; i < N_BPE; i++) {
        struct xc_buf *file = model_file(i, "model");
        enum xc_status status = XC_E_NOMEM;

        for (int64_t n = 0; status != XC_OK; n++) {
            struct xc_buf *section = NULL;
            struct xc_tokenizer *tok = NULL;
            struct xc_tokens out = {0};
            struct xc_err err = {0};

            xc_alloc_fail_after(n);
            status = compile_model(&section, i, file->data, file->size, &err);
            if (status == XC_OK) status = xc_tokenizer_open(&tok, section, &err);
            if (status == XC_OK) status = xc_tokenizer_encode(tok, &out, text, strlen(text), NULL, 0, &all, &err);
            xc_alloc_fail_after(-1);
            if (status != XC_OK) assert_int_equal(status, XC_E_NOMEM);
            xc_tokens_release(&out);
            xc_tokenizer_free(&tok);
            xc_buf_unref(&section);
            assert_true(n < 5000);
        }
        xc_buf_unref(&file);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_subset),
        cmocka_unit_test(test_hostile_sections),
        cmocka_unit_test(test_cut_models),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
