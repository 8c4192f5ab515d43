/* calibrate: see calibrate.h. */
#include "compress/calibrate/calibrate.h"

#include <math.h>
#include <string.h>

#include "compress/limits.h"
#include "compress/ranks.h"
#include "runtime/base/half.h"
#include "runtime/session/session.h"

#define BATCH_TOKENS 1024 /* run together, unless one text is longer */
#define MANTISSA 5        /* bits of a bin: 32 bins to a factor of two */
#define N_BINS (256 << MANTISSA)

/* ---- histograms of magnitudes ---- */
static int bin_of(float a) { return (int)(xc_f32_bits(a) >> (23 - MANTISSA)); }
static double bin_low(int b) { return (double)xc_f32_from_bits((uint32_t)b << (23 - MANTISSA)); }

static enum xc_status ranges_init(struct xc_ranges *r, const struct xc_graph *g, struct xc_err *err)
{
    *r = (struct xc_ranges){ .graph = g->name, .n_nodes = g->n_nodes };
    r->bins = xc_calloc((size_t)g->n_nodes + 1, sizeof *r->bins);
    r->max = xc_calloc((size_t)g->n_nodes + 1, sizeof *r->max);
    if (r->bins && r->max) return XC_OK;
    xc_ranges_release(r);
    return xc_fail_nomem(err, (size_t)g->n_nodes * sizeof *r->bins);
}

void xc_ranges_release(struct xc_ranges *r)
{
    for (int32_t n = 0; r->bins && n < r->n_nodes; n++) xc_free(r->bins[n]);
    xc_free(r->bins);
    xc_free(r->max);
    *r = (struct xc_ranges){ 0 };
}

static enum xc_status ranges_add(struct xc_ranges *r, int32_t n, const float *x, int64_t count, struct xc_err *err)
{
    if (!r->bins[n]) r->bins[n] = xc_calloc(N_BINS, sizeof *r->bins[n]);
    if (!r->bins[n]) return xc_fail_nomem(err, N_BINS * sizeof *r->bins[n]);
    for (int64_t i = 0; i < count; i++) {
        const float a = fabsf(x[i]);

        r->bins[n][bin_of(a)]++;
        if (a > r->max[n]) r->max[n] = a;
    }
    return XC_OK;
}

static double percentile_of(const uint64_t *bins, float max, double percentile)
{
    uint64_t total = 0, below = 0;

    for (int b = 0; b < N_BINS; b++) total += bins[b];
    for (int b = 0; b < N_BINS; b++) {
        below += bins[b];
        if ((double)below >= (double)total * percentile / 100.0) return fmin(bin_low(b + 1), (double)max);
    }
    return (double)max;
}

/* The range T that makes the least squared error: a step of T/127 inside (error step^2/12), |x| - T outside. */
static double least_error_of(const uint64_t *bins, float max)
{
    double best = (double)max, best_error = INFINITY;

    for (double t = (double)max; t > (double)max / 64; t *= 0.97) {
        double error = 0;

        for (int b = 0; b < N_BINS; b++) {
            if (!bins[b]) continue;
            const double x = 0.5 * (bin_low(b) + bin_low(b + 1)), d = x > t ? (x - t) * (x - t) : t * t / (127.0 * 127.0 * 12.0);

            error += (double)bins[b] * d;
        }
        if (error < best_error) {
            best_error = error;
            best = t;
        }
    }
    return best;
}

float xc_ranges_scale(const struct xc_ranges *r, const struct xc_graph *g, int32_t n, const char *method, double percentile)
{
    double range;

    if (!r || !r->bins || strcmp(r->graph, g->name) || n >= r->n_nodes || !r->bins[n] || !(r->max[n] > 0) || !isfinite(r->max[n])) return 0;
    range = (double)r->max[n];
    if (!strcmp(method, "percentile")) range = percentile_of(r->bins[n], r->max[n], percentile);
    else if (!strcmp(method, "mse")) range = least_error_of(r->bins[n], r->max[n]);
    return (float)(range / 127.0);
}

/* ---- watching a run ---- */
struct watch {
    struct xc_calibration *c;
    struct xc_session *session;
    const struct xc_graph *graph, *changed; /* the same nodes */
    struct xc_run *run;                     /* of the changed model */
    double *error2, *norm2;                 /* by batch and tensor of the changed model */
    int64_t batch, n_batches;
    enum xc_status status;
    struct xc_err *err;
};

/* The changed linear on the same input; adds the squared error and norm of its output. */
static enum xc_status compare(struct watch *w, const struct xc_op_ctx *c, int32_t n)
{
    const struct xc_node *node = &w->changed->nodes[n];
    const int64_t t = w->batch * w->changed->model->n_tensors + node->in[1].id;
    const struct xc_scratch_mark mark = xc_scratch_save(&w->run->values);
    struct xc_view *out;
    const float *real = c->out[0]->data, *got;

    w->run->views[node->in[0].id] = *c->in[0];
    out = &w->run->views[node->out[0]];
    out->data = NULL;
    XC_TRY(xc_run_node(w->run, w->changed, node, w->err));
    got = out->data;
    for (int64_t i = 0; i < out->rows * out->cols; i++) {
        const double d = (double)got[i] - (double)real[i];

        w->error2[t] += d * d;
        w->norm2[t] += (double)real[i] * (double)real[i];
    }
    xc_scratch_restore(&w->run->values, mark);
    return XC_OK;
}

static void observe(void *arg, const struct xc_op_ctx *c)
{
    struct watch *w = arg;
    const int32_t n = (int32_t)(c->node - w->graph->nodes);

    if (w->status != XC_OK || strcmp(c->node->op->name, "linear") || !c->in[0] || c->node->in[1].kind != XC_REF_TENSOR) return;
    if (w->c->ranges) w->status = ranges_add(w->c->ranges, n, c->in[0]->data, c->in[0]->rows * c->in[0]->cols, w->err);
    if (w->status == XC_OK && w->c->each) w->status = w->c->each(w->c->each_arg, c, n, w->err);
    if (w->status == XC_OK && w->changed) w->status = compare(w, c, n);
}

/* ---- running ---- */
static enum xc_status run_batch(struct watch *w, const int32_t *ids, const int64_t *start, int64_t n, struct xc_err *err)
{
    struct xc_output out;
    int32_t *offsets;
    enum xc_status status = XC_OK;

    if (w->changed) { /* the changed model's rows are those of this batch */
        offsets = xc_malloc(((size_t)n + 1) * sizeof *offsets);
        if (!offsets) return xc_fail_nomem(err, ((size_t)n + 1) * sizeof *offsets);
        for (int64_t i = 0; i <= n; i++) offsets[i] = (int32_t)(start[i] - start[0]);
        const struct xc_ragged rag = { .start = offsets, .n_seq = (int32_t)n };

        status = xc_scratch_reset(&w->run->values, err);
        if (status == XC_OK) status = xc_scratch_reset(&w->run->node, err);
        if (status == XC_OK) status = xc_run_offsets(w->run, w->changed, &rag, 1, err);
        xc_free(offsets);
    }
    if (status == XC_OK) status = xc_session_run_ids(w->session, ids, NULL, start, n, &out, err);
    return status == XC_OK ? w->status : status;
}

/* The end of the batch that begins with text i. */
static int64_t batch_end(const int64_t *start, int64_t i, int64_t n)
{
    int64_t j = i + 1;

    while (j < n && start[j + 1] - start[i] <= BATCH_TOKENS) j++;
    return j;
}

static enum xc_status room_for_errors(struct watch *w, const int64_t *start, int64_t n, struct xc_err *err)
{
    size_t count;

    for (int64_t i = 0; i < n; i = batch_end(start, i, n)) w->n_batches++;
    if (!w->changed) return XC_OK;
    count = (size_t)(w->n_batches * w->changed->model->n_tensors) + 1;
    w->error2 = xc_calloc(count, sizeof *w->error2);
    w->norm2 = xc_calloc(count, sizeof *w->norm2);
    return w->error2 && w->norm2 ? XC_OK : xc_fail_nomem(err, count * sizeof *w->norm2);
}

/* Ranks take batches in turn, round by round. */
static enum xc_status run_all(struct watch *w, const int32_t *ids, const int64_t *start, int64_t n, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const struct xc_progress *p = opts->progress;
    const int ranks = xc_ranks_n(opts->ranks);

    XC_TRY(room_for_errors(w, start, n, err));
    w->batch = 0;
    for (int64_t i = 0; i < n; w->batch++) {
        const int64_t j = batch_end(start, i, n);
        const int turn = (int)(w->batch % ranks);

        if (turn == xc_ranks_me(opts->ranks)) XC_TRY(run_batch(w, ids, start + i, j - i, err));
        i = j;
        if (w->c->after && opts->ranks && (turn == ranks - 1 || i == n)) XC_TRY(w->c->after(w->c->each_arg, turn + 1, err));
        if (p && p->update) p->update(p->arg, w->changed ? "measure" : "calibrate", (double)i, (double)n);
        if (p && p->cancelled && p->cancelled(p->arg)) return xc_fail(err, XC_E_CANCELLED, "stopped on request");
    }
    return XC_OK;
}

/* What each rank saw becomes what all did. Counts are exact, and every number of a batch is of one rank. */
static enum xc_status join_ranges(struct xc_ranges *r, struct xc_ranks *ranks, struct xc_err *err)
{
    const int n = xc_ranks_n(ranks), me = xc_ranks_me(ranks);

    for (int32_t node = 0; node < r->n_nodes; node++) {
        double max[2] = { 0, r->bins[node] != NULL }, bins[N_BINS];

        XC_TRY(xc_ranks_sum(ranks, max + 1, 1, err));
        if (!(max[1] > 0)) continue;
        if (!r->bins[node]) r->bins[node] = xc_calloc(N_BINS, sizeof *r->bins[node]);
        if (!r->bins[node]) return xc_fail_nomem(err, N_BINS * sizeof *r->bins[node]);
        for (int b = 0; b < N_BINS; b++) bins[b] = (double)r->bins[node][b];
        XC_TRY(xc_ranks_sum(ranks, bins, N_BINS, err));
        for (int b = 0; b < N_BINS; b++) r->bins[node][b] = (uint64_t)bins[b];
        for (int i = 0; i < n; i++) {
            max[0] = i == me ? (double)r->max[node] : 0;
            XC_TRY(xc_ranks_sum(ranks, max, 1, err));
            if (max[0] > (double)r->max[node]) r->max[node] = (float)max[0];
        }
    }
    return XC_OK;
}

static enum xc_status join(struct watch *w, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const int64_t count = w->changed ? w->n_batches * w->changed->model->n_tensors : 0;

    if (!opts->ranks) return XC_OK;
    if (w->c->ranges) XC_TRY(join_ranges(w->c->ranges, opts->ranks, err));
    XC_TRY(xc_ranks_sum(opts->ranks, w->error2, count, err));
    return xc_ranks_sum(opts->ranks, w->norm2, count, err);
}

static enum xc_status run_texts(struct watch *w, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err)
{
    struct xc_tokens_view view;
    int32_t *ids;
    int64_t *start;
    enum xc_status status;

    XC_TRY(xc_session_tokenize(w->session, (const char *const *)texts->text, texts->length, texts->n, true, &view, err));
    w->c->texts = texts->n;
    w->c->tokens = view.start[view.n];
    ids = xc_malloc((size_t)w->c->tokens * sizeof *ids + 4); /* the session re-uses its own */
    start = xc_malloc(((size_t)view.n + 1) * sizeof *start);
    if (ids && start) {
        memcpy(ids, view.ids, (size_t)w->c->tokens * sizeof *ids);
        memcpy(start, view.start, ((size_t)view.n + 1) * sizeof *start);
        status = run_all(w, ids, start, texts->n, opts, err);
    } else {
        status = xc_fail_nomem(err, (size_t)w->c->tokens * sizeof *ids);
    }
    xc_free(ids);
    xc_free(start);
    return status;
}

static enum xc_status prepare(struct watch *w, struct xc_model *model, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const struct xc_model *changed = w->c->changed;
    const struct xc_session_opts session = { .pool = opts->pool, .plain = true, .lazy = xc_memory_is_short(model, opts->max_memory) };

    XC_TRY(xc_session_new(&w->session, model, &session, err));
    w->graph = w->session->graph;
    w->session->run->observe = observe;
    w->session->run->observe_arg = w;
    if (w->c->ranges) XC_TRY(ranges_init(w->c->ranges, w->graph, err));
    if (!changed) return XC_OK;
    w->changed = xc_model_find_graph(changed, w->graph->name);
    if (!w->changed || w->changed->n_nodes != w->graph->n_nodes) return xc_fail(err, XC_E_ARG, "the changed model has other nodes");
    for (int32_t t = 0; t < changed->n_tensors && !session.lazy; t++) XC_TRY(xc_tensor_load(changed->tensors[t], err));
    XC_TRY(xc_run_new(&w->run, changed, w->session->run->kern, opts->pool, err));
    w->run->lazy = session.lazy; /* weights that are absent come for a node and go */
    return XC_OK;
}

enum xc_status xc_calibrate(struct xc_calibration *c, struct xc_model *model, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err)
{
    struct watch w = { .c = c, .err = err };
    enum xc_status status = prepare(&w, model, opts, err);

    if (status == XC_OK) status = run_texts(&w, texts, opts, err);
    if (status == XC_OK) status = join(&w, opts, err);
    for (int32_t t = 0; status == XC_OK && c->changed && t < c->changed->n_tensors; t++) {
        double error2 = 0, norm2 = 0;

        for (int64_t b = 0; b < w.n_batches; b++) {
            error2 += w.error2[b * c->changed->n_tensors + t];
            norm2 += w.norm2[b * c->changed->n_tensors + t];
        }
        c->output_error[t] = norm2 > 0 ? sqrt(error2 / norm2) : -1;
    }
    xc_free(w.error2);
    xc_free(w.norm2);
    xc_run_free(&w.run);
    xc_session_free(&w.session);
    if (status != XC_OK && c->ranges) xc_ranges_release(c->ranges);
    return status;
}
