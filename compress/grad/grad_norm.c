/* layer_norm: with h = (x - mean) rstd and e = dy * gain:   dx = rstd (e - mean(e) - h mean(e h)),  dgain += dy h,  dbias += dy.
 * rms_norm:   with h = x rstd:                              dx = rstd (e - h mean(e h)),            dgain += dy h.
 * h is computed again, into scratch when the gain is trained. */
#include "compress/grad/grad.h"
#include "compress/grad/loops.h"

struct norm {
    const float *gain;
    float *h; /* (R, C); NULL = not needed beyond a row */
    float eps;
    bool rms;
};

static void norm_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const struct norm *n = arg;
    const int64_t C = c->op->in[0]->cols;

    for (int64_t r = row0; r < row1; r++)
        xc_loops()->norm_row(n->h + r * C, c->d_in[0] ? c->d_in[0] + r * C : NULL, (const float *)c->op->in[0]->data + r * C, c->d_out[0] + r * C, n->gain, n->eps, n->rms, c->fresh[0], C);
}

static enum xc_status backward(const struct xc_grad_ctx *c, bool rms, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0];
    struct norm n = { .eps = ((const struct xc_attr_norm *)c->op->attr)->eps, .rms = rms };

    XC_TRY(xc_grad_tensor(c, &n.gain, c->op->tensor[1], err));
    XC_TRY(xc_grad_scratch(c, &n.h, (size_t)(x->rows * x->cols) * sizeof *n.h, err));
    if (c->d_in[0] || c->d_tensor[1]) xc_grad_rows(c, norm_rows, &n, x->rows, x->cols);
    xc_grad_col_sums(c, c->d_tensor[2], c->d_tensor[1], c->d_out[0], x->cols, n.h, x->cols, x->rows, x->cols);
    return XC_OK;
}

static enum xc_status layer_norm_backward(const struct xc_grad_ctx *c, struct xc_err *err) { return backward(c, false, err); }
static enum xc_status rms_norm_backward(const struct xc_grad_ctx *c, struct xc_err *err) { return backward(c, true, err); }

const struct xc_grad xc_grad_layer_norm = { .op = "layer_norm", .backward = layer_norm_backward };
const struct xc_grad xc_grad_rms_norm = { .op = "rms_norm", .backward = rms_norm_backward };
