/* add:      da = db = dy
 * mul:      da = dy * b,  db = dy * a
 * unary:    dx = dy * f'(x)
 * softmax:  dx = y * (dy - sum(y * dy)), with y computed again
 * scale:    dx = dy * s,  ds += sum of dy * x over the rows */
#include "compress/grad/grad.h"

static void add_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->op->out[0]->cols, at = row0 * C, n = (row1 - row0) * C;

    (void)arg;
    for (int i = 0; i < 2; i++)
        if (c->d_in[i]) xc_grad_put(c->d_in[i] + at, c->d_out[0] + at, n, c->fresh[i]);
}

static void mul_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->op->out[0]->cols, at = row0 * C, n = (row1 - row0) * C;

    (void)arg;
    for (int i = 0; i < 2; i++) {
        const float *other = (const float *)c->op->in[1 - i]->data + at, *dy = c->d_out[0] + at;
        float *d = c->d_in[i] ? c->d_in[i] + at : NULL;

        if (d)
            for (int64_t k = 0; k < n; k++) d[k] = (c->fresh[i] ? 0.0f : d[k]) + dy[k] * other[k];
    }
}

static void unary_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->op->out[0]->cols, at = row0 * C, n = (row1 - row0) * C;
    const struct xc_attr_unary *attr = c->op->attr;

    (void)arg;
    c->op->kern->act_grad_f32(c->d_in[0] + at, c->d_out[0] + at, (const float *)c->op->in[0]->data + at, n, (enum xc_act)attr->fn, !c->fresh[0]);
}

static void softmax_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->op->out[0]->cols;
    float *y = (float *)(uintptr_t)arg;

    for (int64_t r = row0; r < row1; r++) {
        const float *dy = c->d_out[0] + r * C;
        float *yr = y + r * C, *d = c->d_in[0] + r * C;
        double dot = 0;

        c->op->kern->softmax_rows(yr, (const float *)c->op->in[0]->data + r * C, 1, C);
        for (int64_t i = 0; i < C; i++) dot += (double)yr[i] * (double)dy[i];
        for (int64_t i = 0; i < C; i++) d[i] = (c->fresh[0] ? 0.0f : d[i]) + yr[i] * (dy[i] - (float)dot);
    }
}

static enum xc_status add_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    (void)err;
    xc_grad_rows(c, add_rows, NULL, c->op->out[0]->rows, c->op->out[0]->cols);
    return XC_OK;
}

static enum xc_status mul_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    (void)err;
    xc_grad_rows(c, mul_rows, NULL, c->op->out[0]->rows, c->op->out[0]->cols);
    return XC_OK;
}

static enum xc_status unary_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    (void)err;
    if (c->d_in[0]) xc_grad_rows(c, unary_rows, NULL, c->op->out[0]->rows, c->op->out[0]->cols);
    return XC_OK;
}

static enum xc_status softmax_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0];
    float *y;

    if (!c->d_in[0]) return XC_OK;
    XC_TRY(xc_grad_scratch(c, &y, (size_t)(x->rows * x->cols) * sizeof *y, err));
    xc_grad_rows(c, softmax_rows, y, x->rows, x->cols);
    return XC_OK;
}

static void scale_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const int64_t C = c->op->out[0]->cols;
    const float *s = arg;

    for (int64_t r = row0; r < row1; r++)
        for (int64_t i = 0; i < C; i++) {
            float *d = c->d_in[0] + r * C + i;

            *d = (c->fresh[0] ? 0.0f : *d) + c->d_out[0][r * C + i] * s[i];
        }
}

static enum xc_status scale_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0];
    const float *s;

    XC_TRY(xc_grad_tensor(c, &s, c->op->tensor[1], err));
    if (c->d_in[0]) xc_grad_rows(c, scale_rows, s, x->rows, x->cols);
    xc_grad_col_sums(c, NULL, c->d_tensor[1], c->d_out[0], x->cols, x->data, x->cols, x->rows, x->cols);
    return XC_OK;
}

const struct xc_grad xc_grad_add = { .op = "add", .backward = add_backward };
const struct xc_grad xc_grad_mul = { .op = "mul", .backward = mul_backward };
const struct xc_grad xc_grad_unary = { .op = "unary", .backward = unary_backward };
const struct xc_grad xc_grad_softmax = { .op = "softmax", .backward = softmax_backward };
const struct xc_grad xc_grad_scale = { .op = "scale", .backward = scale_backward };
