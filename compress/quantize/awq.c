/* awq: see awq.h. Each candidate is tried as it would run: weights behind the scale are rounded to their groups, rows of x before it to int8, both
 * are scaled back and multiplied, and what differs from x W^T is summed, a row of norm |y| counting 1 / |y|. */
#include "compress/quantize/awq.h"

#include <math.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/kernels/kernels.h"

enum { POWERS = 16, /* of magnitudes alone: sixteenths */
       BESIDE = 4,  /* to either side of smoothing's: eighths */
       ROWS = 48, OUTPUTS = 16 /* of a work item */ };

struct work {
    const struct xc_smooth_problem *p;
    const struct xc_awq *how;
    const struct xc_kernels *kern;
    int64_t N, ld;              /* outputs of all weights; columns, rounded up */
    const float **row;          /* (N) of the weights */
    float *factor, *inverse;    /* (C) a candidate's */
    float *panel;               /* the weights as they would be, for the product */
    float *x;                   /* (R,C) rows as they would be */
    float *want, *got;          /* (R,N) */
    double *u;                  /* (R) */
    double *error;              /* by item of rows */
    bool exact;                 /* the product itself: nothing is rounded */
};

/* A group of weights behind the scale, rounded and scaled back. */
static void round_group(const struct work *k, float *w, int64_t at, int64_t n, uint16_t row_scale)
{
    uint8_t u[XC_S4_GROUP_MAX], zero;
    uint16_t scale;

    if (!xc_lowbit_scale(&k->how->lowbit, w, NULL, n, row_scale, &scale, &zero)) return; /* rounding itself will name it */
    xc_lowbit_round(&k->how->lowbit, u, w, n, scale, zero);
    for (int64_t c = 0; c < n; c++) w[c] = k->factor[at + c] * (xc_f16_to_f32(scale) * ((float)u[c] - xc_lowbit_zero(&k->how->lowbit, zero)));
}

static void make_panel(void *arg, int64_t item, int thread)
{
    const struct work *k = arg;
    const int64_t C = k->p->C, first = item * OUTPUTS, n = xc_min_i64(OUTPUTS, k->N - first);
    float *w = k->got + first * C; /* free until the product: at least as large, or the caller says so */

    (void)thread;
    for (int64_t r = 0; r < n; r++) {
        float *row = w + r * C;
        uint16_t row_scale = 0;

        memcpy(row, k->row[first + r], (size_t)C * sizeof *row);
        if (k->exact) continue;
        for (int64_t c = 0; c < C; c++) row[c] *= k->inverse[c];
        if (!xc_lowbit_row_scale(&k->how->lowbit, row, C, k->how->group, &row_scale)) continue;
        for (int64_t c = 0; c < C; c += k->how->group) round_group(k, row + c, c, xc_min_i64(k->how->group, C - c), row_scale);
    }
    xc_pack_panel_f32(k->panel + first * C, w, n, C);
}

static void make_rows(void *arg, int64_t item, int thread)
{
    const struct work *k = arg;
    const int64_t C = k->p->C, first = item * ROWS, n = xc_min_i64(ROWS, k->p->R - first);

    (void)thread;
    for (int64_t r = first; r < first + n; r++) {
        const float *from = k->p->x + r * C;
        float *to = k->x + r * C, scale, mid = 0;
        int8_t *q = (int8_t *)(k->got + k->N * xc_max_i64(C, k->p->R)) + r * k->ld;
        int32_t sum;

        if (k->exact) {
            memcpy(to, from, (size_t)C * sizeof *to);
            continue;
        }
        if (k->how->affine) k->kern->quantize_rows_affine(q, k->ld, &scale, &mid, &sum, from, C, k->factor, 1, C);
        else k->kern->quantize_rows_s8(q, k->ld, &scale, &sum, from, C, k->factor, 1, C, 0.0f);
        for (int64_t c = 0; c < C; c++) to[c] = k->inverse[c] * (scale * (float)q[c] + mid);
    }
}

static void multiply(void *arg, int64_t item, int thread)
{
    const struct work *k = arg;
    const int64_t first = item * ROWS, end = xc_min_i64(first + ROWS, k->p->R);
    const struct xc_gemm_f32 g = { .x = k->x, .ldx = k->p->C, .w = k->panel, .N = k->N, .K = k->p->C, .ep = { .out = k->exact ? k->want : k->got, .ld_out = k->N } };

    (void)thread;
    k->kern->gemm_f32(&g, first, end, 0, k->N);
    k->error[item] = 0;
    for (int64_t r = first; r < end && !k->exact; r++) {
        const float *want = k->want + r * k->N, *got = k->got + r * k->N;
        double sum[4] = { 0 };

        for (int64_t n = 0; n < k->N; n++) sum[n % 4] += (double)(got[n] - want[n]) * (double)(got[n] - want[n]);
        k->error[item] += k->u[r] * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

static double try_factors(struct work *k, struct xc_pool *pool)
{
    const int64_t items = xc_div_up(k->p->R, ROWS);
    double error = 0;

    for (int64_t c = 0; c < k->p->C; c++) k->inverse[c] = 1.0f / k->factor[c];
    xc_pool_run(pool, make_panel, k, xc_div_up(k->N, OUTPUTS));
    xc_pool_run(pool, make_rows, k, items);
    xc_pool_run(pool, multiply, k, items);
    for (int64_t i = 0; i < items; i++) error += k->error[i];
    return error;
}

/* x^(n/16), n from -31 to 31, by square roots: pow is not the same everywhere. */
static double power(double x, int n)
{
    const int bits = n < 0 ? -n : n;
    double root = x, y = bits & 16 ? x : 1;

    for (int bit = 8; bit; bit /= 2) {
        root = sqrt(root);
        if (bits & bit) y *= root;
    }
    return n < 0 ? 1 / y : y;
}

/* base (NULL = ones) times magnitude to the power of so many sixteenths; around 1, so that f16 scales hold what comes of it. */
static void powers(float *factor, const float *base, const float *magnitude, int64_t C, int sixteenths)
{
    double least = INFINITY, most = 0;

    for (int64_t c = 0; c < C; c++) {
        const double f = (base ? (double)base[c] : 1.0) * power((double)magnitude[c], sixteenths);

        factor[c] = (float)f;
        least = fmin(least, f);
        most = fmax(most, f);
    }
    for (int64_t c = 0; c < C; c++) factor[c] = (float)fmax(1e-4, fmin(1e4, (double)factor[c] / sqrt(least * most)));
}

static void search(struct work *k, float *best, const float *smooth, const float *magnitude, struct xc_pool *pool)
{
    const int64_t C = k->p->C;
    double least;

    k->exact = true;
    try_factors(k, pool);
    k->exact = false;
    memcpy(k->factor, smooth, (size_t)C * sizeof *best);
    least = try_factors(k, pool);
    for (int i = -BESIDE; i <= BESIDE + POWERS; i++) {
        if (i == 0) continue; /* tried */
        if (i > BESIDE) powers(k->factor, NULL, magnitude, C, -(i - BESIDE));
        else powers(k->factor, smooth, magnitude, C, 2 * i);
        const double error = try_factors(k, pool);

        if (!(error < least)) continue;
        least = error;
        memcpy(best, k->factor, (size_t)C * sizeof *best);
    }
}

enum xc_status xc_awq_factors(float *factor, const struct xc_smooth_problem *p, const struct xc_awq *how, struct xc_pool *pool, struct xc_err *err)
{
    struct work k = { .p = p, .how = how, .kern = xc_kernels(), .ld = xc_round_up(p->C, XC_ALIGN) };
    const size_t C = (size_t)p->C, R = (size_t)p->R;
    float *smooth, *magnitude;
    enum xc_status status;
    size_t n;

    XC_TRY(xc_smooth_factors(factor, p, pool, err));
    for (int i = 0; i < p->n_w; i++) k.N += p->rows[i];
    n = (size_t)k.N;
    k.row = xc_malloc(n * sizeof *k.row + 1);
    k.u = xc_malloc((R + (size_t)xc_div_up(p->R, ROWS)) * sizeof *k.u + 1);
    k.panel = xc_alloc_aligned(xc_panel_f32_bytes(k.N, p->C));
    k.x = xc_alloc_aligned((R * C + 4 * C) * sizeof *k.x);
    k.want = xc_alloc_aligned(n * R * sizeof *k.want + 1);
    k.got = xc_alloc_aligned(n * (R > C ? R : C) * sizeof *k.got + R * (size_t)k.ld + 1);
    status = k.row && k.u && k.panel && k.x && k.want && k.got ? XC_OK : xc_fail_nomem(err, n * (R + C) * sizeof *k.got);
    if (status == XC_OK) {
        int64_t at = 0;

        k.error = k.u + R;
        k.factor = k.x + R * C;
        k.inverse = k.factor + C;
        smooth = k.inverse + C;
        magnitude = smooth + C;
        memcpy(smooth, factor, C * sizeof *smooth);
        memset(k.panel, 0, xc_panel_f32_bytes(k.N, p->C));
        for (int i = 0; i < p->n_w; i++)
            for (int64_t r = 0; r < p->rows[i]; r++) k.row[at++] = p->w[i] + r * p->C;
        for (size_t r = 0; r < R; r++) k.u[r] = p->y2[r] > 0 ? 1.0 / sqrt(p->y2[r]) : 0.0;
        for (size_t c = 0; c < C; c++) {
            double sum = 0;

            for (size_t r = 0; r < R; r++) sum += fabs((double)p->x[r * C + c]);
            magnitude[c] = (float)fmax(1e-4, sum / (double)R);
        }
        search(&k, factor, smooth, magnitude, pool);
    }
    xc_free((void *)k.row);
    xc_free(k.u);
    xc_free(k.panel);
    xc_free(k.x);
    xc_free(k.want);
    xc_free(k.got);
    return status;
}
