/* scale: y = x * s, column by column: puts the columns of an activation on one footing before it is quantized row by row. Xiao et al. 2022
 * (SmoothQuant), arXiv:2211.10438; the weights that follow carry 1/s.
 *
 *   in    x (R,C), s (C)
 *   out   y (R,C) */
#include "runtime/graph/op.h"

static enum xc_status scale_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(xc_need_tensor(c, 1, 1, xc_infer_value(c, 0)->cols, err));
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = xc_infer_value(c, 0)->cols;
    return XC_OK;
}

static enum xc_status scale_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const int64_t C = c->in[0]->cols;
    float *s = xc_run_scratch(c->run, (size_t)C * sizeof *s);

    if (!s) return xc_fail_nomem(err, (size_t)C * sizeof *s);
    XC_TRY(xc_tensor_to_f32(c->tensor[1], s, err));
    for (int64_t r = 0; r < c->in[0]->rows; r++) c->kern->mul_f32((float *)c->out[0]->data + r * C, (const float *)c->in[0]->data + r * C, s, C);
    return XC_OK;
}

static const char *const in_names[] = { "x", "scale" };
const struct xc_op xc_op_scale = { .name = "scale", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .in_names = in_names, .infer = scale_infer,
                                   .forward = scale_forward };
