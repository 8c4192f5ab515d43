/* parts: what derivatives share: rows over the pool, sums over rows, scratch. See grad.h. */
#include <string.h>

#include "compress/grad/grad.h"
#include "compress/grad/loops.h"
#include "runtime/graph/ops/parallel.h"

struct rows_job {
    const struct xc_grad_ctx *c;
    xc_grad_rows_fn *fn;
    const void *arg;
};

static void rows_block(const struct xc_op_ctx *op, const void *arg, int64_t row0, int64_t row1)
{
    const struct rows_job *job = arg;

    (void)op;
    job->fn(job->c, job->arg, row0, row1);
}

void xc_grad_rows(const struct xc_grad_ctx *c, xc_grad_rows_fn *fn, const void *arg, int64_t rows, int64_t cols)
{
    const struct rows_job job = { .c = c, .fn = fn, .arg = arg };

    xc_rows_run(c->op, rows_block, &job, rows, cols);
}

void xc_grad_put(float *d, const float *x, int64_t n, bool fresh)
{
    if (fresh) memcpy(d, x, (size_t)n * sizeof *d);
    else
        for (int64_t i = 0; i < n; i++) d[i] += x[i];
}

struct sums {
    float *sum, *sum_xy;
    const float *x, *y;
    int64_t ldx, ldy, R, C;
};

static void sum_cols(void *arg, int64_t item, int thread)
{
    const struct sums *s = arg;
    const int64_t c0 = item * XC_LOOPS_COLS;

    (void)thread;
    xc_loops()->col_sums(s->sum ? s->sum + c0 : NULL, s->sum_xy ? s->sum_xy + c0 : NULL, s->x + c0, s->ldx, s->y ? s->y + c0 : NULL, s->ldy, s->R, xc_min_i64(XC_LOOPS_COLS, s->C - c0));
}

void xc_grad_col_sums(const struct xc_grad_ctx *c, float *sum, float *sum_xy, const float *x, int64_t ldx, const float *y, int64_t ldy, int64_t R, int64_t C)
{
    struct sums s = { .sum = sum, .sum_xy = sum_xy, .x = x, .y = y, .ldx = ldx, .ldy = ldy, .R = R, .C = C };

    if (R > 0 && (sum || sum_xy)) xc_pool_run(c->op->pool, sum_cols, &s, xc_div_up(C, XC_LOOPS_COLS));
}

enum xc_status xc_grad_scratch(const struct xc_grad_ctx *c, void *out, size_t bytes, struct xc_err *err)
{
    void *p = xc_run_scratch(c->op->run, bytes);

    memcpy(out, &p, sizeof p);
    return p ? XC_OK : xc_fail_nomem(err, bytes);
}

enum xc_status xc_grad_tensor(const struct xc_grad_ctx *c, const float **out, const struct xc_tensor *t, struct xc_err *err)
{
    float *copy = NULL;

    *out = (const float *)(const void *)t->part[XC_PART_DATA]->data;
    if (t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS) return XC_OK;
    XC_TRY(xc_grad_scratch(c, &copy, (size_t)xc_tensor_count(t) * sizeof *copy, err));
    *out = copy;
    return xc_tensor_to_f32(t, copy, err);
}
