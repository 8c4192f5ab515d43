/* Tokenizers: long texts, words taken window by window, and the memory both take. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_unigram_windows),
        cmocka_unit_test(test_window_memory),
        cmocka_unit_test(test_no_allocation_after_the_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
