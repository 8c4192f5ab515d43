/* lowbit: see lowbit.h. The search tries a row of steps; for each, rounding gives q and least squares gives the best scale for that q,
 * sum w x q / sum w q^2, which lowers the error by (sum w x q)^2 / sum w q^2: the step with the largest gain wins. The same idea as
 * ggml's make_qx_quants, written anew. With fine zeros scale and offset are fitted together, by weighted linear regression on q, in turn with rounding;
 * then the codes next to what came out are tried. */
#include "compress/quantize/lowbit.h"

#include <math.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/graph/grouped.h"
#include "runtime/kernels/kernels.h"

enum { STEPS = 16 }; /* as many as the kernel step_sums takes at once */
#define TURNS 2 /* of the regression after the rounding */

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

/* Steps from 0.85 (of many levels: 0.96) of the largest magnitude's to where the extremes are clamped, the further the fewer the levels. */
static void steps_of(float step[STEPS], const struct xc_lowbit *f)
{
    static const float most_of[] = { 0, 0, 2.0f, 1.5f, 1.35f, 1.2f, 1.12f, 1.06f, 1.03f };
    const float most = f->ternary ? 3.0f : most_of[f->bits], least = f->bits > 6 ? 0.96f : 0.85f;

    for (int i = 0; i < STEPS; i++) step[i] = least + (most - least) * (float)i / (STEPS - 1);
}

/* Of the scales that are best for x rounded in steps of 1 / inverse: the one that lowers the error most, beyond *gain. */
static void best_step(double *scale, double *gain, const float *x, const float *weight, int64_t n, const float inverse[STEPS], struct levels l)
{
    float xq[STEPS], qq[STEPS];
    double by[STEPS];
    int best = -1;

    xc_kernels()->step_sums(xq, qq, x, weight, n, inverse, l.lo, l.hi);
    for (int i = 0; i < STEPS; i++) by[i] = (double)xq[i] * (double)xq[i] / (double)qq[i]; /* not a number where qq is 0 */
    for (int i = 0; i < STEPS; i++) {
        const double gained = qq[i] > 0 ? by[i] : 0;

        if (gained <= *gain) continue;
        *gain = gained;
        best = i;
    }
    if (best >= 0) *scale = qq[best] > 0 ? (double)xq[best] / (double)qq[best] : 0;
}

static double symmetric(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float extreme, int zero)
{
    const struct levels l = levels_of(f, zero);
    double gain = -1, scale = (double)extreme / (double)l.lo; /* the extreme itself takes the longer side */
    float inverse[STEPS], step[STEPS];

    if (!f->search) return scale;
    steps_of(step, f);
    for (int side = 0; side < (f->bits < 4 ? 2 : 1); side++) { /* few levels: either sign, since one side is longer */
        for (int i = 0; i < STEPS; i++) inverse[i] = step[i] * (side ? -l.lo : l.lo) / extreme;
        best_step(&scale, &gain, x, weight, n, inverse, l);
    }
    return scale;
}

static double affine(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float min, float max, uint8_t *zero)
{
    const float top = (float)((1 << f->bits) - 1), width = max - min;
    double gain = -1, scale = (double)(width / top);
    float inverse[STEPS], step[STEPS];

    *zero = (uint8_t)clamped(nearest(clamped(-min / width, 0.0f, 1.0f) * top), 0.0f, top);
    if (!f->search) return scale;
    steps_of(step, f);
    for (int i = 0; i < STEPS; i++) inverse[i] = 1.0f / (width * (1.05f / step[i]) / top); /* 1.05: wider than the range, too */
    best_step(&scale, &gain, x, weight, n, inverse, levels_of(f, *zero));
    return scale;
}

/* Four numbers, in the order of operations that is written: a compiler by itself may not reorder what floats do. */
typedef float v4f __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));

static v4f pick(v4i which, v4f a, v4f b) { return (v4f)(((v4i)a & which) | ((v4i)b & ~which)); }

/* The least and the greatest number; false when one is not finite: 0 times it is not 0. */
static bool range_of(const float *x, int64_t n, float *min, float *max)
{
    v4f lo[2] = { { 0 } }, hi[2] = { { 0 } }, none[2] = { { 0 } };
    float least[8], most[8], rest = 0;
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 2; k++) {
            v4f v;

            memcpy(&v, x + i + 4 * k, sizeof v);
            lo[k] = pick(v < lo[k], v, lo[k]);
            hi[k] = pick(v > hi[k], v, hi[k]);
            none[k] += 0.0f * v;
        }
    memcpy(least, lo, sizeof least);
    memcpy(most, hi, sizeof most);
    *min = *max = 0;
    for (int k = 0; k < 8; k++) {
        *min = least[k] < *min ? least[k] : *min;
        *max = most[k] > *max ? most[k] : *max;
    }
    for (; i < n; i++) {
        *min = x[i] < *min ? x[i] : *min;
        *max = x[i] > *max ? x[i] : *max;
        rest += 0.0f * x[i];
    }
    none[0] += none[1];
    return none[0][0] + none[0][1] + none[0][2] + none[0][3] + rest == 0.0f;
}

/* ---- two levels ---- */
enum { FITS = 16 }; /* scales with their zeros: as many as the kernel fit_sums takes at once */

struct fits {
    float v[3][FITS]; /* 1 / scale, scale, zero */
    float sum[4][FITS]; /* of w u, w u u, w u x, w (x - scale (u - zero))^2 */
};

static void set_fit(struct fits *f, int i, float scale, float zero)
{
    f->v[0][i] = 1.0f / scale;
    f->v[1][i] = scale;
    f->v[2][i] = zero;
}

static void sum_fits(struct fits *f, const float *x, const float *weight, int64_t n, float top) { xc_kernels()->fit_sums(f->sum[0], x, weight, n, f->v[0], top); }

/* Each to the scale and zero of least squared error for what it rounds to now, where there is one. W, X: sums of w and w x. */
static void follow(struct fits *f, float W, float X)
{
    for (int i = 0; i < FITS; i++) {
        const float U = f->sum[0][i], slope = (W * f->sum[2][i] - U * X) / (W * f->sum[1][i] - U * U), zero = (U - X / slope) / W;
        const bool good = slope > 1e-36f && slope < 1e36f && zero > -1e6f && zero < 1e6f;
        const float scale = good ? slope : f->v[1][i];

        f->v[0][i] = 1.0f / scale;
        f->v[1][i] = scale;
        f->v[2][i] = good ? zero : f->v[2][i];
    }
}

/* The least error of a scale and an offset, both free: from sixteen ranges. */
static void fit_both(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float min, float max, float *scale, float *zero)
{
    const float top = (float)((1 << f->bits) - 1);
    float best = INFINITY, W = 0, X = 0, step[STEPS];
    struct fits fits;

    for (int64_t k = 0; k < n; k++) {
        const float w = weight ? weight[k] : 1.0f;

        W += w;
        X += w * x[k];
    }
    steps_of(step, f);
    for (int i = 0; i < FITS; i++) {
        const float share = 1.02f - (1.02f - 1.0f / step[STEPS - 1]) * (float)i / (FITS - 1), s = (max - min) * share / top;

        set_fit(&fits, i, s, 0.5f * top - 0.5f * (max + min) / s);
    }
    for (int turn = 0; turn <= TURNS; turn++) {
        if (turn) follow(&fits, W, X);
        sum_fits(&fits, x, weight, n, top);
        for (int i = 0; i < FITS; i++) {
            if (!(fits.sum[3][i] < best)) continue;
            best = fits.sum[3][i];
            *scale = fits.v[1][i];
            *zero = fits.v[2][i];
        }
    }
}

/* The best codes near a scale (and a zero) that were found without them. */
static void find_codes(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, float found, float found_zero, uint16_t row_scale, uint16_t *scale, uint8_t *zero)
{
    const float row = xc_f16_to_f32(row_scale), code = nearest(found / row), part = xc_lowbit_zero(f, 1), usual = f->ternary ? 1.0f : (float)*zero;
    const float low = f->affine ? 1.0f : (float)-XC_GROUPED_CODE_MAX, high = f->affine ? 2 * XC_GROUPED_CODE_MAX + 1 : XC_GROUPED_CODE_MAX;
    const int reach = f->search ? 2 : 0, zeros = f->search && f->affine ? 1 : 0;
    uint16_t half[FITS];
    uint8_t at[FITS];
    struct fits fits;
    float best = INFINITY;
    int count = 0;

    for (int i = -reach; i <= reach; i++) {
        const float c = clamped(clamped(code, low, high) + (float)i, low, high);
        const uint16_t h = xc_grouped_scale_of(row_scale, (int)c);
        const float s = xc_f16_to_f32(h), z = f->affine ? nearest(found_zero * found / s / part) : 0;

        for (int j = -zeros; j <= zeros && s != 0.0f; j++) {
            half[count] = h;
            at[count] = f->affine ? (uint8_t)clamped(z + (float)j, 0.0f, 2 * XC_GROUPED_CODE_MAX + 1) : *zero;
            set_fit(&fits, count, s, f->affine ? (float)at[count] * part : usual);
            count++;
        }
    }
    if (!count) return;
    for (int i = count; i < FITS; i++) set_fit(&fits, i, fits.v[1][0], fits.v[2][0]);
    sum_fits(&fits, x, weight, n, f->ternary ? 2.0f : (float)((1 << f->bits) - 1));
    for (int i = 0; i < count; i++)
        if (fits.sum[3][i] < best) best = fits.sum[3][i], *scale = half[i], *zero = at[i];
}

/* The largest code is for the group of the largest magnitude or range: the search seldom wants a larger scale than that. But where a zero's code is a step of
 * two or four levels, the range must be a little wider to hold both ends. */
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
    *row_scale = xc_f32_to_f16(most / (float)(f->affine ? 2 * XC_GROUPED_CODE_MAX + (f->bits <= XC_GROUPED_CODE_BITS) : XC_GROUPED_CODE_MAX));
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

float xc_lowbit_zero(const struct xc_lowbit *f, uint8_t zero) { return f->affine && f->two_level ? (float)zero * xc_grouped_zero_part(f->bits) : (float)zero; }

void xc_lowbit_round(const struct xc_lowbit *f, uint8_t *restrict u, const float *restrict x, int64_t n, uint16_t scale, uint8_t zero)
{
    const struct levels l = levels_of(f, zero);
    const float s = xc_f16_to_f32(scale), inverse = s != 0.0f ? 1.0f / s : 0.0f;

    if (f->affine && f->two_level) {
        const float z = xc_lowbit_zero(f, zero);

        for (int64_t i = 0; i < n; i++) u[i] = (uint8_t)nearest(clamped(x[i] * inverse + z, 0.0f, (float)((1 << f->bits) - 1)));
        return;
    }
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        int32_t q[16];

        for (int k = 0; k < 16; k++) {
            const float v = x[i + k] * inverse, up = v < l.lo ? l.lo : v, in = up > l.hi ? l.hi : up;

            q[k] = (int32_t)nearest(in) + zero;
        }
        for (int k = 0; k < 16; k++) u[i + k] = (uint8_t)q[k];
    }
    for (; i < n; i++) u[i] = (uint8_t)((int)nearest(clamped(x[i] * inverse, l.lo, l.hi)) + zero);
}
