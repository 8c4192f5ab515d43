/* train: the kernels that only training uses: derivatives of the activations, and the optimizer's step. */
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

static float act_grad(float x, enum xc_act act)
{
    switch (act) {
    case XC_ACT_RELU: return 0.0f < x ? 1.0f : 0.0f;
    case XC_ACT_GELU: return xc_gelu_grad_f32(x);
    case XC_ACT_GELU_TANH: { /* y = x s(u), u = x (C0 + C1 x^2): y' = s + x s (1 - s) u' */
        const float y = copysignf(xc_min_f32(fabsf(x), 16.0f), x), x2 = y * y; /* beyond: 0 or 1, and x * x may be infinite */
        const float s = xc_sigmoid_f32(y * fmaf(XC_GELU_TANH_C1, x2, XC_GELU_TANH_C0));

        return fmaf(y * (s * (1.0f - s)), fmaf(3.0f * XC_GELU_TANH_C1, x2, XC_GELU_TANH_C0), s);
    }
    case XC_ACT_TANH: {
        const float t = xc_tanh_f32(x);

        return fmaf(-t, t, 1.0f);
    }
    case XC_ACT_SIGMOID: {
        const float s = xc_sigmoid_f32(x);

        return s * (1.0f - s);
    }
    case XC_ACT_SILU: {
        const float y = copysignf(xc_min_f32(fabsf(x), 100.0f), x), s = xc_sigmoid_f32(y);

        return fmaf(y, s * (1.0f - s), s);
    }
    case XC_ACT_NONE:
    case XC_ACT_COUNT: break;
    }
    return 1.0f;
}

void xc_act_grad_f32__scalar(float *dx, const float *dy, const float *x, int64_t n, enum xc_act act, bool accumulate)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = dy[i] * act_grad(x[i], act);

        dx[i] = accumulate ? dx[i] + d : d;
    }
}

void xc_adamw_f32__scalar(float *p, float *m, float *v, const float *g, int64_t n, const struct xc_adamw *a)
{
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * a->g_scale;

        m[i] = fmaf(a->b1, m[i], a->one_b1 * d);
        v[i] = fmaf(a->b2, v[i], a->one_b2 * d * d);
        p[i] = fmaf(-a->step, m[i] / fmaf(sqrtf(v[i]), a->v_scale, a->eps), p[i] * a->keep);
    }
}
