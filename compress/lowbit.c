/* lowbit: see lowbit.h. The search tries a row of steps; for each, rounding gives q and least squares gives the best scale for that q,
 * sum w x q / sum w q^2, which lowers the error by (sum w x q)^2 / sum w q^2: the step with the largest gain wins. The same idea as
 * ggml's make_qx_quants, written anew. */
#include "compress/lowbit.h"

#include <math.h>

#include "runtime/base/half.h"

#define STEPS 16
#define LANES 8 /* running sums, added in a fixed order: the same bits with any compiler */

static float clamped(float v, float lo, float hi) { return v < lo ? lo : v > hi ? hi : v; }

/* Nearest integer, ties to even, of |v| < 2^22. */
static float nearest(float v) { return (v + 12582912.0f) - 12582912.0f; }

struct levels {
    float lo, hi; /* of q = u - zero */
};

static struct levels levels_of(const struct xc_lowbit *f, int zero)
{
    if (f->ternary) return (struct levels){ -1, 1 };
    return (struct levels){ (float)-zero, (float)((1 << f->bits) - 1 - zero) };
}

/* How much less than sum w x^2 the error is with the best scale for x rounded in steps of 1 / inverse; that scale. */
static double gain_of(const float *x, const float *weight, int64_t n, float inverse, struct levels l, double *scale)
{
    float xq[LANES] = { 0 }, qq[LANES] = { 0 };
    double sum_xq = 0, sum_qq = 0;
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const float q = nearest(clamped(x[i + k] * inverse, l.lo, l.hi)), wq = weight ? weight[i + k] * q : q;

            xq[k] += wq * x[i + k];
            qq[k] += wq * q;
        }
    for (int k = 0; i + k < n; k++) {
        const float q = nearest(clamped(x[i + k] * inverse, l.lo, l.hi)), wq = weight ? weight[i + k] * q : q;

        xq[k] += wq * x[i + k];
        qq[k] += wq * q;
    }
    for (int k = 0; k < LANES; k++) {
        sum_xq += (double)xq[k];
        sum_qq += (double)qq[k];
    }
    *scale = sum_qq > 0 ? sum_xq / sum_qq : 0;
    return sum_qq > 0 ? sum_xq * sum_xq / sum_qq : 0;
}

/* Steps from 0.85 of the largest magnitude's to where the extremes are clamped, the further the fewer the levels. */
static float step_of(const struct xc_lowbit *f, int i)
{
    const float most = f->ternary ? 3.0f : f->bits == 2 ? 2.0f : f->bits == 3 ? 1.5f : 1.35f;

    return 0.85f + (most - 0.85f) * (float)i / (STEPS - 1);
}

static double symmetric(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float extreme, int zero)
{
    const struct levels l = levels_of(f, zero);
    double best = -1, best_scale = (double)extreme / (double)l.lo, scale; /* the extreme itself takes the longer side */

    for (int i = 0; f->search && i < (f->bits < 4 ? 2 * STEPS : STEPS); i++) { /* few levels: either sign, since one side is longer */
        const double gain = gain_of(x, weight, n, step_of(f, i % STEPS) * (i < STEPS ? l.lo : -l.lo) / extreme, l, &scale);

        if (gain > best) {
            best = gain;
            best_scale = scale;
        }
    }
    return best_scale;
}

static double affine(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float min, float max, uint8_t *zero)
{
    const float top = (float)((1 << f->bits) - 1);
    double best = -1, best_scale = 0, scale;

    for (int i = 0; i < (f->search ? STEPS : 1); i++) {
        const float step = (max - min) * (f->search ? 1.05f / step_of(f, i) : 1.0f) / top; /* 1.05: wider than the range, too */
        const int z = (int)clamped(nearest(clamped(-min / (max - min), 0.0f, 1.0f) * top), 0.0f, top);
        const double gain = gain_of(x, weight, n, 1.0f / step, levels_of(f, z), &scale);

        if (gain > best) {
            best = gain;
            best_scale = f->search ? scale : (double)step;
            *zero = (uint8_t)z;
        }
    }
    return best_scale;
}

bool xc_lowbit_scale(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, uint16_t *scale, uint8_t *zero)
{
    float extreme = 0, min = 0, max = 0;
    double s = 0;

    *scale = 0;
    *zero = (uint8_t)(1 << (f->bits - 1));
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return false;
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    if (fabsf(extreme) < 1e-30f) return true;
    if (f->affine) s = affine(f, x, weight, n, min, max, zero);
    else s = symmetric(f, x, weight, n, extreme, *zero);
    if (fabs(s) > 65504) return false;
    *scale = xc_f32_to_f16((float)s);
    return true;
}

void xc_lowbit_round(const struct xc_lowbit *f, uint8_t *u, const float *x, int64_t n, uint16_t scale, uint8_t zero)
{
    const struct levels l = levels_of(f, zero);
    const float s = xc_f16_to_f32(scale), inverse = s != 0.0f ? 1.0f / s : 0.0f;

    for (int64_t i = 0; i < n; i++) u[i] = (uint8_t)((int)nearest(clamped(x[i] * inverse, l.lo, l.hi)) + zero);
}
