/* math: the functions of scalar/math.h on sixteen lanes: the same operations in the same order. Included after <isa>/lanes.h. */
#ifndef XC_RUNTIME_KERNELS_LANES_MATH_H
#define XC_RUNTIME_KERNELS_LANES_MATH_H

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/scalar/math.h"

LANES_INLINE v16f v_exp(v16f x)
{
    const v16f y = v_max(v_min(x, v_set1(XC_EXP_MAX)), v_set1(XC_EXP_MIN));
    const v16f magic = v_add(v_mul(y, v_set1(XC_LOG2E)), v_set1(XC_ROUND_MAGIC));
    const v16f n = v_sub(magic, v_set1(XC_ROUND_MAGIC));
    const v16f r = v_fma(n, v_set1(-XC_LN2_LO), v_fma(n, v_set1(-XC_LN2_HI), y));
    v16f p = v_set1(XC_EXP_C6);

    p = v_fma(p, r, v_set1(XC_EXP_C5));
    p = v_fma(p, r, v_set1(XC_EXP_C4));
    p = v_fma(p, r, v_set1(XC_EXP_C3));
    p = v_fma(p, r, v_set1(XC_EXP_C2));
    p = v_fma(p, r, v_set1(XC_EXP_C1));
    p = v_fma(p, r, v_set1(XC_EXP_C0));
    return v_lt(x, v_set1(XC_EXP_MIN), v_zero(), v_scale2(p, magic));
}

LANES_INLINE v16f v_exp2(v16f x)
{
    const v16f y = v_max(x, v_set1(XC_EXP2_MIN));
    const v16f magic = v_add(y, v_set1(XC_ROUND_MAGIC));
    const v16f f = v_sub(y, v_sub(magic, v_set1(XC_ROUND_MAGIC)));
    v16f p = v_set1(XC_EXP2_C6);

    p = v_fma(p, f, v_set1(XC_EXP2_C5));
    p = v_fma(p, f, v_set1(XC_EXP2_C4));
    p = v_fma(p, f, v_set1(XC_EXP2_C3));
    p = v_fma(p, f, v_set1(XC_EXP2_C2));
    p = v_fma(p, f, v_set1(XC_EXP2_C1));
    p = v_fma(p, f, v_set1(XC_EXP2_C0));
    return v_lt(x, v_set1(XC_EXP2_MIN), v_zero(), v_scale2(p, magic));
}

LANES_INLINE v16i v_p7(v16f t)
{
    const v16f y = v_max(t, v_set1(XC_P7_MIN));
    const v16f magic = v_add(y, v_set1(XC_ROUND_MAGIC));
    const v16f f = v_sub(y, v_sub(magic, v_set1(XC_ROUND_MAGIC)));
    v16f p = v_set1(XC_P7_C3);

    p = v_fma(p, f, v_set1(XC_P7_C2));
    p = v_fma(p, f, v_set1(XC_P7_C1));
    p = v_fma(p, f, v_set1(XC_P7_C0));
    return i_round(v_scale2(p, magic));
}

LANES_INLINE v16f v_gauss_tail(v16f a)
{
    v16f g = v_set1(XC_GAUSS_C8);

    g = v_fma(g, a, v_set1(XC_GAUSS_C7));
    g = v_fma(g, a, v_set1(XC_GAUSS_C6));
    g = v_fma(g, a, v_set1(XC_GAUSS_C5));
    g = v_fma(g, a, v_set1(XC_GAUSS_C4));
    g = v_fma(g, a, v_set1(XC_GAUSS_C3));
    g = v_fma(g, a, v_set1(XC_GAUSS_C2));
    g = v_fma(g, a, v_set1(XC_GAUSS_C1));
    g = v_fma(g, a, v_set1(XC_GAUSS_C0));
    return v_exp2(v_neg(g));
}

LANES_INLINE v16f v_gelu(v16f x)
{
    const v16f a = v_min(v_abs(x), v_set1(XC_GAUSS_MAX));

    return v_fma(v_neg(a), v_gauss_tail(a), v_max(v_zero(), x));
}

LANES_INLINE v16f v_sigmoid(v16f x)
{
    const v16f one = v_set1(1.0f), e = v_exp(v_neg(v_abs(x)));

    return v_div(v_lt(x, v_zero(), e, one), v_add(one, e));
}

LANES_INLINE v16f v_tanh(v16f x)
{
    const v16f one = v_set1(1.0f), e = v_exp(v_mul(v_set1(-2.0f), v_abs(x)));

    return v_copysign(v_div(v_sub(one, e), v_add(one, e)), x);
}

LANES_INLINE v16f v_gelu_tanh(v16f x)
{
    return v_mul(x, v_sigmoid(v_mul(x, v_fma(v_set1(XC_GELU_TANH_C1), v_mul(x, x), v_set1(XC_GELU_TANH_C0)))));
}

LANES_INLINE v16f v_relu(v16f x) { return v_max(v_zero(), x); }
LANES_INLINE v16f v_silu(v16f x) { return v_mul(x, v_sigmoid(x)); }
LANES_INLINE v16f v_same(v16f x) { return x; }

/* y (n) = f(x) */
#define ACT_SPAN(f)                                                                   \
    do {                                                                              \
        int64_t i = 0;                                                                \
        for (; i + 16 <= n; i += 16) v_store(y + i, f(v_load(x + i)));                \
        if (i < n) v_store_n(y + i, f(v_load_n(x + i, n - i)), n - i);                \
    } while (0)

static void act_span(float *y, const float *x, int64_t n, enum xc_act act)
{
    switch (act) {
    case XC_ACT_RELU: ACT_SPAN(v_relu); break;
    case XC_ACT_GELU: ACT_SPAN(v_gelu); break;
    case XC_ACT_GELU_TANH: ACT_SPAN(v_gelu_tanh); break;
    case XC_ACT_TANH: ACT_SPAN(v_tanh); break;
    case XC_ACT_SIGMOID: ACT_SPAN(v_sigmoid); break;
    case XC_ACT_SILU: ACT_SPAN(v_silu); break;
    case XC_ACT_NONE:
    case XC_ACT_COUNT: ACT_SPAN(v_same); break;
    }
}

#endif
