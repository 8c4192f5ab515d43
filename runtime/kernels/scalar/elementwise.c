/* elementwise: activations, sums and products, gathers, pooling over rows, widening of half floats. */
#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

float xc_act_one__scalar(float x, enum xc_act act)
{
    switch (act) {
    case XC_ACT_RELU: return xc_max_f32(0.0f, x);
    case XC_ACT_GELU: return xc_gelu_f32(x);
    case XC_ACT_GELU_TANH: return xc_gelu_tanh_f32(x);
    case XC_ACT_TANH: return xc_tanh_f32(x);
    case XC_ACT_SIGMOID: return xc_sigmoid_f32(x);
    case XC_ACT_SILU: return xc_silu_f32(x);
    case XC_ACT_NONE:
    case XC_ACT_COUNT: break;
    }
    return x;
}

void xc_act_f32__scalar(float *y, const float *x, int64_t n, enum xc_act act)
{
    for (int64_t i = 0; i < n; i++) y[i] = xc_act_one__scalar(x[i], act);
}

void xc_add_f32__scalar(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

void xc_mul_f32__scalar(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[i];
}

static float s4_value(const struct xc_table *t, int64_t row, int64_t i)
{
    const int64_t at = row * xc_div_up(t->C, t->group) + i / t->group;
    const int u = ((const uint8_t *)t->rows)[row * xc_div_up(t->C, 2) + i / 2] >> (i % 2 * 4) & 15;

    return (float)(u - (t->group_zero ? t->group_zero[at] : XC_S4_ZERO)) * xc_f16_to_f32(t->group_scale[at]);
}

static float table_value(const struct xc_table *t, int64_t row, int64_t i)
{
    const int64_t at = row * t->C + i;

    switch (t->bits) {
    case XC_TABLE_F16: return xc_f16_to_f32(((const uint16_t *)t->rows)[at]);
    case XC_TABLE_BF16: return xc_bf16_to_f32(((const uint16_t *)t->rows)[at]);
    case XC_TABLE_S8: return (float)((const int8_t *)t->rows)[at] * t->scale[row];
    case XC_TABLE_S4: return s4_value(t, row, i);
    default: return ((const float *)t->rows)[at];
    }
}

void xc_gather_rows__scalar(float *y, int64_t ldy, const struct xc_table *t, const int32_t *ids, int64_t R, bool accumulate)
{
    for (int64_t r = 0; r < R; r++, y += ldy)
        for (int64_t i = 0; i < t->C; i++) {
            const float v = table_value(t, ids[r], i);

            y[i] = accumulate ? y[i] + v : v;
        }
}

void xc_mean_rows__scalar(float *y, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    const float inv = 1.0f / (float)R;

    for (int64_t i = 0; i < C; i++) {
        float sum = 0.0f;

        for (int64_t r = 0; r < R; r++) sum += x[r * ldx + i];
        y[i] = sum * inv;
    }
}

void xc_max_rows__scalar(float *y, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    for (int64_t i = 0; i < C; i++) {
        y[i] = x[i];
        for (int64_t r = 1; r < R; r++) y[i] = xc_max_f32(x[r * ldx + i], y[i]);
    }
}

void xc_f16_to_f32__scalar(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = xc_f16_to_f32(x[i]);
}

void xc_bf16_to_f32__scalar(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = xc_bf16_to_f32(x[i]);
}
