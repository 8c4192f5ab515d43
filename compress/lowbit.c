/* lowbit: see lowbit.h. The search tries a row of steps; for each, rounding gives q and least squares gives the best scale for that q,
 * sum w x q / sum w q^2, which lowers the error by (sum w x q)^2 / sum w q^2: the step with the largest gain wins. The same idea as
 * ggml's make_qx_quants, written anew. */
#include "compress/lowbit.h"

#include <math.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/kernels/kernels.h"

enum { STEPS = 16 }; /* as many as the kernel step_sums takes at once */

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

/* Steps from 0.85 of the largest magnitude's to where the extremes are clamped, the further the fewer the levels. */
static float step_of(const struct xc_lowbit *f, int i)
{
    const float most = f->ternary ? 3.0f : f->bits == 2 ? 2.0f : f->bits == 3 ? 1.5f : 1.35f;

    return 0.85f + (most - 0.85f) * (float)i / (STEPS - 1);
}

/* Of the scales that are best for x rounded in steps of 1 / inverse: the one that lowers the error most, beyond *gain. */
static void best_step(double *scale, double *gain, const float *x, const float *weight, int64_t n, const float inverse[STEPS], struct levels l)
{
    float xq[STEPS], qq[STEPS];

    xc_kernels()->step_sums(xq, qq, x, weight, n, inverse, l.lo, l.hi);
    for (int i = 0; i < STEPS; i++) {
        const double by = qq[i] > 0 ? (double)xq[i] * (double)xq[i] / (double)qq[i] : 0;

        if (by <= *gain) continue;
        *gain = by;
        *scale = qq[i] > 0 ? (double)xq[i] / (double)qq[i] : 0;
    }
}

static double symmetric(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float extreme, int zero)
{
    const struct levels l = levels_of(f, zero);
    double gain = -1, scale = (double)extreme / (double)l.lo; /* the extreme itself takes the longer side */
    float inverse[STEPS];

    for (int side = 0; f->search && side < (f->bits < 4 ? 2 : 1); side++) { /* few levels: either sign, since one side is longer */
        for (int i = 0; i < STEPS; i++) inverse[i] = step_of(f, i) * (side ? -l.lo : l.lo) / extreme;
        best_step(&scale, &gain, x, weight, n, inverse, l);
    }
    return scale;
}

static double affine(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float min, float max, uint8_t *zero)
{
    const float top = (float)((1 << f->bits) - 1), width = max - min;
    double gain = -1, scale = (double)(width / top);
    float inverse[STEPS];

    *zero = (uint8_t)clamped(nearest(clamped(-min / width, 0.0f, 1.0f) * top), 0.0f, top);
    if (!f->search) return scale;
    for (int i = 0; i < STEPS; i++) inverse[i] = 1.0f / (width * (1.05f / step_of(f, i)) / top); /* 1.05: wider than the range, too */
    best_step(&scale, &gain, x, weight, n, inverse, levels_of(f, *zero));
    return scale;
}

/* The least and the greatest number; false when one is not finite. Magnitudes are ordered as their bits are. */
static bool range_of(const float *x, int64_t n, float *min, float *max)
{
    float lo = 0, hi = 0;
    int32_t most = 0;

    for (int64_t i = 0; i < n; i++) {
        int32_t bits;

        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    *min = lo;
    *max = hi;
    return most < 0x7f800000;
}

bool xc_lowbit_scale(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, uint16_t *scale, uint8_t *zero)
{
    float min, max, extreme;
    double s = 0;

    *scale = 0;
    *zero = (uint8_t)(1 << (f->bits - 1));
    if (!range_of(x, n, &min, &max)) return false;
    extreme = -min > max ? min : max;
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
