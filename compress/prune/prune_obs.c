/* prune_obs: second-order pruning with weight update, SparseGPT's order: inputs from first to last in strips; what a strip's error leaves to
 * do for the inputs behind it is one matrix product. See prune.h. Rows do not meet but in the choice of what goes. */
#include <math.h>
#include <string.h>

#include "compress/calibrate/blas.h"
#include "compress/prune/prune.h"
#include "runtime/base/half.h"

#define STRIP 128
#define ROWS 64 /* of a work item */

struct obs {
    const struct xc_prune *p;
    const float *u;      /* (C,C) */
    float *w;            /* (R,C) */
    float *score;        /* of the strip's units */
    float *error;        /* (R,STRIP at least) */
    uint8_t *gone;       /* (R,strip): unstructured and blocks */
    int64_t R, C, c0, c1, strip;
};

/* What number (r,c) costs to drop. */
static float cost(const struct obs *o, int64_t r, int64_t c)
{
    const float d = o->u[c * o->C + c], e = o->w[r * o->C + c] / d;

    return e * e;
}

static void choose_group(const struct obs *o, int64_t r, int64_t c)
{
    const int64_t size = xc_min_i64(o->p->m, o->C - c);
    uint8_t *gone = o->gone + r * o->strip + (c - o->c0);

    memset(gone, 0, (size_t)size);
    for (int64_t d = 0; d < size - o->p->n; d++) {
        int64_t least = -1;

        for (int64_t i = 0; i < size; i++)
            if (!gone[i] && (least < 0 || cost(o, r, c + i) < cost(o, r, c + least))) least = i;
        gone[least] = 1;
    }
}

static void treat_rows(void *arg, int64_t item, int thread)
{
    const struct obs *o = arg;
    const int64_t r0 = item * ROWS, r1 = xc_min_i64(r0 + ROWS, o->R), C = o->C, width = o->c1 - o->c0;

    (void)thread;
    for (int64_t r = r0; r < r1; r++) {
        float *w = o->w + r * C;

        for (int64_t c = o->c0; c < o->c1; c++) {
            const float *u = o->u + c * C;
            float e = 0.0f;

            if (o->p->pattern == XC_PRUNE_NM && (c - o->c0) % o->p->m == 0) choose_group(o, r, c);
            if (o->gone[r * o->strip + (c - o->c0)]) {
                e = w[c] / u[c];
                w[c] = 0.0f;
                for (int64_t k = c + 1; k < o->c1; k++) w[k] -= e * u[k];
            }
            o->error[r * o->strip + (c - o->c0)] = e;
        }
    }
    if (o->c1 < C)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(r1 - r0), (int)(C - o->c1), (int)width, -1.0f, o->error + r0 * o->strip, (int)o->strip,
                    o->u + o->c0 * C + o->c1, (int)C, 1.0f, o->w + r0 * C + o->c1, (int)C);
}

/* Unstructured and blocks: the strip's cheapest units, over all rows. */
static void choose_strip(struct obs *o)
{
    struct xc_prune unit = *o->p; /* a strip's units in a matrix of its own */
    const int64_t width = o->c1 - o->c0, rows = unit.pattern == XC_PRUNE_BLOCK ? unit.block_rows : 1, cols = unit.pattern == XC_PRUNE_BLOCK ? unit.block_cols : 1;
    const int64_t across = xc_div_up(width, cols), n = xc_div_up(o->R, rows) * across;
    const int64_t drop = (int64_t)floor(unit.sparsity * (double)n + 0.5);
    int64_t smaller = 0, ties;
    uint32_t bits;

    memset(o->gone, 0, (size_t)(o->R * o->strip));
    if (drop <= 0) return;
    for (int64_t i = 0; i < n; i++) {
        const int64_t r0 = i / across * rows, r1 = xc_min_i64(r0 + rows, o->R), c0 = o->c0 + i % across * cols, c1 = xc_min_i64(c0 + cols, o->c1);
        double sum = 0;

        for (int64_t r = r0; r < r1; r++)
            for (int64_t c = c0; c < c1; c++) sum += (double)cost(o, r, c);
        o->score[i] = (float)(sum / (double)((r1 - r0) * (c1 - c0)));
    }
    bits = xc_prune_kth(o->score, n, drop - 1, &smaller);
    ties = drop - smaller;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t own = xc_f32_bits(o->score[i]);
        const int64_t r0 = i / across * rows, r1 = xc_min_i64(r0 + rows, o->R), c0 = i % across * cols, c1 = xc_min_i64(c0 + cols, width);

        if (own > bits || (own == bits && ties-- <= 0)) continue;
        for (int64_t r = r0; r < r1; r++) memset(o->gone + r * o->strip + c0, 1, (size_t)(c1 - c0));
    }
}

enum xc_status xc_prune_obs(float *w, const struct xc_prune *p, const float *u, int64_t R, int64_t C, struct xc_pool *pool, struct xc_err *err)
{
    const int64_t step = p->pattern == XC_PRUNE_BLOCK ? p->block_cols : p->pattern == XC_PRUNE_NM ? p->m : 1;
    struct obs o = { .p = p, .u = u, .w = w, .R = R, .C = C, .strip = xc_max_i64(STRIP / step, 1) * step };
    const size_t bytes = (size_t)(R * o.strip);

    xc_blas_init();
    o.score = xc_malloc(bytes * sizeof *o.score);
    o.error = xc_malloc(bytes * sizeof *o.error);
    o.gone = xc_calloc(bytes, 1);
    const bool have = o.score && o.error && o.gone;

    for (; have && o.c0 < C; o.c0 = o.c1) {
        o.c1 = xc_min_i64(o.c0 + o.strip, C);
        if (p->pattern != XC_PRUNE_NM) choose_strip(&o);
        xc_pool_run(pool, treat_rows, &o, xc_div_up(R, ROWS));
    }
    xc_free(o.score);
    xc_free(o.error);
    xc_free(o.gone);
    return have ? XC_OK : xc_fail_nomem(err, bytes * sizeof *o.score);
}
