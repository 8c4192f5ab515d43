/* train: the kernels of scalar/train.c on sixteen lanes. Included after lanes/math.h. */
#ifndef XC_RUNTIME_KERNELS_LANES_TRAIN_H
#define XC_RUNTIME_KERNELS_LANES_TRAIN_H

#include "runtime/kernels/lanes/math.h"

LANES_INLINE v16f v_bounded(v16f x, float limit) { return v_copysign(v_min(v_abs(x), v_set1(limit)), x); }
LANES_INLINE v16f v_one_minus(v16f x) { return v_sub(v_set1(1.0f), x); }

LANES_INLINE v16f v_relu_grad(v16f x) { return v_lt(v_zero(), x, v_set1(1.0f), v_zero()); }

LANES_INLINE v16f v_gelu_grad(v16f x)
{
    const v16f tail = v_gauss_tail(v_min(v_abs(x), v_set1(XC_GAUSS_MAX))), y = v_min(v_abs(x), v_set1(16.0f));

    return v_fma(v_copysign(y, x), v_mul(v_exp(v_mul(v_mul(y, y), v_set1(-0.5f))), v_set1(XC_INV_SQRT_2PI)), v_lt(x, v_zero(), tail, v_one_minus(tail)));
}

LANES_INLINE v16f v_gelu_tanh_grad(v16f x)
{
    const v16f y = v_bounded(x, 16.0f), x2 = v_mul(y, y);
    const v16f s = v_sigmoid(v_mul(y, v_fma(v_set1(XC_GELU_TANH_C1), x2, v_set1(XC_GELU_TANH_C0))));

    return v_fma(v_mul(y, v_mul(s, v_one_minus(s))), v_fma(v_set1(3.0f * XC_GELU_TANH_C1), x2, v_set1(XC_GELU_TANH_C0)), s);
}

LANES_INLINE v16f v_tanh_grad(v16f x)
{
    const v16f t = v_tanh(x);

    return v_fma(v_neg(t), t, v_set1(1.0f));
}

LANES_INLINE v16f v_sigmoid_grad(v16f x)
{
    const v16f s = v_sigmoid(x);

    return v_mul(s, v_one_minus(s));
}

LANES_INLINE v16f v_silu_grad(v16f x)
{
    const v16f y = v_bounded(x, 100.0f), s = v_sigmoid(y);

    return v_fma(y, v_mul(s, v_one_minus(s)), s);
}

LANES_INLINE v16f v_one_grad(v16f x)
{
    (void)x;
    return v_set1(1.0f);
}

/* dx (n) = dy f(x), or += */
#define GRAD_SPAN(f)                                                                                      \
    do {                                                                                                  \
        int64_t i = 0;                                                                                    \
        for (; i + 16 <= n; i += 16) {                                                                    \
            const v16f d = v_mul(v_load(dy + i), f(v_load(x + i)));                                       \
            v_store(dx + i, accumulate ? v_add(v_load(dx + i), d) : d);                                   \
        }                                                                                                 \
        if (i < n) {                                                                                      \
            const v16f d = v_mul(v_load_n(dy + i, n - i), f(v_load_n(x + i, n - i)));                     \
            v_store_n(dx + i, accumulate ? v_add(v_load_n(dx + i, n - i), d) : d, n - i);                 \
        }                                                                                                 \
    } while (0)

static void lanes_act_grad_f32(float *dx, const float *dy, const float *x, int64_t n, enum xc_act act, bool accumulate)
{
    switch (act) {
    case XC_ACT_RELU: GRAD_SPAN(v_relu_grad); break;
    case XC_ACT_GELU: GRAD_SPAN(v_gelu_grad); break;
    case XC_ACT_GELU_TANH: GRAD_SPAN(v_gelu_tanh_grad); break;
    case XC_ACT_TANH: GRAD_SPAN(v_tanh_grad); break;
    case XC_ACT_SIGMOID: GRAD_SPAN(v_sigmoid_grad); break;
    case XC_ACT_SILU: GRAD_SPAN(v_silu_grad); break;
    case XC_ACT_NONE:
    case XC_ACT_COUNT: GRAD_SPAN(v_one_grad); break;
    }
}

static void lanes_adamw_f32(float *p, float *m, float *v, const float *g, int64_t n, const struct xc_adamw *a)
{
    for (int64_t i = 0; i < n; i += 16) {
        const int64_t left = n - i;
        const bool whole = left >= 16;
        const v16f d = v_mul(whole ? v_load(g + i) : v_load_n(g + i, left), v_set1(a->g_scale));
        const v16f mi = v_fma(v_set1(a->b1), whole ? v_load(m + i) : v_load_n(m + i, left), v_mul(v_set1(a->one_b1), d));
        const v16f vi = v_fma(v_set1(a->b2), whole ? v_load(v + i) : v_load_n(v + i, left), v_mul(v_mul(v_set1(a->one_b2), d), d));
        const v16f q = v_div(mi, v_fma(v_sqrt(vi), v_set1(a->v_scale), v_set1(a->eps)));
        const v16f pi = v_fma(v_set1(-a->step), q, v_mul(whole ? v_load(p + i) : v_load_n(p + i, left), v_set1(a->keep)));

        if (whole) {
            v_store(m + i, mi);
            v_store(v + i, vi);
            v_store(p + i, pi);
        } else {
            v_store_n(m + i, mi, left);
            v_store_n(v + i, vi, left);
            v_store_n(p + i, pi, left);
        }
    }
}

static void lanes_init_train(struct xc_kernels *k)
{
    k->act_grad_f32 = lanes_act_grad_f32;
    k->adamw_f32 = lanes_adamw_f32;
}

#endif
