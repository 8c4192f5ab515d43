/* pool: one row per sequence from its rows. mean, first ([CLS]), last, max, mean_sqrt (sum / sqrt(n), as sentence-transformers).
 * l2_normalize: rows divided by max(|x|_2, eps), as torch.nn.functional.normalize.
 *
 *   pool           x (R,C)   y (sequences,C); an empty sequence gives zeros
 *   l2_normalize   x (R,C)   y (R,C) */
#include <math.h>
#include <string.h>

#include "runtime/graph/ops/parallel.h"

static enum xc_status pool_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_space like = { .map = XC_MAP_SEQUENCE };

    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    c->out[0].cols = xc_infer_value(c, 0)->cols;
    return xc_infer_space(c, &like, &c->out[0].space, err);
}

static void pool_sequences(const struct xc_op_ctx *c, const void *arg, int64_t seq0, int64_t seq1)
{
    const int32_t mode = ((const struct xc_attr_pool *)c->attr)->mode;
    const int64_t C = c->in[0]->cols;

    (void)arg;
    for (int64_t s = seq0; s < seq1; s++) {
        const int64_t r0 = c->in[0]->rag->start[s], R = c->in[0]->rag->start[s + 1] - r0;
        const float *x = (const float *)c->in[0]->data + r0 * C;
        float *y = (float *)c->out[0]->data + s * C;

        if (R == 0) memset(y, 0, (size_t)C * sizeof *y);
        else if (mode == XC_POOL_MEAN || mode == XC_POOL_MEAN_SQRT) c->kern->mean_rows(y, x, C, R, C);
        else if (mode == XC_POOL_MAX) c->kern->max_rows(y, x, C, R, C);
        else memcpy(y, mode == XC_POOL_LAST ? x + (R - 1) * C : x, (size_t)C * sizeof *y);
        if (R > 0 && mode == XC_POOL_MEAN_SQRT)
            for (int64_t i = 0; i < C; i++) y[i] *= sqrtf((float)R);
    }
}

static enum xc_status pool_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const int32_t n_seq = c->in[0]->rag->n_seq;

    (void)err;
    xc_rows_run(c, pool_sequences, NULL, n_seq, c->in[0]->rows * c->in[0]->cols / xc_max_i64(1, n_seq));
    return XC_OK;
}

static enum xc_status l2_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = xc_infer_value(c, 0)->cols;
    return XC_OK;
}

static void l2_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->in[0]->cols;

    (void)arg;
    c->kern->l2_normalize_rows((float *)c->out[0]->data + row0 * C, (const float *)c->in[0]->data + row0 * C, row1 - row0, C,
                               ((const struct xc_attr_l2 *)c->attr)->eps);
}

static enum xc_status l2_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    (void)err;
    xc_rows_run(c, l2_rows, NULL, c->in[0]->rows, c->in[0]->cols);
    return XC_OK;
}

static const char *const modes[XC_POOL_COUNT + 1] = { "mean", "first", "last", "max", "mean_sqrt", NULL };
static const struct xc_attr_def pool_attrs[] = {
    { "mode", XC_ATTR_CHOICE, offsetof(struct xc_attr_pool, mode), 0, modes, 0, XC_POOL_COUNT - 1 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const struct xc_attr_def l2_attrs[] = {
    { "eps", XC_ATTR_FLOAT, offsetof(struct xc_attr_l2, eps), 1e-12, NULL, 0, 1 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "x" };
const struct xc_op xc_op_pool = { .name = "pool", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .attrs = pool_attrs, .attr_size = sizeof(struct xc_attr_pool),
                                  .in_names = in_names, .infer = pool_infer, .forward = pool_forward };
const struct xc_op xc_op_l2_normalize = { .name = "l2_normalize", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .attrs = l2_attrs,
                                          .attr_size = sizeof(struct xc_attr_l2), .in_names = in_names, .infer = l2_infer, .forward = l2_forward };
