/* forecast_rates: how long a unit of each kind of work takes on this machine, now: see forecast.h. Only the kinds that are asked for are measured.
 *
 * The slice is the first linears of graph "encode", with what stands between them: their real weights, on made-up inputs, as calibration runs them.
 * Each measurement runs once to warm up and counts the second time. */
#include <math.h>
#include <string.h>

#include "compress/calibrate/blas.h"
#include "compress/calibrate/hessian.h"
#include "compress/calibrate/replay.h"
#include "compress/plan/forecast.h"
#include "compress/plan/predict.h"
#include "compress/prune/prune.h"
#include "compress/quantize/gptq.h"
#include "compress/quantize/quantize.h"
#include "compress/quantize/smooth_factors.h"
#include "runtime/base/clock.h"
#include "runtime/base/half.h"
#include "runtime/base/rng.h"
#include "runtime/graph/run.h"
#include "runtime/kernels/kernels.h"

#define NUMBERS ((int64_t)3 << 19) /* of the slice's weights, at least where there are so many */
#define MACS 4e9                   /* of a run that is timed: fewer rows beyond that */
enum { ROWS_FEW = 64, ROWS_MOST = 1024, READ_ROWS = 16, SIDE = 384 /* of made-up matrices */, PASSES = 8 /* of what takes a millisecond */ };

struct rates {
    const struct xc_forecast *f;
    struct xc_model *m;
    struct xc_graph *g;
    struct xc_pool *pool;
    struct xc_compress_opts opts;
    struct xc_recipe *recipe;
    struct xc_work work;
    int32_t first, last;            /* nodes of the slice */
    double numbers;                 /* of its linears */
    double rate[XC_TOIL_COUNT];     /* seconds a unit */
};

static bool is_linear(const struct xc_node *node) { return strcmp(node->op->name, "linear") == 0 && node->in[1].kind == XC_REF_TENSOR && node->in[0].kind == XC_REF_VALUE; }
static bool wanted(const struct rates *r, enum xc_toil kind) { return r->f->toil[kind] > 0; }

static void made_up(float *x, int64_t n)
{
    struct xc_rng rng;

    xc_rng_init(&rng, 0xF0CA, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(xc_rng_unit(&rng) + xc_rng_unit(&rng) - 1);
}

/* ---- the slice ---- */
static void find_slice(struct rates *r)
{
    r->first = 0;
    while (r->first < r->g->n_nodes && !is_linear(&r->g->nodes[r->first])) r->first++;
    for (r->last = r->first; r->last < r->g->n_nodes && r->numbers < (double)NUMBERS; r->last++)
        if (is_linear(&r->g->nodes[r->last])) r->numbers += (double)xc_tensor_count(r->m->tensors[r->g->nodes[r->last].in[1].id]);
}

/* Values that the slice reads and nodes before it make get made-up numbers; ids (of positions, behind a factorised word table) are zeros, which every table has. */
static enum xc_status bind(const struct rates *r, struct xc_run *run, struct xc_err *err)
{
    for (int32_t n = r->first; n < r->last; n++)
        for (int32_t i = 0; i < r->g->nodes[n].n_in; i++) {
            const struct xc_ref *ref = &r->g->nodes[n].in[i];
            struct xc_view *view = ref->kind == XC_REF_VALUE ? &run->views[ref->id] : NULL;

            if (!view || view->data || r->g->values[ref->id].node >= r->first) continue;
            view->data = xc_scratch_alloc(&run->values, (size_t)(view->rows * view->cols) * sizeof(float));
            if (!view->data) return xc_fail_nomem(err, (size_t)(view->rows * view->cols) * sizeof(float));
            if (r->g->values[ref->id].dtype == XC_DTYPE_F32) made_up(view->data, view->rows * view->cols);
            else memset(view->data, 0, (size_t)(view->rows * view->cols) * sizeof(int32_t));
        }
    return XC_OK;
}

/* Seconds of the slice on so many rows. */
static enum xc_status time_slice(const struct rates *r, double *seconds, int32_t rows, struct xc_err *err)
{
    int32_t start[ROWS_MOST / 32 + 1], zeros[ROWS_MOST] = { 0 };
    const struct xc_ragged rag = { .start = start, .n_seq = rows / 32 };
    struct xc_run *run = NULL;
    enum xc_status status;

    for (int32_t i = 0; i <= rag.n_seq; i++) start[i] = 32 * i;
    XC_TRY(xc_run_new(&run, r->m, NULL, r->pool, err));
    status = XC_OK;
    for (int pass = 0; pass < 3 && status == XC_OK; pass++) {
        struct xc_view in[2] = { { .data = zeros, .rows = rows, .cols = 1 }, { .data = zeros, .rows = rows, .cols = 1 } };

        status = xc_run_begin(run, r->g, in, &rag, 1, err);
        if (status == XC_OK) status = bind(r, run, err);
        const double from = xc_seconds();

        if (status == XC_OK) status = xc_replay_nodes(run, r->g, r->first, r->last, err);
        if (pass) *seconds += 0.5 * (xc_seconds() - from);
    }
    xc_run_free(&run);
    return status;
}

static enum xc_status time_walks(struct rates *r, enum xc_toil kind, struct xc_err *err)
{
    const int32_t rows = r->numbers * ROWS_MOST < MACS ? ROWS_MOST : 320;
    double few = 0, many = 0;

    XC_TRY(time_slice(r, &few, ROWS_FEW, err));
    XC_TRY(time_slice(r, &many, rows, err));
    r->rate[kind] = fmax(many - few, 0.2 * many) / (r->numbers * (rows - ROWS_FEW));
    return XC_OK;
}

static enum xc_status time_lay(struct rates *r, struct xc_err *err)
{
    const struct xc_tensor *t = r->m->tensors[r->g->nodes[r->first].in[1].id];
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t);
    float *x = xc_malloc((size_t)(N * K) * sizeof *x), *panel = xc_alloc_aligned(xc_panel_f32_bytes(N, K));
    enum xc_status status = x && panel ? xc_tensor_to_f32(t, x, err) : xc_fail_nomem(err, xc_panel_f32_bytes(N, K));

    for (int pass = 0; pass < 2 && status == XC_OK; pass++) {
        const double from = xc_seconds();

        xc_pack_panel_f32(panel, x, N, K);
        r->rate[XC_TOIL_LAY] = (xc_seconds() - from) / (double)(N * K);
    }
    xc_free(x);
    xc_free(panel);
    return status;
}

/* ---- encoding ---- */
/* The first linear's weight, or as much of it as is worth timing, becomes *enc; afterwards it is as it was. */
static enum xc_status time_encoding(struct rates *r, enum xc_toil kind, struct xc_encoding enc, const char *method, struct xc_err *err)
{
    const int32_t t = r->g->nodes[r->first].in[1].id;
    struct xc_tensor *tensor = r->m->tensors[t];
    struct xc_encoding was = tensor->enc;
    struct xc_buf *part[XC_PART_COUNT];
    double from;
    enum xc_status status = xc_recipe_new(&r->recipe, err);

    if (status == XC_OK) status = xc_recipe_add(r->recipe, "quantize", err);
    if (status == XC_OK) status = xc_recipe_set(r->recipe, "method", method, err);
    for (int p = 0; p < XC_PART_COUNT; p++) part[p] = xc_buf_ref(tensor->part[p]);
    r->work.spec = status == XC_OK ? r->recipe->passes : NULL;
    for (int pass = 0; pass < 2 && status == XC_OK; pass++) {
        r->work.want[t] = enc;
        from = xc_seconds();
        status = enc.format == XC_FMT_F16 ? xc_cast_tensor(&r->work, t, err) : xc_quantize_tensor(&r->work, t, err);
        r->rate[kind] = (xc_seconds() - from) / (double)xc_tensor_count(tensor);
        if (status == XC_OK && pass && enc.format == XC_FMT_S4 && wanted(r, XC_TOIL_PACK)) {
            uint64_t bytes;

            from = xc_seconds();
            status = xc_predict_packed(&bytes, tensor->part, &tensor->enc, err);
            r->rate[XC_TOIL_PACK] = (xc_seconds() - from) / (double)xc_tensor_bytes(tensor) / xc_pool_threads(r->pool);
        }
        if (status == XC_OK) status = xc_tensor_set_encoded(tensor, &was, part, err);
    }
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    xc_recipe_free(&r->recipe);
    return status;
}

static const struct xc_encoding int8 = { .format = XC_FMT_S8, .layout = XC_LAYOUT_PANEL16, .sum16 = true }, int8_rows = { .format = XC_FMT_S8 },
                                int4 = { .format = XC_FMT_S4, .layout = XC_LAYOUT_PANEL16, .scale_format = XC_FMT_F16, .group = 64 }, f16 = { .format = XC_FMT_F16 };

static enum xc_status time_encodings(struct rates *r, struct xc_err *err)
{
    if (wanted(r, XC_TOIL_INT8)) XC_TRY(time_encoding(r, XC_TOIL_INT8, int8, "search", err));
    if (wanted(r, XC_TOIL_INT8_ROWS)) XC_TRY(time_encoding(r, XC_TOIL_INT8_ROWS, int8_rows, "search", err));
    if (wanted(r, XC_TOIL_SEARCH) || wanted(r, XC_TOIL_PACK)) XC_TRY(time_encoding(r, XC_TOIL_SEARCH, int4, "search", err));
    if (wanted(r, XC_TOIL_NEAREST)) XC_TRY(time_encoding(r, XC_TOIL_NEAREST, int4, "nearest", err));
    return wanted(r, XC_TOIL_CAST) ? time_encoding(r, XC_TOIL_CAST, f16, "search", err) : XC_OK;
}

/* All linears of the slice in int8, run on int8 rows. */
static enum xc_status time_quantized(struct rates *r, struct xc_err *err)
{
    for (int32_t n = r->first; n < r->last; n++) {
        const int32_t t = r->g->nodes[n].in[1].id;

        if (!is_linear(&r->g->nodes[n])) continue;
        r->work.want[t] = int8;
        if (r->m->tensors[t]->enc.format != XC_FMT_S8) XC_TRY(xc_quantize_tensor(&r->work, t, err));
        r->g->nodes[n].in[0].range = xc_quantize_range(r->g, n);
    }
    return time_walks(r, XC_TOIL_QUANT, err);
}

/* As passes read: some rows at a time, which are still in the cache when they are treated; one thread's time, divided by the threads. */
static enum xc_status time_read(struct rates *r, struct xc_err *err)
{
    double seconds = 0, numbers = 0;

    for (int32_t n = r->first; n < r->last; n++)
        for (int32_t i = 0; i < r->g->nodes[n].n_in; i++) {
            const struct xc_ref *ref = &r->g->nodes[n].in[i];
            struct xc_tensor *t = ref->kind == XC_REF_TENSOR ? r->m->tensors[ref->id] : NULL;

            if (!t || t->part[XC_PART_DATA]) continue;
            const int64_t rows = xc_tensor_rows(t), some = xc_min_i64(READ_ROWS, rows);
            float *x = xc_malloc((size_t)(some * xc_tensor_cols(t)) * sizeof *x);
            const double from = xc_seconds();
            enum xc_status status = x ? XC_OK : xc_fail_nomem(err, (size_t)(some * xc_tensor_cols(t)) * sizeof *x);

            for (int64_t row = 0; row < rows && status == XC_OK; row += some) status = xc_tensor_rows_to_f32(t, row, xc_min_i64(some, rows - row), x, err);
            seconds += xc_seconds() - from;
            numbers += (double)xc_tensor_count(t);
            xc_free(x);
            if (status == XC_OK) status = xc_tensor_load_by(t, r->pool, err);
            if (status != XC_OK) return status;
        }
    r->rate[XC_TOIL_READ] = numbers > 0 ? seconds / numbers / xc_pool_threads(r->pool) : 0;
    return XC_OK;
}

/* ---- matrices ---- */
static enum xc_status time_smooth(struct rates *r, const float *x, struct xc_err *err)
{
    const float *const w[] = { x };
    const int64_t rows[] = { SIDE };
    double y2[SIDE], from;
    float factor[SIDE];
    const struct xc_smooth_problem p = { .x = x + SIDE * SIDE, .y2 = y2, .w = w, .rows = rows, .R = SIDE, .C = SIDE, .n_w = 1 };

    for (int i = 0; i < SIDE; i++) y2[i] = 1;
    from = xc_seconds();
    XC_TRY(xc_smooth_factors(factor, &p, r->pool, err));
    r->rate[XC_TOIL_SMOOTH] = (xc_seconds() - from) / (2.0 * SIDE * SIDE);
    return XC_OK;
}

static enum xc_status time_ranges(struct rates *r, const float *x, struct xc_err *err)
{
    uint64_t *bins = xc_calloc(8192, sizeof *bins);
    const double from = xc_seconds();
    float max = 0;

    if (!bins) return xc_fail_nomem(err, 8192 * sizeof *bins);

    for (int64_t i = 0; i < SIDE * SIDE; i++) {
        const float a = fabsf(x[i]);

        bins[xc_f32_bits(a) >> 18 & 8191]++;
        if (a > max) max = a;
    }
    r->rate[XC_TOIL_RANGES] = (xc_seconds() - from) / (SIDE * SIDE) + (double)(max < 0); /* max is used */
    xc_free(bins);
    return XC_OK;
}

/* One thread's, divided by the threads. */
static enum xc_status time_gptq(struct rates *r, const float *x, const float *h, struct xc_err *err)
{
    const struct xc_lowbit f = { .bits = 4, .search = true };
    uint8_t u[XC_GPTQ_ROWS * SIDE], zero[XC_GPTQ_ROWS * SIDE / 64];
    const uint16_t row_scale[XC_GPTQ_ROWS] = { 0 };
    uint16_t scale[XC_GPTQ_ROWS * SIDE / 64];
    float weight[SIDE], *scratch = xc_malloc(xc_gptq_scratch(SIDE) * sizeof *scratch);
    struct xc_gptq g = { 0 };
    double damp = 0.01;
    int64_t bad;
    enum xc_status status = scratch ? XC_OK : xc_fail_nomem(err, xc_gptq_scratch(SIDE) * sizeof *scratch);

    for (int i = 0; i < SIDE; i++) weight[i] = h[i * SIDE + i];
    if (status == XC_OK) status = xc_gptq_init(&g, &(struct xc_gptq_moments){ .h = h, .ld = SIDE }, weight, SIDE, 64, &damp, true, NULL, err);
    for (int pass = 0; pass < 1 + PASSES && status == XC_OK; pass++) { /* the first warms up */
        const double from = xc_seconds();

        xc_gptq_rows(&g, &f, u, row_scale, scale, zero, x, XC_GPTQ_ROWS, scratch, &bad);
        if (pass) r->rate[XC_TOIL_GPTQ] += (xc_seconds() - from) / (PASSES * XC_GPTQ_ROWS * pow(SIDE, 2)) / xc_pool_threads(r->pool);
    }
    xc_gptq_release(&g);
    xc_free(scratch);
    return status;
}

static void time_compare(struct rates *r, const float *x)
{
    const double from = xc_seconds();
    double error = 0, norm = 0;

    for (int64_t i = 0; i < SIDE * SIDE; i++) {
        const double d = (double)x[i] - (double)x[i + SIDE * SIDE];

        error += d * d;
        norm += (double)x[i] * (double)x[i];
    }
    r->rate[XC_TOIL_COMPARE] = (xc_seconds() - from) / (SIDE * SIDE) + (double)(error + norm < 0); /* both are used */
}

static enum xc_status time_touch(struct rates *r, struct xc_err *err)
{
    const size_t bytes = (size_t)16 << 20;
    const double from = xc_seconds();
    char *p = xc_malloc(bytes);

    if (!p) return xc_fail_nomem(err, bytes);
    for (size_t i = 0; i < bytes; i += 4096) ((volatile char *)p)[i] = 1;
    xc_free(p);
    r->rate[XC_TOIL_TOUCH] = (xc_seconds() - from) / (double)bytes;
    return XC_OK;
}

/* Both from one Hessian of made-up rows. */
static enum xc_status time_rounding(struct rates *r, float *x, const float *h, float *u, struct xc_err *err)
{
    const struct xc_prune half = { .pattern = XC_PRUNE_NM, .saliency = XC_PRUNE_OBS, .sparsity = 0.5, .n = 2, .m = 4, .damp = 0.01 };
    double damp = 0.01, from;

    for (int pass = 0; pass < 2; pass++) {
        from = xc_seconds();
        XC_TRY(xc_hessian_inverse_factor(u, h, SIDE, &damp, NULL, err));
        r->rate[XC_TOIL_FACTOR] = (xc_seconds() - from) / pow(SIDE, 3);
    }
    if (wanted(r, XC_TOIL_OBS)) {
        from = xc_seconds();
        XC_TRY(xc_prune_obs(x, &half, u, SIDE, SIDE, r->pool, err));
        r->rate[XC_TOIL_OBS] = (xc_seconds() - from) / pow(SIDE, 3);
    }
    return wanted(r, XC_TOIL_GPTQ) ? time_gptq(r, x, h, err) : XC_OK;
}

static enum xc_status time_matrices(struct rates *r, struct xc_err *err)
{
    const size_t one = (size_t)SIDE * SIDE;
    float *x = xc_alloc_aligned(4 * one * sizeof *x), *h, *u;
    double from;
    enum xc_status status = XC_OK;

    if (!x) return xc_fail_nomem(err, 4 * one * sizeof *x);
    xc_blas_init();
    h = x + 2 * one;
    u = x + 3 * one;
    made_up(x, (int64_t)(2 * one));
    if (wanted(r, XC_TOIL_SMOOTH)) status = time_smooth(r, x, err);
    time_compare(r, x);
    if (status == XC_OK) status = time_touch(r, err);
    if (status == XC_OK && wanted(r, XC_TOIL_RANGES)) status = time_ranges(r, x, err);
    for (int pass = 0; pass < 2; pass++) {
        memset(h, 0, one * sizeof *h);
        from = xc_seconds();
        xc_moments_add(h, x, x, 2 * SIDE, SIDE, SIDE, true, r->pool);
        r->rate[XC_TOIL_GRAM] = (xc_seconds() - from) / (2 * pow(SIDE, 3));
    }
    for (size_t i = 0; i < SIDE; i++)
        for (size_t j = 0; j < i; j++) h[i * SIDE + j] = h[j * SIDE + i];
    if (status == XC_OK && (wanted(r, XC_TOIL_FACTOR) || wanted(r, XC_TOIL_OBS) || wanted(r, XC_TOIL_GPTQ))) status = time_rounding(r, x, h, u, err);
    xc_free(x);
    return status;
}

/* ---- all ---- */
static enum xc_status measure(struct rates *r, struct xc_err *err)
{
    find_slice(r);
    r->rate[XC_TOIL_WRITE] = 1 / XC_FORECAST_WRITE_RATE;
    if (r->first < r->last) {
        XC_TRY(time_read(r, err));
        if (wanted(r, XC_TOIL_LAY)) XC_TRY(time_lay(r, err));
        if (wanted(r, XC_TOIL_F32)) XC_TRY(time_walks(r, XC_TOIL_F32, err));
        XC_TRY(time_encodings(r, err));
        if (wanted(r, XC_TOIL_QUANT)) XC_TRY(time_quantized(r, err));
    }
    return time_matrices(r, err);
}

enum xc_status xc_forecast_seconds(double *seconds, const struct xc_forecast *f, const struct xc_model *source, struct xc_pool *pool, struct xc_err *err)
{
    struct rates r = { .f = f, .pool = pool, .opts = { .pool = pool } };
    enum xc_status status = xc_model_clone(&r.m, source, err);

    *seconds = 0;
    if (status == XC_OK) r.g = xc_model_find_graph(r.m, "encode");
    if (status == XC_OK && r.g) {
        const size_t n = (size_t)r.m->n_tensors + 1;

        r.work = (struct xc_work){ .model = r.m, .opts = &r.opts, .layers = xc_calloc(n, sizeof *r.work.layers), .want = xc_calloc(n, sizeof *r.work.want) };
        status = r.work.layers && r.work.want ? measure(&r, err) : xc_fail_nomem(err, n * sizeof *r.work.layers);
    }
    for (int k = 0; k < XC_TOIL_COUNT; k++) *seconds += f->toil[k] * r.rate[k];
    xc_free(r.work.layers);
    xc_free(r.work.want);
    xc_model_free(&r.m);
    return status;
}
