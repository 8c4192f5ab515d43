/* gather: y_r = table[ids_r]:   dtable[ids_r] += dy_r, rows in ascending order; threads share out columns. positions and segment make
 * whole numbers, through which no gradient passes. */
#include "compress/grad/grad.h"

#define COLS 64 /* of an item */

static void gather_cols(void *arg, int64_t item, int thread)
{
    const struct xc_grad_ctx *c = arg;
    const struct xc_view *y = c->op->out[0];
    const int32_t *ids = c->op->in[0]->data;
    const int64_t c0 = item * COLS, n = xc_min_i64(COLS, y->cols - c0);

    (void)thread;
    for (int64_t r = 0; r < y->rows; r++) {
        const float *dy = c->d_out[0] + r * y->cols + c0;
        float *d = c->d_tensor[1] + (int64_t)ids[r] * y->cols + c0;

        for (int64_t i = 0; i < n; i++) d[i] += dy[i];
    }
}

static enum xc_status gather_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    (void)err;
    if (c->d_tensor[1]) xc_pool_run(c->op->pool, gather_cols, (void *)(uintptr_t)c, xc_div_up(c->op->out[0]->cols, COLS));
    return XC_OK;
}

const struct xc_grad xc_grad_gather = { .op = "gather", .backward = gather_backward };
const struct xc_grad xc_grad_positions = { .op = "positions" }, xc_grad_segment = { .op = "segment" };
