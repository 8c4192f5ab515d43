/* norm: layer norm (Ba et al. 2016, arXiv:1607.06450), RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467), softmax and l2
 * normalisation of rows: the kernels with a float reduction, all in the order of 16 virtual lanes. */
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

void xc_norm_f32__scalar(const struct xc_norm *n, int64_t row0, int64_t row1)
{
    const int64_t C = n->C;

    for (int64_t r = row0; r < row1; r++) {
        const float *x = n->x + r * n->ldx;
        float *y = n->out + r * n->ld_out;

        for (int64_t i = 0; i < C; i++) y[i] = n->residual ? x[i] + n->residual[r * n->ld_residual + i] : x[i];

        const float mean = n->rms ? 0.0f : xc_sum16(y, C) / (float)C;
        const float rstd = 1.0f / sqrtf(xc_sum16_squares(y, mean, C) / (float)C + n->eps); /* biased variance, as PyTorch */

        for (int64_t i = 0; i < C; i++) y[i] = fmaf((y[i] - mean) * rstd, n->gain[i], n->bias && !n->rms ? n->bias[i] : 0.0f);
        if (n->stat) {
            n->stat[2 * r] = mean;
            n->stat[2 * r + 1] = rstd;
        }
        if (n->q) xc_quantize_rows_s8__scalar(n->q + r * n->ldq, n->ldq, n->q_scale + r, n->q_sum + r, y, C, n->q_gain, 1, C, n->static_scale);
    }
}

void xc_softmax_rows__scalar(float *y, const float *x, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, x += C, y += C) {
        float max = -INFINITY;

        for (int64_t i = 0; i < C; i++) max = xc_max_f32(x[i], max);
        for (int64_t i = 0; i < C; i++) y[i] = xc_exp_f32(x[i] - max);

        const float inv = 1.0f / xc_sum16(y, C);

        for (int64_t i = 0; i < C; i++) y[i] *= inv;
    }
}

void xc_l2_normalize_rows__scalar(float *y, const float *x, int64_t R, int64_t C, float eps)
{
    for (int64_t r = 0; r < R; r++, x += C, y += C) {
        const float norm = xc_max_f32(sqrtf(xc_sum16_squares(x, 0.0f, C)), eps);

        for (int64_t i = 0; i < C; i++) y[i] = x[i] / norm;
    }
}
