/* layer_norm: y = (x - mean) * rstd * gain + bias, over the columns. Ba et al. 2016, arXiv:1607.06450. Biased variance.
 * rms_norm:   y = x * rstd * gain, rstd of the mean square. Zhang & Sennrich 2019, arXiv:1910.07467.
 *
 *   in    x (R,C), gain (C), bias (C; layer_norm only)
 *   out   y (R,C) */
#include "runtime/graph/ops/parallel.h"

static enum xc_status norm_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    for (int i = 1; i < c->node->n_in && (i == 1 || c->node->in[i].kind != XC_REF_NONE); i++) XC_TRY(xc_need_tensor(c, i, 1, xc_infer_value(c, 0)->cols, err));
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = xc_infer_value(c, 0)->cols;
    return XC_OK;
}

static void norm_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    c->kern->norm_f32(arg, row0, row1);
}

static enum xc_status forward(const struct xc_op_ctx *c, bool rms, struct xc_err *err)
{
    const int64_t C = c->in[0]->cols;
    const size_t bytes = (size_t)xc_round_up(C, 16) * sizeof(float);
    float *gain = xc_run_scratch(c->run, bytes), *bias = c->tensor[2] ? xc_run_scratch(c->run, bytes) : NULL;

    if (!gain || (c->tensor[2] && !bias)) return xc_fail_nomem(err, bytes);
    XC_TRY(xc_tensor_to_f32(c->tensor[1], gain, err));
    if (bias) XC_TRY(xc_tensor_to_f32(c->tensor[2], bias, err));
    const struct xc_norm n = { .x = c->in[0]->data, .ldx = C, .gain = gain, .bias = bias, .C = C, .eps = ((const struct xc_attr_norm *)c->attr)->eps,
                               .rms = rms, .out = c->out[0]->data, .ld_out = C };

    xc_rows_run(c, norm_rows, &n, c->in[0]->rows, C);
    return XC_OK;
}

static enum xc_status layer_norm_forward(const struct xc_op_ctx *c, struct xc_err *err) { return forward(c, false, err); }
static enum xc_status rms_norm_forward(const struct xc_op_ctx *c, struct xc_err *err) { return forward(c, true, err); }

static const struct xc_attr_def attrs[] = {
    { "eps", XC_ATTR_FLOAT, offsetof(struct xc_attr_norm, eps), 1e-12, NULL, 0, 1 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "x", "gain", "bias" };
const struct xc_op xc_op_layer_norm = { .name = "layer_norm", .version = 1, .min_in = 2, .max_in = 3, .n_out = 1, .attrs = attrs, .attr_size = sizeof(struct xc_attr_norm),
                                        .in_names = in_names, .infer = norm_infer, .forward = layer_norm_forward };
const struct xc_op xc_op_rms_norm = { .name = "rms_norm", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .attrs = attrs, .attr_size = sizeof(struct xc_attr_norm),
                                      .in_names = in_names, .infer = norm_infer, .forward = rms_norm_forward };
