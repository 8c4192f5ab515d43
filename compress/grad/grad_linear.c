/* linear: y = x W^T + b:   dx = dy W,  dW += dy^T x,  db += the sum of dy's rows. */
#include "compress/grad/grad.h"

static enum xc_status linear_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0], *y = c->op->out[0];
    const float *w = NULL;

    if (c->d_in[0]) XC_TRY(xc_grad_tensor(c, &w, c->op->tensor[1], err));
    return xc_grad_linear_products(c, c->d_in[0], c->fresh[0], c->d_tensor[1], c->d_tensor[2], c->d_out[0], x->data, w, x->rows, y->cols, x->cols, err);
}

const struct xc_grad xc_grad_linear = { .op = "linear", .backward = linear_backward };
