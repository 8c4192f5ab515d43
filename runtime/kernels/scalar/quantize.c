/* quantize: float rows to int8 with one scale a row, and the int8 packing of keys and values for attention. */
#include "runtime/base/base.h"
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

#define TINY 1e-30f /* an absolute maximum below this counts as zero: 127 / TINY still fits a float */

static float gained(const float *x, const float *gain, int64_t i) { return gain ? x[i] * gain[i] : x[i]; }

static float absmax_gained(const float *x, const float *gain, int64_t n)
{
    float m = 0.0f;

    for (int64_t i = 0; i < n; i++) m = xc_max_f32(fabsf(gained(x, gain, i)), m);
    return m;
}

static float absmax(const float *x, int64_t stride, int64_t n)
{
    float m = 0.0f;

    for (int64_t i = 0; i < n; i++) m = xc_max_f32(fabsf(x[i * stride]), m);
    return m;
}

/* The scale is absmax / 127; the factor is its inverse, computed on its own so that it is one rounding from exact. */
static float scale_of(float max, float *factor)
{
    *factor = max >= TINY ? 127.0f / max : 0.0f;
    return max >= TINY ? max / 127.0f : 0.0f;
}

static int8_t quantize(float x, float factor)
{
    return (int8_t)xc_round_f32(xc_max_f32(xc_min_f32(x * factor, 127.0f), -127.0f));
}

void xc_quantize_rows_s8__scalar(int8_t *q, int64_t ldq, float *scale, int32_t *sum, const float *x, int64_t ldx, const float *gain, int64_t R,
                                 int64_t C, float static_scale)
{
    for (int64_t r = 0; r < R; r++, x += ldx, q += ldq) {
        float factor;

        if (static_scale > 0.0f) {
            scale[r] = static_scale;
            factor = 1.0f / static_scale;
        } else {
            scale[r] = scale_of(absmax_gained(x, gain, C), &factor);
        }
        sum[r] = 0;
        for (int64_t i = 0; i < xc_round_up(C, 4); i++) {
            q[i] = i < C ? quantize(gained(x, gain, i), factor) : 0;
            sum[r] += q[i];
        }
    }
}

void xc_quantize_rows_affine__scalar(int8_t *q, int64_t ldq, float *scale, float *mid, int32_t *sum, const float *x, int64_t ldx, const float *gain, int64_t R,
                                     int64_t C)
{
    for (int64_t r = 0; r < R; r++, x += ldx, q += ldq) {
        float lo = gained(x, gain, 0), hi = lo;

        for (int64_t i = 1; i < C; i++) lo = xc_min_f32(gained(x, gain, i), lo), hi = xc_max_f32(gained(x, gain, i), hi);
        lo += 0.0f; /* -0 is 0 */

        const float width = hi - lo, factor = width >= TINY ? XC_AFFINE_SPAN / width : 0.0f;

        scale[r] = width >= TINY ? width / XC_AFFINE_SPAN : 0.0f;
        mid[r] = fmaf(127.0f, scale[r], lo);
        sum[r] = 0;
        for (int64_t i = 0; i < xc_round_up(C, 4); i++) {
            q[i] = i < C ? (int8_t)(xc_round_f32(xc_max_f32(xc_min_f32((gained(x, gain, i) - lo) * factor, XC_AFFINE_SPAN), 0.0f)) - 127) : 0;
            sum[r] += q[i];
        }
    }
}

void xc_pack_keys_s8__scalar(int8_t *k, float *k_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D)
{
    const int64_t D4 = xc_round_up(D, 4);

    for (int64_t j = 0; j < xc_round_up(n_k, 16); j++) {
        int8_t *panel = k + j / 16 * 16 * D4 + j % 16 * 4;
        float factor = 0.0f;

        k_scale[j] = j < n_k ? scale_of(absmax(x + j * ldx, 1, D), &factor) : 0.0f;
        for (int64_t d = 0; d < D4; d++) panel[d / 4 * 64 + d % 4] = j < n_k && d < D ? quantize(x[j * ldx + d], factor) : 0;
    }
}

void xc_pack_values_s8__scalar(int8_t *v, float *v_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D)
{
    const int64_t D16 = xc_round_up(D, 16);

    for (int64_t j0 = 0; j0 < n_k; j0 += XC_KEY_BLOCK, x += XC_KEY_BLOCK * ldx, v += XC_KEY_BLOCK * D16, v_scale += D16) {
        const int64_t count = xc_min_i64(XC_KEY_BLOCK, n_k - j0);

        for (int64_t d = 0; d < D16; d++) {
            int8_t *panel = v + d / 16 * 16 * XC_KEY_BLOCK + d % 16 * 4;
            float factor = 0.0f;

            v_scale[d] = d < D ? scale_of(absmax(x + d, ldx, count), &factor) : 0.0f;
            for (int64_t j = 0; j < xc_round_up(count, 4); j++)
                panel[j / 4 * 64 + j % 4] = j < count && d < D ? quantize(x[j * ldx + d], factor) : 0;
        }
    }
}
