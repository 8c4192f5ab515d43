/* pool:          mean dx = dy / n, mean_sqrt dx = dy / sqrt(n), first and last: dy to that row, max: dy to the first row that has the maximum.
 * l2_normalize:  with y = x / r, r = max(|x|, eps):   dx = (dy - y (y . dy)) / r, or dy / eps where eps decided. */
#include <math.h>
#include <string.h>

#include "compress/grad/grad.h"

static void pool_max(float *d, const float *dy, const float *x, int64_t R, int64_t C)
{
    for (int64_t i = 0; i < C; i++) {
        int64_t best = 0;

        for (int64_t r = 1; r < R; r++)
            if (x[r * C + i] > x[best * C + i]) best = r;
        d[best * C + i] += dy[i];
    }
}

static void pool_sequences(const struct xc_grad_ctx *c, const void *arg, int64_t seq0, int64_t seq1)
{
    const int32_t mode = ((const struct xc_attr_pool *)c->op->attr)->mode;
    const struct xc_view *x = c->op->in[0];
    const int64_t C = x->cols;

    (void)arg;
    for (int64_t s = seq0; s < seq1; s++) {
        const int64_t r0 = x->rag->start[s], R = x->rag->start[s + 1] - r0;
        const float *dy = c->d_out[0] + s * C;
        float *d = c->d_in[0] + r0 * C;
        float factor;

        if (R == 0) continue;
        if (c->fresh[0]) memset(d, 0, (size_t)(R * C) * sizeof *d);
        if (mode == XC_POOL_MAX) {
            pool_max(d, dy, (const float *)x->data + r0 * C, R, C);
            continue;
        }
        if (mode == XC_POOL_FIRST || mode == XC_POOL_LAST) {
            float *row = d + (mode == XC_POOL_LAST ? R - 1 : 0) * C;

            for (int64_t i = 0; i < C; i++) row[i] += dy[i];
            continue;
        }
        factor = mode == XC_POOL_MEAN ? 1.0f / (float)R : 1.0f / sqrtf((float)R);
        for (int64_t r = 0; r < R; r++)
            for (int64_t i = 0; i < C; i++) d[r * C + i] += dy[i] * factor;
    }
}

static enum xc_status pool_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0];

    (void)err;
    if (c->d_in[0]) xc_grad_rows(c, pool_sequences, NULL, x->rag->n_seq, x->rows * x->cols / xc_max_i64(1, x->rag->n_seq));
    return XC_OK;
}

static void l2_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->op->in[0]->cols;
    const double eps = (double)((const struct xc_attr_l2 *)c->op->attr)->eps;

    (void)arg;
    for (int64_t r = row0; r < row1; r++) {
        const float *x = (const float *)c->op->in[0]->data + r * C, *dy = c->d_out[0] + r * C;
        double square = 0, dot = 0, norm;
        float *d = c->d_in[0] + r * C, a, b;

        for (int64_t i = 0; i < C; i++) {
            square += (double)x[i] * (double)x[i];
            dot += (double)x[i] * (double)dy[i];
        }
        norm = sqrt(square);
        a = (float)(1.0 / fmax(norm, eps));
        b = norm > eps ? (float)(dot / (norm * norm * norm)) : 0.0f;
        for (int64_t i = 0; i < C; i++) d[i] = (c->fresh[0] ? 0.0f : d[i]) + (dy[i] * a - x[i] * b);
    }
}

static enum xc_status l2_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    (void)err;
    if (c->d_in[0]) xc_grad_rows(c, l2_rows, NULL, c->op->in[0]->rows, c->op->in[0]->cols);
    return XC_OK;
}

const struct xc_grad xc_grad_pool = { .op = "pool", .backward = pool_backward };
const struct xc_grad xc_grad_l2_normalize = { .op = "l2_normalize", .backward = l2_backward };
