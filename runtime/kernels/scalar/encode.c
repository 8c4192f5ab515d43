/* encode: what choosing scales for weights spends its time on. Only compression uses it. */
#include <math.h>

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
