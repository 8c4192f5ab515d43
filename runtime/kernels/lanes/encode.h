/* encode: the kernels of scalar/encode.c on sixteen lanes. Included after lanes/math.h. */
#ifndef XC_RUNTIME_KERNELS_LANES_ENCODE_H
#define XC_RUNTIME_KERNELS_LANES_ENCODE_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/math.h"

enum { PEAK_BLOCK = 64 }; /* columns: lanes remember which block, and only that one is looked through again */

static void lanes_row_peak(float *peak, int32_t *at, const float *x, const float *s, int64_t C)
{
    v16f best = v_zero(), block = v_zero();
    float value[16], first[16];
    int64_t b = 0;
    float from = INFINITY;

    for (; b + PEAK_BLOCK <= C; b += PEAK_BLOCK) {
        const v16f m0 = v_max(v_abs(v_mul(v_load(x + b), v_load(s + b))), v_zero()), m1 = v_max(v_abs(v_mul(v_load(x + b + 16), v_load(s + b + 16))), v_zero());
        const v16f m2 = v_max(v_abs(v_mul(v_load(x + b + 32), v_load(s + b + 32))), m0), m3 = v_max(v_abs(v_mul(v_load(x + b + 48), v_load(s + b + 48))), m1);
        const v16f m = v_max(m2, m3);

        block = v_lt(best, m, v_set1((float)b), block);
        best = v_max(m, best);
    }
    for (int64_t c = b; c < C; c += 16) {
        const int64_t n = xc_min_i64(16, C - c);
        const v16f m = v_max(v_abs(n == 16 ? v_mul(v_load(x + c), v_load(s + c)) : v_mul(v_load_n(x + c, n), v_load_n(s + c, n))), v_zero());

        block = v_lt(best, m, v_set1((float)b), block);
        best = v_max(m, best);
    }
    *peak = v_hmax(best);
    v_store(value, best);
    v_store(first, block);
    for (int i = 0; i < 16; i++)
        if (value[i] == *peak && first[i] < from) from = first[i];
    *at = (int32_t)from;
    while (*peak > 0.0f && fabsf(x[*at] * s[*at]) != *peak) (*at)++;
}

static void lanes_step_sums(float *xq, float *qq, const float *x, const float *weight, int64_t n, const float *inverse, float lo, float hi)
{
    const v16f inv = v_load(inverse), least = v_set1(lo), most = v_set1(hi);
    v16f sx = v_zero(), sq = v_zero();

    for (int64_t i = 0; i < n; i++) {
        const v16f xi = v_set1(x[i]), q = v_from_i(i_round(v_max(v_min(v_mul(xi, inv), most), least))), wq = weight ? v_mul(v_set1(weight[i]), q) : q;

        sx = v_fma(wq, xi, sx);
        sq = v_fma(wq, q, sq);
    }
    v_store(xq, sx);
    v_store(qq, sq);
}

static void lanes_init_encode(struct xc_kernels *k)
{
    k->row_peak = lanes_row_peak;
    k->step_sums = lanes_step_sums;
}

#endif
