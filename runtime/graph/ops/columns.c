/* concat, slice: columns side by side, and a range of columns.
 *
 *   concat   a (R,A), b (R,B) of one row space   y (R,A+B)
 *   slice    x (R,C); first, cols                y (R,cols) */
#include <string.h>

#include "runtime/graph/ops/parallel.h"

static enum xc_status concat_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(xc_need_value(c, 1, XC_DTYPE_F32, err));
    if (xc_infer_value(c, 0)->space != xc_infer_value(c, 1)->space) return xc_fail(err, XC_E_SHAPE, "the operands of 'concat' differ in row space");
    if (xc_infer_value(c, 0)->cols > INT32_MAX - xc_infer_value(c, 1)->cols) return xc_fail(err, XC_E_RANGE, "too many columns");
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = xc_infer_value(c, 0)->cols + xc_infer_value(c, 1)->cols;
    return XC_OK;
}

static void concat_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t A = c->in[0]->cols, B = c->in[1]->cols;
    float *y = (float *)c->out[0]->data + row0 * (A + B);

    (void)arg;
    for (int64_t r = row0; r < row1; r++, y += A + B) {
        memcpy(y, (const float *)c->in[0]->data + r * A, (size_t)A * sizeof *y);
        memcpy(y + A, (const float *)c->in[1]->data + r * B, (size_t)B * sizeof *y);
    }
}

static enum xc_status concat_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    (void)err;
    xc_rows_run(c, concat_rows, NULL, c->out[0]->rows, c->out[0]->cols);
    return XC_OK;
}

static enum xc_status slice_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_slice *attr = c->node->attr;

    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    if (attr->first > xc_infer_value(c, 0)->cols - attr->cols)
        return xc_fail(err, XC_E_SHAPE, "columns %d to %d of %d", attr->first, attr->first + attr->cols, xc_infer_value(c, 0)->cols);
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = attr->cols;
    return XC_OK;
}

static void slice_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const struct xc_attr_slice *attr = arg;

    for (int64_t r = row0; r < row1; r++)
        memcpy((float *)c->out[0]->data + r * attr->cols, (const float *)c->in[0]->data + r * c->in[0]->cols + attr->first, (size_t)attr->cols * sizeof(float));
}

static enum xc_status slice_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    (void)err;
    xc_rows_run(c, slice_rows, c->attr, c->out[0]->rows, c->out[0]->cols);
    return XC_OK;
}

static const struct xc_attr_def slice_attrs[] = {
    { "first", XC_ATTR_INT, offsetof(struct xc_attr_slice, first), 0, NULL, 0, 1 << 30 },
    { "cols", XC_ATTR_INT, offsetof(struct xc_attr_slice, cols), 1, NULL, 1, 1 << 30 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const two[] = { "a", "b" }, *const one[] = { "x" };
const struct xc_op xc_op_concat = { .name = "concat", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .in_names = two, .infer = concat_infer, .forward = concat_forward };
const struct xc_op xc_op_slice = { .name = "slice", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .attrs = slice_attrs, .attr_size = sizeof(struct xc_attr_slice),
                                   .in_names = one, .infer = slice_infer, .forward = slice_forward };
