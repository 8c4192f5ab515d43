/* math: the elementary functions of numerics version 1, one float at a time.
 *
 * These are the meaning: every ISA performs the same operations in the same order on vectors (lanes/math.h), so a result never
 * depends on the CPU. fmaf is one rounding; nothing else is fused (-ffp-contract=off). Polynomials were fitted for this project
 * by reweighted least squares on Chebyshev points. Behaviour for NaN is defined only as "no undefined behaviour".
 *
 * Accuracy against double: exp 2e-7 relative; tanh, sigmoid 1e-7 absolute; gelu 2e-7 * max(1, |x|) absolute. */
#ifndef XC_RUNTIME_KERNELS_SCALAR_MATH_H
#define XC_RUNTIME_KERNELS_SCALAR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define XC_LOG2E 1.44269504f
#define XC_LN2_HI 0.693145752f /* 15 bits: n * LN2_HI is exact */
#define XC_LN2_LO 1.42860677e-6f
#define XC_ROUND_MAGIC 12582912.0f /* 1.5 * 2^23: adding it leaves the nearest integer, ties to even, in the low bits */

/* exp(r) on |r| <= ln2/2 */
#define XC_EXP_C0 1.0f
#define XC_EXP_C1 1.0f
#define XC_EXP_C2 0.499999911f
#define XC_EXP_C3 0.166664198f
#define XC_EXP_C4 0.0416682325f
#define XC_EXP_C5 0.00837489869f
#define XC_EXP_C6 0.0013836727f
#define XC_EXP_MIN (-87.0f) /* below: 0 */
#define XC_EXP_MAX 88.0f    /* above: exp(88) */

/* 2^f on |f| <= 1/2 */
#define XC_EXP2_C0 1.0f
#define XC_EXP2_C1 0.693147182f
#define XC_EXP2_C2 0.240226462f
#define XC_EXP2_C3 0.0555032864f
#define XC_EXP2_C4 0.00961848907f
#define XC_EXP2_C5 0.00133999321f
#define XC_EXP2_C6 0.00015345795f
#define XC_EXP2_MIN (-125.0f) /* below: 0 */

/* 127 * 2^f on |f| <= 1/2 to 1e-4: enough for a probability of seven bits */
#define XC_P7_C0 126.990868f
#define XC_P7_C1 88.0441513f
#define XC_P7_C2 30.811615f
#define XC_P7_C3 7.00678015f
#define XC_P7_MIN (-9.0f) /* 127 * 2^-9 rounds to 0 */
#define XC_SCORE_FLOOR (-1e30f) /* attention: below every score */

/* -log2(Phi(-x)) on [0, 6], fitted so that x * Phi(-x) is within 1e-8 */
#define XC_GAUSS_C0 0.999999523f
#define XC_GAUSS_C1 1.15111637f
#define XC_GAUSS_C2 0.459141284f
#define XC_GAUSS_C3 0.0526671745f
#define XC_GAUSS_C4 -0.00728625478f
#define XC_GAUSS_C5 0.000296159415f
#define XC_GAUSS_C6 0.000123407663f
#define XC_GAUSS_C7 -2.66364787e-05f
#define XC_GAUSS_C8 1.80033976e-06f
#define XC_GAUSS_MAX 6.0f

#define XC_GELU_TANH_C0 1.59576912f   /* 2 * sqrt(2 / pi) */
#define XC_GELU_TANH_C1 0.0713548163f /* the same * 0.044715 */

/* The compare-and-choose forms of x86 max and min: b when the two are unordered. */
static inline float xc_max_f32(float a, float b) { return a > b ? a : b; }
static inline float xc_min_f32(float a, float b) { return a < b ? a : b; }

/* Nearest integer, ties to even, for |x| < 2^22. */
static inline float xc_round_f32(float x)
{
    const float r = x + XC_ROUND_MAGIC;

    return r - XC_ROUND_MAGIC;
}

/* x * 2^n for an integral n, by adding to the exponent; neither x nor the result may be subnormal. */
static inline float xc_scale2_f32(float x, float n)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    bits += (uint32_t)(int32_t)n << 23;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static inline float xc_exp_f32(float x)
{
    const float y = xc_max_f32(xc_min_f32(x, XC_EXP_MAX), XC_EXP_MIN);
    const float n = xc_round_f32(y * XC_LOG2E);
    const float r = fmaf(n, -XC_LN2_LO, fmaf(n, -XC_LN2_HI, y));
    float p = XC_EXP_C6;

    p = fmaf(p, r, XC_EXP_C5);
    p = fmaf(p, r, XC_EXP_C4);
    p = fmaf(p, r, XC_EXP_C3);
    p = fmaf(p, r, XC_EXP_C2);
    p = fmaf(p, r, XC_EXP_C1);
    p = fmaf(p, r, XC_EXP_C0);
    return x < XC_EXP_MIN ? 0.0f : xc_scale2_f32(p, n);
}

/* 2^x for x <= 0 */
static inline float xc_exp2_f32(float x)
{
    const float y = xc_max_f32(x, XC_EXP2_MIN);
    const float n = xc_round_f32(y);
    const float f = y - n;
    float p = XC_EXP2_C6;

    p = fmaf(p, f, XC_EXP2_C5);
    p = fmaf(p, f, XC_EXP2_C4);
    p = fmaf(p, f, XC_EXP2_C3);
    p = fmaf(p, f, XC_EXP2_C2);
    p = fmaf(p, f, XC_EXP2_C1);
    p = fmaf(p, f, XC_EXP2_C0);
    return x < XC_EXP2_MIN ? 0.0f : xc_scale2_f32(p, n);
}

/* rint(127 * 2^t) for t <= 0, as an integer in [0, 127] */
static inline int32_t xc_p7(float t)
{
    const float y = xc_max_f32(t, XC_P7_MIN);
    const float n = xc_round_f32(y);
    const float f = y - n;
    float p = XC_P7_C3;

    p = fmaf(p, f, XC_P7_C2);
    p = fmaf(p, f, XC_P7_C1);
    p = fmaf(p, f, XC_P7_C0);
    return (int32_t)xc_round_f32(xc_scale2_f32(p, n));
}

/* Phi(-a) for a in [0, XC_GAUSS_MAX] */
static inline float xc_gauss_tail_f32(float a)
{
    float g = XC_GAUSS_C8;

    g = fmaf(g, a, XC_GAUSS_C7);
    g = fmaf(g, a, XC_GAUSS_C6);
    g = fmaf(g, a, XC_GAUSS_C5);
    g = fmaf(g, a, XC_GAUSS_C4);
    g = fmaf(g, a, XC_GAUSS_C3);
    g = fmaf(g, a, XC_GAUSS_C2);
    g = fmaf(g, a, XC_GAUSS_C1);
    g = fmaf(g, a, XC_GAUSS_C0);
    return xc_exp2_f32(-g);
}

/* x * Phi(x) = max(x, 0) - |x| * Phi(-|x|): the second term is at most 0.17, so its error stays far below an ulp of the first. */
static inline float xc_gelu_f32(float x)
{
    const float a = xc_min_f32(fabsf(x), XC_GAUSS_MAX);

    return fmaf(-a, xc_gauss_tail_f32(a), xc_max_f32(0.0f, x));
}

#define XC_INV_SQRT_2PI 0.398942280f

/* Phi(x) + x phi(x) */
static inline float xc_gelu_grad_f32(float x)
{
    const float tail = xc_gauss_tail_f32(xc_min_f32(fabsf(x), XC_GAUSS_MAX)), y = xc_min_f32(fabsf(x), 16.0f); /* beyond: phi is 0, and x * x may be infinite */

    return fmaf(copysignf(y, x), xc_exp_f32(y * y * -0.5f) * XC_INV_SQRT_2PI, x < 0.0f ? tail : 1.0f - tail);
}

static inline float xc_sigmoid_f32(float x)
{
    const float e = xc_exp_f32(-fabsf(x));
    const float d = 1.0f + e;

    return (x < 0.0f ? e : 1.0f) / d;
}

static inline float xc_tanh_f32(float x)
{
    const float e = xc_exp_f32(-2.0f * fabsf(x));

    return copysignf((1.0f - e) / (1.0f + e), x);
}

/* 0.5 x (1 + tanh(u)) = x * sigmoid(2u) */
static inline float xc_gelu_tanh_f32(float x)
{
    return x * xc_sigmoid_f32(x * fmaf(XC_GELU_TANH_C1, x * x, XC_GELU_TANH_C0));
}

static inline float xc_silu_f32(float x) { return x * xc_sigmoid_f32(x); }

/* The reduction of numerics version 1: lane l sums elements l, l+16, ...; lanes fold by halves. */
static inline float xc_fold16(float *lane)
{
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static inline float xc_sum16(const float *x, int64_t n)
{
    float lane[16] = {0};

    for (int64_t i = 0; i < n; i++) lane[i % 16] += x[i];
    return xc_fold16(lane);
}

/* sum of (x - mean)^2 */
static inline float xc_sum16_squares(const float *x, float mean, int64_t n)
{
    float lane[16] = {0};

    for (int64_t i = 0; i < n; i++) {
        const float d = x[i] - mean;

        lane[i % 16] = fmaf(d, d, lane[i % 16]);
    }
    return xc_fold16(lane);
}

#endif
