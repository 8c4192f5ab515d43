/* measure: see measure.h. */
#include "compress/gate/measure.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "compress/gate/process.h"
#include "compress/tasks/stats.h"
#include "formats/formats.h"
#include "runtime/base/clock.h"
#include "runtime/base/rng.h"

double xc_peak_rss(void)
{
    FILE *f = fopen("/proc/self/status", "re"); /* getrusage would count the parent's memory from before the exec */
    char line[256];
    long long kb = 0;

    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld kB", &kb) == 1) break;
    fclose(f);
    return 1024.0 * (double)kb;
}

enum xc_status xc_measure_ids(int32_t **ids, int64_t **start, const struct xc_model_info *info, int32_t tokens, int32_t batch, struct xc_err *err)
{
    const int64_t n = (int64_t)tokens * batch;
    struct xc_rng rng;

    *ids = NULL;
    *start = NULL;
    if (tokens < 1 || batch < 1 || n > INT32_MAX) return xc_fail(err, XC_E_RANGE, "a batch of %d x %d tokens", batch, tokens);
    if (info->max_positions && tokens > info->max_positions)
        return xc_fail(err, XC_E_RANGE, "%d tokens, the model has %d positions", tokens, info->max_positions);
    *ids = xc_malloc((size_t)n * sizeof **ids);
    *start = xc_malloc(((size_t)batch + 1) * sizeof **start);
    if (!*ids || !*start) {
        xc_free(*ids);
        xc_free(*start);
        *ids = NULL;
        *start = NULL;
        return xc_fail_nomem(err, (size_t)n * sizeof **ids);
    }
    xc_rng_init(&rng, 0, 128);
    for (int64_t i = 0; i < n; i++) (*ids)[i] = (int32_t)xc_rng_below(&rng, info->vocab_size > 0 ? (uint64_t)info->vocab_size : 1000);
    for (int64_t i = 0; i <= batch; i++) (*start)[i] = i * tokens;
    return XC_OK;
}

/* ---- latency ---- */
static void summarize(struct xc_latency *out, double *ms, int32_t runs)
{
    xc_sort_doubles(ms, runs);
    *out = (struct xc_latency){ .median = xc_quantile(ms, runs, 0.5), .p5 = xc_quantile(ms, runs, 0.05), .p95 = xc_quantile(ms, runs, 0.95), .runs = runs };
    xc_median_interval(&out->lo, &out->hi, ms, runs);
}

#define MAX_RUNS 100000
#define WARM_UP 3
enum { MAX_SESSIONS = 8 };

enum xc_status xc_measure_latency(struct xc_latency *out, struct xc_session *const *sessions, int n, const struct xc_latency_opts *o, struct xc_err *err)
{
    int32_t *ids[MAX_SESSIONS] = { 0 }, limit = o->runs > 0 ? o->runs : 1000, r = 0;
    int64_t *start[MAX_SESSIONS] = { 0 };
    double *ms = NULL, began = 0;
    struct xc_output answer;
    enum xc_status status = XC_OK;

    for (int i = 0; i < n; i++) out[i] = (struct xc_latency){ 0 };
    if (n < 1 || n > MAX_SESSIONS || limit > MAX_RUNS) return xc_fail(err, XC_E_ARG, "%d models, %d runs", n, limit);
    ms = xc_malloc((size_t)n * (size_t)limit * sizeof *ms);
    if (!ms) return xc_fail_nomem(err, (size_t)n * (size_t)limit * sizeof *ms);
    for (int i = 0; i < n; i++) XC_TRY_GOTO(xc_measure_ids(&ids[i], &start[i], &sessions[i]->info, o->tokens, o->batch, err), out);
    for (r = -WARM_UP; r < limit; r++) {
        if (r == 0) began = xc_seconds();
        if (!o->runs && r >= 10 && xc_seconds() - began > 1.5 * n) break;
        if (o->progress && o->progress->cancelled && o->progress->cancelled(o->progress->arg)) {
            status = xc_fail(err, XC_E_CANCELLED, "stopped while measuring");
            goto out;
        }
        for (int i = 0; i < n; i++) {
            const double from = xc_seconds();

            XC_TRY_GOTO(xc_session_run_ids(sessions[i], ids[i], NULL, start[i], o->batch, &answer, err), out);
            if (r >= 0) ms[(size_t)i * (size_t)limit + (size_t)r] = 1e3 * (xc_seconds() - from);
        }
    }
    for (int i = 0; i < n; i++) summarize(&out[i], ms + (size_t)i * (size_t)limit, r);
out:
    for (int i = 0; i < n; i++) {
        xc_free(ids[i]);
        xc_free(start[i]);
    }
    xc_free(ms);
    return status;
}

/* ---- a fresh process ---- */
static enum xc_status say(int fd, const char *text, struct xc_err *err)
{
    for (size_t n = strlen(text); n;) {
        const ssize_t wrote = write(fd, text, n);

        if (wrote < 0 && errno != EINTR) return xc_fail_errno(err, errno, "cannot say what was measured");
        if (wrote <= 0) continue;
        text += wrote;
        n -= (size_t)wrote;
    }
    return XC_OK;
}

enum xc_status xc_measure_child(int fd, const char *path, int threads, int32_t tokens, int32_t batch, struct xc_err *err)
{
    static const char *const text[] = { "A gate for models: is it still within its budget?" };
    const double from = xc_seconds();
    struct xc_model *model = NULL;
    struct xc_session *session = NULL;
    struct xc_session_opts opts = { 0 };
    struct xc_output out;
    int32_t *ids = NULL;
    int64_t *start = NULL;
    double open_ms;
    char line[128];
    enum xc_status status;

    if (threads != 1) XC_TRY(xc_pool_new(&opts.pool, threads, err));
    XC_TRY_GOTO(xc_model_load(&model, path, NULL, err), out);
    XC_TRY_GOTO(xc_session_new(&session, model, &opts, err), out);
    open_ms = 1e3 * (xc_seconds() - from);
    if (session->info.has_tokenizer) {
        XC_TRY_GOTO(xc_session_run_texts(session, text, NULL, 1, &out, err), out);
    } else {
        XC_TRY_GOTO(xc_measure_ids(&ids, &start, &session->info, 1, 1, err), out);
        XC_TRY_GOTO(xc_session_run_ids(session, ids, NULL, start, 1, &out, err), out);
    }
    XC_TRY_GOTO(say(fd, "answered\n", err), out);
    if (tokens > 0) {
        xc_free(ids);
        xc_free(start);
        XC_TRY_GOTO(xc_measure_ids(&ids, &start, &session->info, tokens, batch, err), out);
        XC_TRY_GOTO(xc_session_run_ids(session, ids, NULL, start, batch, &out, err), out);
    }
    snprintf(line, sizeof line, "open_ms %.6f peak_rss %.0f\n", open_ms, xc_peak_rss());
    status = say(fd, line, err);
out:
    xc_free(ids);
    xc_free(start);
    if (session) xc_session_free(&session);
    if (model) xc_model_free(&model);
    if (opts.pool) xc_pool_free(&opts.pool);
    return status;
}

enum xc_status xc_measure_process(struct xc_process *out, char *const argv[], struct xc_err *err)
{
    const double from = xc_seconds();
    struct xc_said said;
    enum xc_status status = XC_OK;

    *out = (struct xc_process){ 0 };
    XC_TRY(xc_process_read(&said, argv, 4096, NULL, err));
    if (said.code || sscanf(said.text, "answered open_ms %lf peak_rss %lf", &out->open_ms, &out->peak_rss) != 2) {
        *out = (struct xc_process){ 0 };
        status = xc_fail(err, XC_E_IO, "the process that was to be measured failed with status %d", said.code);
    } else {
        out->start_ms = 1e3 * (said.first - from);
    }
    xc_free(said.text);
    return status;
}
