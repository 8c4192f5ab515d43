/* bench: latency, throughput, opening time and memory of a model on this machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "compress/gate/measure.h"
#include "compress/tasks/task.h"
#include "formats/json.h"
#include "runtime/base/clock.h"

#define MAX_LENGTHS 16

struct bench_opts {
    const char *tokens, *file;
    int64_t batch, threads, runs;
    bool quiet, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct bench_opts, tokens, 0, "tokens", "N,N...", "128", "lengths of the sequences, each measured in turn"),
    CLI_INT(struct bench_opts, batch, 0, "batch", "N", 1, 1 << 20, "1", "sequences in a run"),
    CLI_INT(struct bench_opts, runs, 0, "runs", "N", 0, 100000, "0", "runs of each length; 0 for 1.5 seconds' worth, 10 at least"),
    CLI_STRING(struct bench_opts, file, 'f', "file", "FILE", NULL, "also run these texts, one a line or a .tsv with text, plain or .zst, tokenization included"),
    CLI_THREADS(struct bench_opts, threads), CLI_QUIET(struct bench_opts, quiet), CLI_JSON(struct bench_opts, json),
    CLI_END
};

struct measured {
    int32_t tokens, batch;
    struct xc_latency latency;
    struct xc_process process;
};

struct texts {
    int64_t rows, tokens, truncated;
    double seconds;
};

static int parse_lengths(int32_t *out, int *n, const char *text)
{
    for (*n = 0; *n < MAX_LENGTHS; text++) {
        char *end;
        const long x = strtol(text, &end, 10);

        if (end == text || x < 1 || x > 1 << 20 || (*end && *end != ',')) return -1;
        out[(*n)++] = (int32_t)x;
        if (!*end) return 0;
        text = end;
    }
    return -1;
}

static enum xc_status measure_process(struct xc_process *out, const char *path, int32_t tokens, int32_t batch, int threads, struct xc_err *err)
{
    char self[] = "/proc/self/exe", verb[] = "measure-process", model[4096], a[32], b[32], c[32];
    char *argv[] = { self, verb, model, a, b, c, NULL };

    if (strlen(path) >= sizeof model - 2) return xc_fail(err, XC_E_RANGE, "the path of the model is too long");
    snprintf(model, sizeof model, "%s%s", *path == '-' ? "./" : "", path);
    snprintf(a, sizeof a, "--tokens=%d", tokens);
    snprintf(b, sizeof b, "--batch=%d", batch);
    snprintf(c, sizeof c, "--threads=%d", threads);
    return xc_measure_process(out, argv, err);
}

static enum xc_status ignore_answer(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    (void)arg;
    (void)a;
    (void)err;
    return XC_OK;
}

/* All texts of a file, twice: the first time buffers grow. */
static enum xc_status measure_texts(struct texts *out, const char *path, struct xc_session *session, struct xc_pool *pool, const struct xc_progress *progress, struct xc_err *err)
{
    struct xc_batcher batcher;
    struct xc_texts texts;
    struct xc_data data;
    enum xc_status status;

    *out = (struct texts){ 0 };
    XC_TRY(xc_data_read_texts(&data, path, err));
    texts = (struct xc_texts){ .n = data.n, .a = data.a, .a_len = data.a_len };
    xc_batcher_init(&batcher, session, pool);
    batcher.progress = progress;
    status = xc_batcher_run(&batcher, &texts, ignore_answer, NULL, err);
    batcher.rows_done = batcher.tokens_done = batcher.truncated = 0;
    out->seconds = xc_seconds();
    if (status == XC_OK) status = xc_batcher_run(&batcher, &texts, ignore_answer, NULL, err);
    out->seconds = xc_seconds() - out->seconds;
    out->rows = batcher.rows_done;
    out->tokens = batcher.tokens_done;
    out->truncated = batcher.truncated;
    xc_batcher_release(&batcher);
    xc_data_release(&data);
    return status;
}

static void set_measured(json_t *doc, int *bad, const struct measured *m, int threads)
{
    const double per_s = 1e3 * m->batch / m->latency.median;

    *bad |= json_object_set_new(doc, "threads", json_integer(threads));
    *bad |= json_object_set_new(doc, "batch", json_integer(m->batch));
    *bad |= json_object_set_new(doc, "tokens", json_integer(m->tokens));
    *bad |= json_object_set_new(doc, "latency_ms", json_pack("{s:o, s:o, s:o, s:i, s:[o, o]}", "median", xc_json_new_number(m->latency.median), "p5", xc_json_new_number(m->latency.p5), "p95",
                                                             xc_json_new_number(m->latency.p95), "runs", m->latency.runs, "median_ci95", xc_json_new_number(m->latency.lo),
                                                             xc_json_new_number(m->latency.hi)));
    *bad |= json_object_set_new(doc, "throughput", json_pack("{s:o, s:o}", "sequences_per_s", xc_json_new_number(per_s), "tokens_per_s", xc_json_new_number(per_s * m->tokens)));
    *bad |= json_object_set_new(doc, "open_ms", xc_json_new_number(m->process.open_ms));
    *bad |= json_object_set_new(doc, "start_ms", xc_json_new_number(m->process.start_ms));
    *bad |= json_object_set_new(doc, "peak_rss_mb", xc_json_new_number(m->process.peak_rss / 1e6));
}

static int print_json(const struct measured *m, int n, const struct texts *texts, int threads, const char *model)
{
    json_t *doc = json_object();
    int bad = !doc;

    bad |= json_object_set_new(doc, "model", xc_json_new_text(model, strlen(model)));
    set_measured(doc, &bad, &m[0], threads);
    if (n > 1) {
        json_t *list = json_array();

        for (int i = 0; i < n; i++) {
            json_t *one = json_object();

            set_measured(one, &bad, &m[i], threads);
            bad |= json_array_append_new(list, one);
        }
        bad |= json_object_set_new(doc, "lengths", list);
    }
    if (texts)
        bad |= json_object_set_new(doc, "texts", json_pack("{s:I, s:I, s:I, s:o, s:o, s:o}", "rows", (json_int_t)texts->rows, "tokens", (json_int_t)texts->tokens, "truncated",
                                                           (json_int_t)texts->truncated, "seconds", xc_json_new_number(texts->seconds), "sequences_per_s",
                                                           xc_json_new_number((double)texts->rows / texts->seconds), "tokens_per_s",
                                                           xc_json_new_number((double)texts->tokens / texts->seconds)));
    if (bad) xc_json_free(&doc);
    return cli_print_json(doc);
}

static void print_table(const struct measured *m, int n, const struct texts *texts, int threads)
{
    printf("%d thread%s\n\n%7s %6s %11s %11s %11s %6s %12s %12s %9s %9s\n", threads, threads == 1 ? "" : "s", "tokens", "batch", "median ms", "p5", "p95", "runs", "sequences/s", "tokens/s",
           "open ms", "peak MB");
    for (int i = 0; i < n; i++) {
        const struct xc_latency *l = &m[i].latency;

        printf("%7d %6d %11.3f %11.3f %11.3f %6d %12.1f %12.0f %9.2f %9.1f\n", m[i].tokens, m[i].batch, l->median, l->p5, l->p95, l->runs, 1e3 * m[i].batch / l->median,
               1e3 * m[i].batch * m[i].tokens / l->median, m[i].process.open_ms, m[i].process.peak_rss / 1e6);
    }
    if (texts)
        printf("\ntexts: %lld in %.3f s, tokenization included: %.1f a second, %.0f tokens/s\n", (long long)texts->rows, texts->seconds, (double)texts->rows / texts->seconds,
               (double)texts->tokens / texts->seconds);
}

static int run(void *opts, int argc, char **argv)
{
    const struct bench_opts *const o = opts;
    struct measured m[MAX_LENGTHS] = { 0 };
    int32_t lengths[MAX_LENGTHS];
    struct texts texts = { 0 };
    struct xc_subject model = { 0 };
    struct xc_pool *pool = NULL;
    struct cli_progress progress;
    struct xc_err err = { 0 };
    enum xc_status status;
    int n, threads = 1, code = CLI_OK;

    (void)argc;
    if (parse_lengths(lengths, &n, o->tokens)) return cli_usage(&cli_verb_bench, "--tokens takes lengths from 1, separated by commas, not '%.60s'", o->tokens);
    cli_progress_init(&progress, o->quiet);
    status = xc_pool_new(&pool, (int)o->threads, &err);
    if (status == XC_OK) threads = xc_pool_threads(pool);
    if (status == XC_OK) status = xc_subject_open(&model, argv[0], NULL, threads == 1 ? NULL : pool, &err);
    for (int i = 0; i < n && status == XC_OK; i++) {
        const struct xc_latency_opts latency = { .tokens = lengths[i], .batch = (int32_t)o->batch, .runs = (int32_t)o->runs, .progress = &progress.callbacks };

        m[i].tokens = lengths[i];
        m[i].batch = (int32_t)o->batch;
        status = xc_measure_latency(&m[i].latency, &model.session, 1, &latency, &err);
        if (status == XC_OK) status = measure_process(&m[i].process, argv[0], lengths[i], (int32_t)o->batch, threads, &err);
    }
    if (status == XC_OK && o->file) status = measure_texts(&texts, o->file, model.session, pool, &progress.callbacks, &err);
    cli_progress_done(&progress);
    if (status != XC_OK) code = cli_fail(&err);
    else if (o->json) code = print_json(m, n, o->file ? &texts : NULL, threads, argv[0]);
    else print_table(m, n, o->file ? &texts : NULL, threads);
    xc_subject_close(&model);
    if (pool) xc_pool_free(&pool);
    return code;
}

const struct cli_verb cli_verb_bench = {
    .name = "bench", .summary = "latency, throughput and memory of a model on this machine", .usage = "MODEL [--tokens N,N...] [--batch N] [--file FILE] [options]",
    .details =
        "Latency is the wall time of one run on token ids, after three runs to warm up: median, 5th and 95th percentile. Opening time and peak memory are those of a fresh process "
        "that opens the model and runs one such batch. --file runs texts through the tokenizer and the model, sorted by length into batches, and reports texts a second.",
    .opts = table, .opts_size = sizeof(struct bench_opts), .min_args = 1, .max_args = 1, .run = run,
};
