/* lowbit: see lowbit.h. The search tries a row of steps; for each, rounding gives q and least squares gives the best scale for that q,
 * sum w x q / sum w q^2, which lowers the error by (sum w x q)^2 / sum w q^2: the step with the largest gain wins. The same idea as
 * ggml's make_qx_quants, written anew. With fine zeros scale and offset are fitted together, by weighted linear regression on q, in turn with rounding;
 * then the codes next to what came out are tried. */
#include "compress/lowbit.h"

#include <math.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/graph/grouped.h"
#include "runtime/kernels/kernels.h"

enum { STEPS = 16 }; /* as many as the kernel step_sums takes at once */
#define STARTS 6 /* of the regression, */
#define TURNS 2  /* and how often it follows the rounding */
#define LANES 8  /* its running sums, added in a fixed order: the same bits with any compiler */

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
    static const float most_of[] = { 0, 0, 2.0f, 1.5f, 1.35f, 1.2f, 1.12f };
    const float most = f->ternary ? 3.0f : most_of[f->bits];

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

/* ---- two levels ---- */
/* Sums over a group rounded to u = nearest(x / scale + zero) of 0 .. top: w, w u, w u^2, w x, w x u, and w (x - scale (u - zero))^2. */
struct fit {
    double w, u, uu, x, xu, error;
};

enum { W, U, UU, X, XU, E, SUMS };

/* One number in each of `count` lanes. */
static inline void fit_add(float lane[SUMS][LANES], const float *x, const float *weight, int count, float inverse, float scale, float zero, float top)
{
    for (int k = 0; k < count; k++) {
        const float v = x[k], w = weight ? weight[k] : 1.0f, u = nearest(clamped(v * inverse + zero, 0.0f, top)), d = v - scale * (u - zero);

        lane[W][k] += w;
        lane[U][k] += w * u;
        lane[UU][k] += w * u * u;
        lane[X][k] += w * v;
        lane[XU][k] += w * v * u;
        lane[E][k] += w * d * d;
    }
}

static struct fit fit_of(const float *x, const float *weight, int64_t n, float scale, float zero, float top)
{
    const float inverse = 1.0f / scale;
    float lane[SUMS][LANES] = { { 0 } };
    double sum[SUMS] = { 0 };
    int64_t i = 0;

    if (weight)
        for (; i + LANES <= n; i += LANES) fit_add(lane, x + i, weight + i, LANES, inverse, scale, zero, top);
    else
        for (; i + LANES <= n; i += LANES) fit_add(lane, x + i, NULL, LANES, inverse, scale, zero, top);
    fit_add(lane, x + i, weight ? weight + i : NULL, (int)(n - i), inverse, scale, zero, top);
    for (int s = 0; s < SUMS; s++)
        for (int k = 0; k < LANES; k++) sum[s] += (double)lane[s][k];
    return (struct fit){ sum[W], sum[U], sum[UU], sum[X], sum[XU], sum[E] };
}

/* The least error of a scale and an offset, both free. */
static void fit_both(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float min, float max, float *scale, float *zero)
{
    const float top = (float)((1 << f->bits) - 1);
    double best = INFINITY;

    for (int i = 0; i < STARTS; i++) {
        const float share = 1.02f - (1.02f - 1.0f / step_of(f, STEPS - 1)) * (float)i / (STARTS - 1);
        float s = (max - min) * share / top, z = 0.5f * top - 0.5f * (max + min) / s;

        for (int turn = 0; turn <= TURNS; turn++) {
            const struct fit t = fit_of(x, weight, n, s, z, top);
            const double det = t.w * t.uu - t.u * t.u, slope = det > 0 ? (t.w * t.xu - t.u * t.x) / det : 0;

            if (t.error < best) {
                best = t.error;
                *scale = s;
                *zero = z;
            }
            if (!(slope > 0) || !(t.w > 0)) break;
            s = (float)slope;
            z = (float)((t.u - t.x / slope) / t.w);
        }
    }
}

/* The best codes near a scale (and a zero) that were found without them. */
static void find_codes(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float found, float found_zero, uint16_t row_scale, uint16_t *scale, uint8_t *zero)
{
    const float row = xc_f16_to_f32(row_scale), code = nearest(found / row), top = (float)((1 << f->bits) - 1), part = xc_lowbit_zero(f, 1);
    const float low = f->affine ? 1.0f : (float)-XC_GROUPED_CODE_MAX, high = f->affine ? 2 * XC_GROUPED_CODE_MAX + 1 : XC_GROUPED_CODE_MAX;
    const int reach = f->search ? 2 : 0;
    double best = INFINITY;

    for (int i = -reach; i <= reach; i++) {
        const float c = clamped(clamped(code, low, high) + (float)i, low, high);
        const uint16_t half = xc_grouped_scale_of(row_scale, (int)c);
        const float s = xc_f16_to_f32(half);

        if (s == 0.0f) continue;
        if (!f->affine) {
            const struct levels l = levels_of(f, *zero);
            const float inverse = 1.0f / s;
            double error = 0;

            for (int64_t k = 0; k < n; k++) {
                const float d = x[k] - s * nearest(clamped(x[k] * inverse, l.lo, l.hi));

                error += (double)((weight ? weight[k] : 1.0f) * d * d);
            }
            if (error < best) best = error, *scale = half;
            continue;
        }
        const float z = nearest(found_zero * found / s / part);

        for (int j = f->search ? -1 : 0; j <= (f->search ? 1 : 0); j++) {
            const float at = clamped(z + (float)j, 0.0f, 2 * XC_GROUPED_CODE_MAX + 1);
            const double error = fit_of(x, weight, n, s, at * part, top).error;

            if (error < best) best = error, *scale = half, *zero = (uint8_t)at;
        }
    }
}

/* The largest code is for the group of the largest magnitude or range: the search seldom wants a larger scale than that. */
bool xc_lowbit_row_scale(const struct xc_lowbit *f, const float *x, int64_t n, int64_t group, uint16_t *row_scale)
{
    const float steps = f->affine ? (float)((1 << f->bits) - 1) : f->ternary ? 1.0f : (float)(1 << (f->bits - 1));
    float most = 0;

    *row_scale = 0;
    for (int64_t k = 0; k < n && f->two_level; k += group) {
        float min, max;

        if (!range_of(x + k, xc_min_i64(group, n - k), &min, &max)) return true; /* xc_lowbit_scale says so */
        most = fmaxf(most, (f->affine ? max - min : fmaxf(-min, max)) / steps);
    }
    if (most > 65504) return false;
    *row_scale = xc_f32_to_f16(most / (f->affine ? 2 * XC_GROUPED_CODE_MAX + 1 : XC_GROUPED_CODE_MAX));
    return true;
}

bool xc_lowbit_scale(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, uint16_t row_scale, uint16_t *scale, uint8_t *zero)
{
    float extreme, min, max, fine = 0;
    double s = 0;

    *scale = 0;
    *zero = (uint8_t)(f->affine && f->two_level ? XC_GROUPED_CODE_MAX + 1 : 1 << (f->bits - 1));
    if (!range_of(x, n, &min, &max)) return false;
    extreme = -min > max ? min : max;
    if (fabsf(extreme) < 1e-30f) return true;
    if (f->affine && f->two_level) {
        float free_scale = (max - min) / (float)((1 << f->bits) - 1);

        fine = -min / free_scale;
        if (f->search) fit_both(f, x, weight, n, min, max, &free_scale, &fine);
        s = (double)free_scale;
    } else if (f->affine) {
        s = affine(f, x, weight, n, min, max, zero);
    } else {
        s = symmetric(f, x, weight, n, extreme, *zero);
    }
    if (fabs(s) > 65504) return false;
    if (!f->two_level) *scale = xc_f32_to_f16((float)s);
    else if (row_scale) find_codes(f, x, weight, n, (float)s, fine, row_scale, scale, zero);
    return true;
}

float xc_lowbit_zero(const struct xc_lowbit *f, uint8_t zero) { return f->affine && f->two_level ? (float)zero / (float)(1 << (XC_GROUPED_CODE_BITS - f->bits)) : (float)zero; }

void xc_lowbit_round(const struct xc_lowbit *f, uint8_t *u, const float *x, int64_t n, uint16_t scale, uint8_t zero)
{
    const struct levels l = levels_of(f, zero);
    const float s = xc_f16_to_f32(scale), inverse = s != 0.0f ? 1.0f / s : 0.0f;

    if (f->affine && f->two_level) {
        const float z = xc_lowbit_zero(f, zero);

        for (int64_t i = 0; i < n; i++) u[i] = (uint8_t)nearest(clamped(x[i] * inverse + z, 0.0f, (float)((1 << f->bits) - 1)));
        return;
    }
    for (int64_t i = 0; i < n; i++) u[i] = (uint8_t)((int)nearest(clamped(x[i] * inverse, l.lo, l.hi)) + zero);
}
