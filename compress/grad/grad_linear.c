/* linear: y = x W^T + b:   dx = dy W,  dW += dy^T x,  db += the sum of dy's rows. */
#include "compress/grad/grad.h"

static enum xc_status linear_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0], *y = c->op->out[0];
    const float *w;

    if (c->d_in[0]) {
        XC_TRY(xc_grad_tensor(c, &w, c->op->tensor[1], err));
        XC_TRY(xc_grad_product_dx(c, c->d_in[0], x->cols, c->d_out[0], y->cols, w, x->cols, x->rows, y->cols, x->cols, c->fresh[0], err));
    }
    if (c->d_tensor[1]) XC_TRY(xc_grad_product_dw(c, c->d_tensor[1], x->cols, c->d_out[0], y->cols, x->data, x->cols, x->rows, y->cols, x->cols, err));
    if (c->d_tensor[2]) xc_grad_col_sums(c, c->d_tensor[2], NULL, c->d_out[0], y->cols, NULL, 0, y->rows, y->cols);
    return XC_OK;
}

const struct xc_grad xc_grad_linear = { .op = "linear", .backward = linear_backward };
