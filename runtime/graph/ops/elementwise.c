/* add, mul, unary, softmax: ops that keep the shape of their input.
 *
 *   add, mul   a (R,C), b (R,C) of the same row space     y (R,C)
 *   unary      x (R,C); fn: one of enum xc_act            y (R,C)
 *   softmax    x (R,C), over the columns                  y (R,C) */
#include "runtime/graph/ops/parallel.h"

static enum xc_status same_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = xc_infer_value(c, 0)->cols;
    if (c->node->op->max_in < 2) return XC_OK;
    XC_TRY(xc_need_value(c, 1, XC_DTYPE_F32, err));
    if (xc_infer_value(c, 1)->space != c->out[0].space || xc_infer_value(c, 1)->cols != c->out[0].cols)
        return xc_fail(err, XC_E_SHAPE, "the operands of '%s' differ in row space or columns", c->node->op->name);
    return XC_OK;
}

static void add_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->out[0]->cols, at = row0 * C;

    (void)arg;
    c->kern->add_f32((float *)c->out[0]->data + at, (const float *)c->in[0]->data + at, (const float *)c->in[1]->data + at, (row1 - row0) * C);
}

static void mul_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->out[0]->cols, at = row0 * C;

    (void)arg;
    c->kern->mul_f32((float *)c->out[0]->data + at, (const float *)c->in[0]->data + at, (const float *)c->in[1]->data + at, (row1 - row0) * C);
}

static void unary_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->out[0]->cols, at = row0 * C;

    (void)arg;
    c->kern->act_f32((float *)c->out[0]->data + at, (const float *)c->in[0]->data + at, (row1 - row0) * C, (enum xc_act)((const struct xc_attr_unary *)c->attr)->fn);
}

static void softmax_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->out[0]->cols, at = row0 * C;

    (void)arg;
    c->kern->softmax_rows((float *)c->out[0]->data + at, (const float *)c->in[0]->data + at, row1 - row0, C);
}

static enum xc_status forward(const struct xc_op_ctx *c, xc_rows_fn *fn)
{
    xc_rows_run(c, fn, NULL, c->out[0]->rows, c->out[0]->cols);
    return XC_OK;
}

static enum xc_status add_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    (void)err;
    return forward(c, add_rows);
}

static enum xc_status mul_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    (void)err;
    return forward(c, mul_rows);
}

static enum xc_status unary_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    (void)err;
    return forward(c, unary_rows);
}

static enum xc_status softmax_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    (void)err;
    return forward(c, softmax_rows);
}

static const char *const fns[XC_ACT_COUNT + 1] = { "none", "relu", "gelu", "gelu_tanh", "tanh", "sigmoid", "silu", NULL };
static const struct xc_attr_def unary_attrs[] = {
    { "fn", XC_ATTR_CHOICE, offsetof(struct xc_attr_unary, fn), 0, fns, 0, XC_ACT_COUNT - 1 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const two[] = { "a", "b" }, *const one[] = { "x" };
const struct xc_op xc_op_add = { .name = "add", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .in_names = two, .infer = same_infer, .forward = add_forward };
const struct xc_op xc_op_mul = { .name = "mul", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .in_names = two, .infer = same_infer, .forward = mul_forward };
const struct xc_op xc_op_unary = { .name = "unary", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .attrs = unary_attrs, .attr_size = sizeof(struct xc_attr_unary),
                                   .in_names = one, .infer = same_infer, .forward = unary_forward };
const struct xc_op xc_op_softmax = { .name = "softmax", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .in_names = one, .infer = same_infer, .forward = softmax_forward };
