/* smooth_factors: see smooth_factors.h. */
#include "compress/quantize/smooth_factors.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/kernels.h"

enum { STEPS = 12, ITEM = 32 /* rows of a work item */, BLOCK = 64 /* columns of one */ };
#define LEAST 1e-5f

struct work {
    const struct xc_smooth_problem *p;
    const struct xc_kernels *kern;
    int64_t N;           /* outputs of all weights */
    const float **row;   /* R rows of x, then N rows of weights */
    float *s, *inverse;  /* (C) */
    float *peak;         /* (R + N): the largest |x s| or |w / s| of each row */
    int32_t *at;         /* and its column */
    double *norm2, *q, *slope; /* (C) */
    double *u;           /* (R) */
    float *best;         /* (C) */
};

static void find_peaks(void *arg, int64_t item, int thread)
{
    const struct work *k = arg;
    const int64_t end = xc_min_i64((item + 1) * ITEM, k->p->R + k->N);

    (void)thread;
    for (int64_t r = item * ITEM; r < end; r++) k->kern->row_peak(&k->peak[r], &k->at[r], k->row[r], r < k->p->R ? k->s : k->inverse, k->p->C);
}

/* The error, and its slope along log s, as a share of it. */
static double error_of(struct work *k, struct xc_pool *pool)
{
    const int64_t R = k->p->R, C = k->p->C;
    double rows = 0, columns = 0, outputs = 0, inputs = 0;

    for (int64_t c = 0; c < C; c++) {
        const double s2 = (double)k->s[c] * (double)k->s[c];

        k->inverse[c] = 1.0f / k->s[c];
        columns += k->norm2[c] / s2;
        inputs += k->q[c] * s2;
    }
    xc_pool_run(pool, find_peaks, k, xc_div_up(R + k->N, ITEM));
    for (int64_t r = 0; r < R; r++) rows += k->u[r] * (double)k->peak[r] * (double)k->peak[r];
    for (int64_t i = R; i < R + k->N; i++) outputs += (double)k->peak[i] * (double)k->peak[i];
    const double error = rows * columns + outputs * inputs;

    for (int64_t c = 0; c < C; c++) {
        const double s2 = (double)k->s[c] * (double)k->s[c];

        k->slope[c] = (outputs * k->q[c] * s2 - rows * k->norm2[c] / s2) / error;
    }
    for (int64_t r = 0; r < R; r++) k->slope[k->at[r]] += columns * k->u[r] * (double)k->peak[r] * (double)k->peak[r] / error;
    for (int64_t i = R; i < R + k->N; i++) k->slope[k->at[i]] -= inputs * (double)k->peak[i] * (double)k->peak[i] / error;
    return error;
}

/* Sums over rows, and where s begins: a block of columns. */
static void begin(void *arg, int64_t item, int thread)
{
    const struct work *k = arg;
    const struct xc_smooth_problem *p = k->p;
    const int64_t first = item * BLOCK, end = xc_min_i64(first + BLOCK, p->C);

    (void)thread;
    for (int64_t i = 0; i < k->N; i++)
        for (int64_t c = first; c < end; c++) {
            const float w = fabsf(k->row[p->R + i][c]);

            k->norm2[c] += (double)w * (double)w;
            k->best[c] = w > k->best[c] ? w : k->best[c];
        }
    for (int64_t r = 0; r < p->R; r++)
        for (int64_t c = first; c < end; c++) {
            const double x = (double)k->row[r][c], x2 = x * x;

            k->q[c] += k->u[r] * x2;
            k->slope[c] += x2 * x2;
        }
    for (int64_t c = first; c < end; c++) {
        const float typical = (float)sqrt(sqrt(k->slope[c] / (double)p->R));

        k->s[c] = sqrtf(fmaxf(k->best[c], LEAST) / fmaxf(typical, LEAST));
        k->best[c] = k->s[c];
    }
}

static void descend(struct work *k, struct xc_pool *pool)
{
    double least = INFINITY;

    for (int step = 0; step <= STEPS; step++) {
        const double error = error_of(k, pool), rate = 0.008 * (double)k->p->C / (1.0 + 0.1 * step);

        if (!(error > 0 && error < INFINITY)) return; /* nothing to gain: all zero; or no numbers, which quantization will name */
        if (error < least) {
            least = error;
            memcpy(k->best, k->s, (size_t)k->p->C * sizeof *k->best);
        }
        for (int64_t c = 0; c < k->p->C; c++) {
            const double d = fmax(-0.3, fmin(0.3, -rate * k->slope[c]));

            k->s[c] = (float)((double)k->s[c] * (1.0 + d + 0.5 * d * d)); /* about exp(d), and the same bits everywhere */
        }
    }
}

enum xc_status xc_smooth_factors(float *factor, const struct xc_smooth_problem *p, struct xc_pool *pool, struct xc_err *err)
{
    struct work k = { .p = p, .kern = xc_kernels() };
    const size_t C = (size_t)p->C;
    enum xc_status status = XC_OK;
    size_t n;

    for (int i = 0; i < p->n_w; i++) k.N += p->rows[i];
    n = (size_t)(p->R + k.N);
    k.row = xc_malloc(n * sizeof *k.row + 1);
    k.peak = xc_malloc(n * sizeof *k.peak + 1);
    k.at = xc_malloc(n * sizeof *k.at + 1);
    k.u = xc_malloc((size_t)p->R * sizeof *k.u + 1);
    k.s = xc_calloc(3 * C, sizeof *k.s);
    k.norm2 = xc_calloc(3 * C, sizeof *k.norm2);
    if (k.row && k.peak && k.at && k.u && k.s && k.norm2) {
        int64_t at = p->R;

        k.inverse = k.s + C;
        k.best = k.s + 2 * C;
        k.q = k.norm2 + C;
        k.slope = k.norm2 + 2 * C;
        for (int64_t r = 0; r < p->R; r++) k.row[r] = p->x + r * p->C;
        for (int i = 0; i < p->n_w; i++)
            for (int64_t r = 0; r < p->rows[i]; r++) k.row[at++] = p->w[i] + r * p->C;
        for (int64_t r = 0; r < p->R; r++) k.u[r] = p->y2[r] > 0 ? 1.0 / sqrt(p->y2[r]) : 0.0;
        xc_pool_begin(pool);
        xc_pool_run(pool, begin, &k, xc_div_up(p->C, BLOCK));
        descend(&k, pool);
        xc_pool_end(pool);
        for (size_t c = 0; c < C; c++) factor[c] = k.best[c] > 1e-12f && k.best[c] < 1e12f ? k.best[c] : 1.0f;
    } else {
        status = xc_fail_nomem(err, n * sizeof *k.row);
    }
    xc_free((void *)k.row);
    xc_free(k.peak);
    xc_free(k.at);
    xc_free(k.u);
    xc_free(k.s);
    xc_free(k.norm2);
    return status;
}
