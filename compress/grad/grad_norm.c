/* layer_norm: with h = (x - mean) rstd and e = dy * gain:   dx = rstd (e - mean(e) - h mean(e h)),  dgain += dy h,  dbias += dy.
 * rms_norm:   with h = x rstd:                              dx = rstd (e - h mean(e h)),            dgain += dy h.
 * h is computed again, into scratch when the gain is trained. */
#include <math.h>

#include "compress/grad/grad.h"

#define LANES 16

struct norm {
    const float *gain;
    float *h; /* (R, C); NULL = not needed beyond a row */
    float eps;
    bool rms;
};

/* Sums of a row, sixteen at a time, then folded: one order whatever the compiler does with it. */
static double fold(const float lane[LANES])
{
    double sum = 0;

    for (int i = 0; i < LANES; i++) sum += (double)lane[i];
    return sum;
}

static double row_sum(const float *x, const float *y, int64_t C) /* y NULL: of x */
{
    float lane[LANES] = { 0 };
    const int64_t whole = C / LANES * LANES;

    for (int64_t i = 0; i < whole; i += LANES)
        for (int64_t l = 0; l < LANES; l++) lane[l] += y ? x[i + l] * y[i + l] : x[i + l];
    for (int64_t i = whole; i < C; i++) lane[i - whole] += y ? x[i] * y[i] : x[i];
    return fold(lane);
}

static void norm_row(const struct norm *n, const float *x, const float *dy, float *h, float *d, bool fresh, int64_t C)
{
    const float mean = n->rms ? 0.0f : (float)(row_sum(x, NULL, C) / (double)C);
    float e_lane[LANES] = { 0 }, eh_lane[LANES] = { 0 };
    const int64_t whole = C / LANES * LANES;
    float rstd;

    for (int64_t i = 0; i < C; i++) h[i] = x[i] - mean;
    rstd = (float)(1.0 / sqrt(row_sum(h, h, C) / (double)C + (double)n->eps));
    for (int64_t i = 0; i < C; i++) h[i] *= rstd;
    if (!d) return;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int64_t l = 0; l < LANES; l++) {
            const float e = dy[i + l] * n->gain[i + l];

            e_lane[l] += e;
            eh_lane[l] += e * h[i + l];
        }
    for (int64_t i = whole; i < C; i++) {
        const float e = dy[i] * n->gain[i];

        e_lane[i - whole] += e;
        eh_lane[i - whole] += e * h[i];
    }

    const float e_mean = n->rms ? 0.0f : (float)(fold(e_lane) / (double)C), eh_mean = (float)(fold(eh_lane) / (double)C);

    if (fresh)
        for (int64_t i = 0; i < C; i++) d[i] = rstd * (dy[i] * n->gain[i] - e_mean - h[i] * eh_mean);
    else
        for (int64_t i = 0; i < C; i++) d[i] += rstd * (dy[i] * n->gain[i] - e_mean - h[i] * eh_mean);
}

static void norm_rows(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const struct norm *n = arg;
    const int64_t C = c->op->in[0]->cols;

    for (int64_t r = row0; r < row1; r++)
        norm_row(n, (const float *)c->op->in[0]->data + r * C, c->d_out[0] + r * C, n->h + r * C, c->d_in[0] ? c->d_in[0] + r * C : NULL, c->fresh[0], C);
}

static enum xc_status backward(const struct xc_grad_ctx *c, bool rms, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0];
    struct norm n = { .eps = ((const struct xc_attr_norm *)c->op->attr)->eps, .rms = rms };

    XC_TRY(xc_grad_tensor(c, &n.gain, c->op->tensor[1], err));
    XC_TRY(xc_grad_scratch(c, &n.h, (size_t)(x->rows * x->cols) * sizeof *n.h, err));
    if (c->d_in[0] || c->d_tensor[1]) xc_grad_rows(c, norm_rows, &n, x->rows, x->cols);
    if (c->d_tensor[1]) xc_grad_col_sums(c, c->d_tensor[1], c->d_out[0], x->cols, n.h, x->cols, x->rows, x->cols);
    if (c->d_tensor[2]) xc_grad_col_sums(c, c->d_tensor[2], c->d_out[0], x->cols, NULL, 0, x->rows, x->cols);
    return XC_OK;
}

static enum xc_status layer_norm_backward(const struct xc_grad_ctx *c, struct xc_err *err) { return backward(c, false, err); }
static enum xc_status rms_norm_backward(const struct xc_grad_ctx *c, struct xc_err *err) { return backward(c, true, err); }

const struct xc_grad xc_grad_layer_norm = { .op = "layer_norm", .backward = layer_norm_backward };
const struct xc_grad xc_grad_rms_norm = { .op = "rms_norm", .backward = rms_norm_backward };
