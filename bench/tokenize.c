/* tokenize: how fast text becomes ids, one thread. tokenize.py runs it beside the tokenizers library, in turns.
 *
 *   bench_tokenize DIR FILE [--repeat N] [--whole]
 *
 * Times are of the CPU, not of the clock on the wall: a busy machine does not slow them as much. FILE is plain text; each line is a text (--whole: the file is one). Prints JSON: the fastest and the median run, and how long opening took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "formats/tokenizer.h"
#include "runtime/text/tokenizer.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int fail(const struct xc_err *err)
{
    char text[512];

    fprintf(stderr, "bench_tokenize: %s\n", xc_err_text(err, text, sizeof text));
    return 1;
}

int main(int argc, char **argv)
{
    const struct xc_encode_opts opts = {.no_truncate = true};
    struct xc_buf *section = NULL, *file = NULL;
    struct xc_tokenizer *tok = NULL;
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    double seconds[1000], open_s = 1e9;
    bool whole = false;
    int repeat = 7;
    size_t n_ids = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenize DIR FILE [--repeat N] [--whole]\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--whole") == 0) whole = true;
        if (strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) repeat = atoi(argv[++i]);
    }
    if (repeat < 1 || repeat > 1000) repeat = 7;
    if (xc_tokenizer_compile(&section, argv[1], NULL, &err) || xc_buf_map(&file, argv[2], &err)) return fail(&err);
    for (int i = 0; i < 20; i++) {
        const double t = now();

        xc_tokenizer_free(&tok);
        if (xc_tokenizer_open(&tok, section, &err)) return fail(&err);
        if (now() - t < open_s) open_s = now() - t;
    }
    for (int i = 0; i < repeat; i++) {
        const double t = now();
        const char *s = (const char *)file->data, *end = s + file->size;

        n_ids = 0;
        while (s < end) {
            const char *stop = whole ? NULL : memchr(s, '\n', (size_t)(end - s));
            const size_t n = (size_t)((stop ? stop : end) - s);

            out.n = 0;
            if (xc_tokenizer_encode(tok, &out, s, n, NULL, 0, &opts, &err)) return fail(&err);
            n_ids += out.n;
            s += n + 1;
        }
        seconds[i] = now() - t;
    }
    qsort(seconds, (size_t)repeat, sizeof seconds[0], compare);
    printf("{\"kind\": \"%s\", \"bytes\": %zu, \"ids\": %zu, \"section_bytes\": %zu, \"open_ms\": %.3f, \"best_mb_s\": %.1f, \"median_mb_s\": %.1f, \"best_s\": %.4f}\n",
           xc_tokenizer_kind(tok), file->size, n_ids, section->size, 1e3 * open_s, 1e-6 * (double)file->size / seconds[0],
           1e-6 * (double)file->size / seconds[repeat / 2], seconds[0]);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    xc_buf_unref(&file);
    return 0;
}
