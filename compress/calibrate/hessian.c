/* hessian: see hessian.h. */
#include "compress/calibrate/hessian.h"

#include <lapack.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/calibrate/blas.h"
#include "compress/calibrate/replay.h"
#include "compress/ranks.h"
#include "runtime/graph/op.h"

#define TILE 192 /* columns of H a work item, or that stay in the cache */

/* ---- collecting ---- */
struct collect {
    struct xc_hessians *out;
    const struct xc_graph *graph;
    const uint8_t *want;
    int32_t *reader; /* by value: the first linear that reads it */
    struct xc_pool *pool;
    struct xc_ranks *ranks;
    float **kept;    /* with ranks, by value: what this rank's batch of the round gave; */
    int64_t *rows;   /* and how many rows */
    float *given;    /* the same of another's */
    size_t cap_given;
};

struct tiles {
    const float *x;
    float *h;
    int64_t rows, K, across;
    int first, step; /* tiles of this rank */
};

/* Tile (i,j) of the upper triangle, j >= i. */
static void add_tile(void *arg, int64_t item, int thread)
{
    const struct tiles *t = arg;
    const int64_t i = item / t->across * TILE, j = item % t->across * TILE;

    (void)thread;
    if (j < i || item % t->step != t->first) return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)xc_min_i64(TILE, t->K - i), (int)xc_min_i64(TILE, t->K - j), (int)t->rows, 1.0f, t->x + i, (int)t->K,
                t->x + j, (int)t->K, 1.0f, t->h + i * t->K + j, (int)t->K);
}

/* A batch's rows of value v, in the order of the batches. */
static enum xc_status add_rows(const struct collect *w, int32_t value, const float *x, int64_t rows, struct xc_err *err)
{
    const int64_t K = w->graph->values[value].cols;

    for (int64_t i = 0; i < rows * K; i++)
        if (!isfinite(x[i])) return xc_fail(err, XC_E_RANGE, "the calibration texts make an input of '%s' that is not finite", w->graph->nodes[w->reader[value]].name);
    if (!w->out->norm2[value]) w->out->norm2[value] = xc_calloc((size_t)K, sizeof(float));
    if (!w->out->norm2[value]) return xc_fail_nomem(err, (size_t)K * sizeof(float));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < K; k++) w->out->norm2[value][k] += x[r * K + k] * x[r * K + k];
    if (w->want[value] != XC_HESSIAN_FULL) return XC_OK;
    if (!w->out->h[value]) XC_TRY(xc_spill_matrix((void **)&w->out->h[value], w->out->spill, K, K, sizeof **w->out->h, true, err));
    struct tiles t = { .x = x, .h = w->out->h[value], .rows = rows, .K = K, .across = xc_div_up(K, TILE), .first = xc_ranks_me(w->ranks), .step = xc_ranks_n(w->ranks) };

    if (rows > 0) xc_pool_run(w->pool, add_tile, &t, t.across * t.across);
    return XC_OK;
}

static enum xc_status add_batch(void *arg, const struct xc_op_ctx *c, int32_t node, struct xc_err *err)
{
    const struct collect *w = arg;
    const int32_t value = w->graph->nodes[node].in[0].id;
    const int64_t n = c->in[0]->rows * c->in[0]->cols;

    if (w->graph->nodes[node].in[0].kind != XC_REF_VALUE || w->reader[value] != node || !w->want[value]) return XC_OK;
    if (!w->ranks) return add_rows(w, value, c->in[0]->data, c->in[0]->rows, err);
    xc_free(w->kept[value]);
    w->kept[value] = xc_malloc((size_t)n * sizeof(float) + 4);
    if (!w->kept[value]) return xc_fail_nomem(err, (size_t)n * sizeof(float));
    memcpy(w->kept[value], c->in[0]->data, (size_t)n * sizeof(float));
    w->rows[value] = c->in[0]->rows;
    return XC_OK;
}

/* The batches of a round go to all ranks, one after the other; each adds its tiles. So every tile is summed in the order of the batches. */
static enum xc_status add_round(void *arg, int n, struct xc_err *err)
{
    struct collect *w = arg;

    for (int r = 0; r < n; r++)
        for (int32_t v = 0; v < w->graph->n_values; v++) {
            const bool mine = r == xc_ranks_me(w->ranks);
            int64_t rows = mine ? w->rows[v] : 0, numbers;

            if (!w->want[v] || w->reader[v] < 0) continue;
            XC_TRY(xc_ranks_give(w->ranks, r, &rows, sizeof rows, err));
            numbers = rows * w->graph->values[v].cols;
            if (!mine) XC_TRY(xc_grow((void **)&w->given, &w->cap_given, (size_t)numbers + 1, sizeof *w->given, err));
            XC_TRY(xc_ranks_give(w->ranks, r, mine ? w->kept[v] : w->given, (size_t)numbers * sizeof(float), err));
            XC_TRY(add_rows(w, v, mine ? w->kept[v] : w->given, rows, err));
        }
    return XC_OK;
}

static enum xc_status collect(struct collect *w, struct xc_model *model, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const struct xc_graph *g = w->graph;
    struct xc_calibration c = { .each = add_batch, .after = add_round, .each_arg = w };

    w->reader = xc_malloc(((size_t)g->n_values + 1) * sizeof *w->reader);
    w->out->h = xc_calloc((size_t)g->n_values + 1, sizeof *w->out->h);
    w->out->norm2 = xc_calloc((size_t)g->n_values + 1, sizeof *w->out->norm2);
    if (w->ranks) {
        w->kept = xc_calloc((size_t)g->n_values + 1, sizeof *w->kept);
        w->rows = xc_calloc((size_t)g->n_values + 1, sizeof *w->rows);
        if (!w->kept || !w->rows) return xc_fail_nomem(err, (size_t)g->n_values * sizeof *w->kept);
    }
    if (!w->reader || !w->out->h || !w->out->norm2) return xc_fail_nomem(err, (size_t)g->n_values * sizeof *w->out->h);
    for (int32_t v = 0; v < g->n_values; v++) w->reader[v] = -1;
    for (int32_t n = g->n_nodes - 1; n >= 0; n--)
        if (!strcmp(g->nodes[n].op->name, "linear") && g->nodes[n].in[0].kind == XC_REF_VALUE) w->reader[g->nodes[n].in[0].id] = n;
    XC_TRY(xc_calibrate(&c, model, texts, opts, err));
    w->out->rows = c.tokens;
    for (int32_t v = 0; v < g->n_values; v++) {
        if (!w->out->h[v]) continue;
        XC_TRY(xc_ranks_merge(w->ranks, w->out->h[v], g->values[v].cols * g->values[v].cols, err));
        xc_moments_mirror(w->out->h[v], g->values[v].cols);
    }
    return XC_OK;
}

enum xc_status xc_hessians_make(struct xc_hessians *out, struct xc_model *model, const uint8_t *want, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_spill *spill,
                                struct xc_err *err)
{
    struct collect w = { .out = out, .want = want, .pool = opts->pool, .ranks = opts->ranks, .graph = xc_model_find_graph(model, "encode") };
    enum xc_status status;

    *out = (struct xc_hessians){ .spill = spill };
    if (!w.graph) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode', which calibration texts run through");
    out->n_values = w.graph->n_values;
    xc_blas_init();
    status = collect(&w, model, texts, opts, err);
    for (int32_t v = 0; w.kept && v < w.graph->n_values; v++) xc_free(w.kept[v]);
    xc_free(w.kept);
    xc_free(w.rows);
    xc_free(w.given);
    xc_free(w.reader);
    if (status != XC_OK) xc_hessians_release(out);
    return status;
}

void xc_hessians_drop(struct xc_hessians *h, int32_t value)
{
    if (!h->h) return;
    xc_spill_drop(h->spill, h->h[value]);
    h->h[value] = NULL;
}

void xc_hessians_release(struct xc_hessians *h)
{
    for (int32_t v = 0; v < h->n_values; v++) {
        xc_hessians_drop(h, v);
        if (h->norm2) xc_free(h->norm2[v]);
    }
    xc_free(h->h);
    xc_free(h->norm2);
    *h = (struct xc_hessians){ 0 };
}

/* ---- factoring ---- */
#define MOST_DAMP 100.0 /* means of the diagonal */

/* Column-major lower is row-major upper: with A = U^T U, the lower triangle that LAPACK makes is U as we read it. */
static lapack_int invert(double *a, int64_t K)
{
    const lapack_int n = (lapack_int)K;
    lapack_int info = 0;
    char lower = 'L';

    LAPACK_dpotrf(&lower, &n, a, &n, &info);
    if (!info) LAPACK_dpotri(&lower, &n, a, &n, &info);
    if (!info) LAPACK_dpotrf(&lower, &n, a, &n, &info);
    for (int64_t i = 0; i < K && !info; i++)
        if (!(a[i * K + i] > 0 && isfinite(a[i * K + i]))) info = (lapack_int)i + 1;
    return info;
}

/* The triangle that was factored from the other one, which is as it was. */
static void restore(double *a, int64_t K)
{
    for (int64_t i0 = 0; i0 < K; i0 += TILE)
        for (int64_t j0 = i0; j0 < K; j0 += TILE)
            for (int64_t i = i0; i < xc_min_i64(i0 + TILE, K); i++)
                for (int64_t j = xc_max_i64(j0, i + 1); j < xc_min_i64(j0 + TILE, K); j++) a[i * K + j] = a[j * K + i];
}

enum xc_status xc_hessian_factor(double *a, int64_t K, double *damp, struct xc_err *err)
{
    double mean = 0, *diagonal = xc_malloc((size_t)K * sizeof *diagonal);
    lapack_int bad = 0;

    if (!diagonal) return xc_fail_nomem(err, (size_t)K * sizeof *diagonal);
    xc_blas_init();
    for (int64_t i = 0; i < K; i++) {
        diagonal[i] = a[i * K + i];
        mean += diagonal[i] / (double)K;
    }
    if (!isfinite(mean)) {
        xc_free(diagonal);
        return xc_fail(err, XC_E_RANGE, "the Hessian of %lld inputs is not finite", (long long)K);
    }
    for (;; *damp *= 10) {
        for (int64_t i = 0; i < K; i++) a[i * K + i] = diagonal[i] > 0 ? diagonal[i] + *damp * mean : 1.0;
        bad = invert(a, K);
        if (!bad || *damp * 10 > MOST_DAMP) break;
        restore(a, K);
    }
    xc_free(diagonal);
    return bad ? xc_fail(err, XC_E_RANGE, "the Hessian of %lld inputs is not positive definite (at input %lld), with any damping: other calibration texts are needed", (long long)K, (long long)bad - 1) : XC_OK;
}

enum xc_status xc_hessian_square(double **out, int64_t K, struct xc_spill *spill, struct xc_err *err)
{
    return xc_spill_matrix((void **)out, spill, K, K, sizeof **out, false, err);
}

enum xc_status xc_hessian_inverse_factor(float *u, const float *h, int64_t K, double *damp, struct xc_spill *spill, struct xc_err *err)
{
    double *a;
    enum xc_status status;

    XC_TRY(xc_hessian_square(&a, K, spill, err));
    for (int64_t i = 0; i < K * K; i++) a[i] = (double)h[i];
    status = xc_hessian_factor(a, K, damp, err);
    for (int64_t i = 0; i < K && status == XC_OK; i++)
        for (int64_t j = 0; j < K; j++) u[i * K + j] = j >= i ? (float)a[i * K + j] : 0.0f;
    xc_spill_drop(spill, a);
    return status;
}

void xc_hessian_note(char *why, size_t n, double asked, double used)
{
    const size_t at = strlen(why);

    if (used > asked) snprintf(why + at, n - at, "; its Hessian needed damping of %g", used);
}
