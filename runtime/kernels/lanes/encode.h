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

static void lanes_fit_sums(float *sums, const float *x, const float *weight, int64_t n, const float *fit, float top)
{
    const v16f inverse = v_load(fit), down = v_mul(v_load(fit + 16), v_set1(-1.0f)), zero = v_load(fit + 32), most = v_set1(top);
    v16f su = v_zero(), suu = v_zero(), sxu = v_zero(), se = v_zero();

    for (int64_t i = 0; i < n; i++) {
        const v16f xi = v_set1(x[i]), w = v_set1(weight ? weight[i] : 1.0f), u = v_from_i(i_round(v_max(v_min(v_add(v_mul(xi, inverse), zero), most), v_zero())));
        const v16f wu = v_mul(w, u), d = v_fma(down, v_sub(u, zero), xi);

        su = v_add(su, wu);
        suu = v_fma(wu, u, suu);
        sxu = v_fma(wu, xi, sxu);
        se = v_fma(v_mul(w, d), d, se);
    }
    v_store(sums, su);
    v_store(sums + 16, suu);
    v_store(sums + 32, sxu);
    v_store(sums + 48, se);
}

LANES_INLINE bool may_bind(v16f x, v16f pair, v16f quad, v16f lane)
{
    const v16f near = v_swap1(x), up = v_max(x, v_zero()), down = v_min(x, v_zero());
    v16f m = v_add(v_abs(x), v_abs(near)), u = v_mul(up, up), d = v_mul(down, down);
    bool any = v_any_gt(v_abs(v_add(x, near)), pair);

    m = v_add(m, v_swap4(m));
    u = v_add(u, v_swap1(u));
    d = v_add(d, v_swap1(d));
    u = v_add(u, v_swap4(u));
    d = v_add(d, v_swap4(d));
    any |= v_any_gt(m, quad);
    return any | v_any_gt(v_max(v_add(u, v_swap8(u)), v_add(d, v_swap8(d))), lane);
}

static void lanes_screen_f32(uint8_t *flag, const float *x, int64_t n, float pair, float quad, float lane)
{
    for (int64_t i = 0; i < n; i++) flag[i] = may_bind(v_load(x + 16 * i), v_set1(pair), v_set1(quad), v_set1(lane));
}

static void lanes_screen_s8(uint8_t *flag, const int8_t *q, int64_t n)
{
    for (int64_t i = 0; i < n; i++) flag[i] = may_bind(v_from_s8(q + 16 * i), v_set1(XC_PAIR_MAX), v_set1(XC_SUM16_MAX), v_set1(XC_LANE_SQUARES));
}

static void lanes_error_s8(float *sum, const float *x, const int8_t *q, float scale, int64_t C)
{
    const v16f back = v_set1(-scale);
    v16f e = v_zero(), n = v_zero(), z = v_zero();

    for (int64_t c = 0; c < C; c += 16) {
        const int64_t left = C - c;
        int8_t tail[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}; /* no zeros beyond the end */
        v16f xi, qi, d;

        if (left < 16) memcpy(tail, q + c, (size_t)left);
        xi = left < 16 ? v_load_n(x + c, left) : v_load(x + c);
        qi = v_from_s8(left < 16 ? tail : q + c);
        d = v_fma(back, qi, xi);
        if (left < 16) d = v_first(d, v_zero(), left);
        e = v_fma(d, d, e);
        n = v_fma(xi, xi, n);
        z = v_add(z, v_lt(v_abs(qi), v_set1(0.5f), v_set1(1.0f), v_zero()));
    }
    sum[0] = v_sum(e);
    sum[1] = v_sum(n);
    sum[2] = v_sum(z);
}

static void lanes_init_encode(struct xc_kernels *k)
{
    k->row_peak = lanes_row_peak;
    k->step_sums = lanes_step_sums;
    k->fit_sums = lanes_fit_sums;
    k->screen_f32 = lanes_screen_f32;
    k->screen_s8 = lanes_screen_s8;
    k->error_s8 = lanes_error_s8;
}

#endif
