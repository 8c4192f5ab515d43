/* concat: da and db are the columns of dy.   slice: dx's columns first .. first + cols - 1 are dy, the others 0. */
#include <string.h>

#include "compress/grad/grad.h"

static void concat_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t width[2] = { c->op->in[0]->cols, c->op->in[1]->cols };

    (void)arg;
    for (int64_t r = row0; r < row1; r++)
        for (int i = 0; i < 2; i++)
            if (c->d_in[i]) xc_grad_put(c->d_in[i] + r * width[i], c->d_out[0] + r * (width[0] + width[1]) + (i ? width[0] : 0), width[i], c->fresh[i]);
}

static void slice_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const struct xc_attr_slice *attr = arg;
    const int64_t C = c->op->in[0]->cols;

    if (c->fresh[0]) memset(c->d_in[0] + row0 * C, 0, (size_t)((row1 - row0) * C) * sizeof(float));
    for (int64_t r = row0; r < row1; r++) xc_grad_put(c->d_in[0] + r * C + attr->first, c->d_out[0] + r * attr->cols, attr->cols, false);
}

static enum xc_status concat_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    (void)err;
    xc_grad_rows(c, concat_rows, NULL, c->op->out[0]->rows, c->op->out[0]->cols);
    return XC_OK;
}

static enum xc_status slice_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    (void)err;
    if (c->d_in[0]) xc_grad_rows(c, slice_rows, c->op->attr, c->op->in[0]->rows, c->op->in[0]->cols);
    return XC_OK;
}

const struct xc_grad xc_grad_concat = { .op = "concat", .backward = concat_backward };
const struct xc_grad xc_grad_slice = { .op = "slice", .backward = slice_backward };
