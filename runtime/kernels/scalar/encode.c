/* encode: what choosing scales for weights spends its time on. Only compression uses it. */
#include <math.h>
#include <stdbool.h>

#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

void xc_row_peak__scalar(float *peak, int32_t *at, const float *x, const float *s, int64_t C)
{
    *peak = 0.0f;
    *at = 0;
    for (int64_t c = 0; c < C; c++) {
        const float a = fabsf(x[c] * s[c]);

        if (a > *peak) {
            *peak = a;
            *at = (int32_t)c;
        }
    }
}

void xc_step_sums__scalar(float *xq, float *qq, const float *x, const float *weight, int64_t n, const float *inverse, float lo, float hi)
{
    for (int k = 0; k < 16; k++) {
        xq[k] = qq[k] = 0.0f;
        for (int64_t i = 0; i < n; i++) {
            const float q = xc_round_f32(xc_max_f32(xc_min_f32(x[i] * inverse[k], hi), lo)), wq = weight ? weight[i] * q : q;

            xq[k] = fmaf(wq, x[i], xq[k]);
            qq[k] = fmaf(wq, q, qq[k]);
        }
    }
}

void xc_fit_sums__scalar(float *sums, const float *x, const float *weight, int64_t n, const float *fit, float top)
{
    for (int k = 0; k < 16; k++) {
        const float inverse = fit[k], scale = fit[16 + k], zero = fit[32 + k];
        float s[4] = {0};

        for (int64_t i = 0; i < n; i++) {
            const float u = xc_round_f32(xc_max_f32(xc_min_f32(x[i] * inverse + zero, top), 0.0f)), wu = weight ? weight[i] * u : u;
            const float d = fmaf(-scale, u - zero, x[i]);

            s[0] += wu;
            s[1] = fmaf(wu, u, s[1]);
            s[2] = fmaf(wu, x[i], s[2]);
            s[3] = fmaf(weight ? weight[i] * d : d, d, s[3]);
        }
        for (int j = 0; j < 4; j++) sums[16 * j + k] = s[j];
    }
}

static bool may_bind(const float x[16], float pair, float quad, float lane)
{
    float up[16], down[16];
    bool any = false;

    for (int i = 0; i < 16; i++) {
        const float u = xc_max_f32(x[i], 0.0f), d = xc_min_f32(x[i], 0.0f);

        up[i] = u * u;
        down[i] = d * d;
    }
    for (int i = 0; i < 16; i += 2) any |= fabsf(x[i] + x[i + 1]) > pair;
    for (int i = 0; i < 16; i += i % 8 ? 6 : 2) any |= (fabsf(x[i]) + fabsf(x[i + 1])) + (fabsf(x[i + 4]) + fabsf(x[i + 5])) > quad; /* 0 2 8 10 */
    for (int i = 0; i < 4; i += 2) { /* inputs i, i+1, i+4, i+5, i+8, i+9, i+12, i+13 */
        any |= ((up[i] + up[i + 1]) + (up[i + 4] + up[i + 5])) + ((up[i + 8] + up[i + 9]) + (up[i + 12] + up[i + 13])) > lane;
        any |= ((down[i] + down[i + 1]) + (down[i + 4] + down[i + 5])) + ((down[i + 8] + down[i + 9]) + (down[i + 12] + down[i + 13])) > lane;
    }
    return any;
}

void xc_screen_f32__scalar(uint8_t *flag, const float *x, int64_t n, float pair, float quad, float lane)
{
    for (int64_t i = 0; i < n; i++) flag[i] = may_bind(x + 16 * i, pair, quad, lane);
}

void xc_screen_s8__scalar(uint8_t *flag, const int8_t *q, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float x[16];

        for (int k = 0; k < 16; k++) x[k] = (float)q[16 * i + k];
        flag[i] = may_bind(x, XC_PAIR_MAX, XC_SUM16_MAX, XC_LANE_SQUARES);
    }
}

void xc_error_s8__scalar(float *sum, const float *x, const int8_t *q, float scale, int64_t C)
{
    float e[16] = { 0 }, n[16] = { 0 };
    int64_t zeros = 0;

    for (int64_t c = 0; c < C; c++) {
        const float d = fmaf(-scale, (float)q[c], x[c]);

        e[c % 16] = fmaf(d, d, e[c % 16]);
        n[c % 16] = fmaf(x[c], x[c], n[c % 16]);
        zeros += q[c] == 0;
    }
    sum[0] = xc_fold16(e);
    sum[1] = xc_fold16(n);
    sum[2] = (float)zeros;
}
