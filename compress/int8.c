/* int8: see int8.h. */
#include "compress/int8.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Lowers magnitudes of a quad one by one until their sum fits. A step on number i costs (|x|-(|q|-1))^2 - (|x|-|q|)^2 = 2(|x|-|q|) + 1,
 * which only grows as |q| falls, so taking the cheapest step each time gives the least total error. Ties: the first. */
static void lower_quad(int8_t *q[4], const float mag[4], int sum)
{
    int m[4];

    for (int i = 0; i < 4; i++) m[i] = abs(*q[i]);
    for (; sum > XC_SUM16_MAX; sum--) {
        int best = -1;

        for (int i = 0; i < 4; i++)
            if (m[i] > 0 && (best < 0 || mag[i] - (float)m[i] < mag[best] - (float)m[best])) best = i;
        m[best]--;
    }
    for (int i = 0; i < 4; i++) *q[i] = (int8_t)(*q[i] < 0 ? -m[i] : m[i]);
}

int64_t xc_int8_clamp_pairs(int8_t *q, const float *x, float factor, int64_t C, int64_t n_x)
{
    int64_t changed = 0;

    for (int64_t k = 0; k < C; k += 8) {
        const int8_t *g = q + k;
        const int even = abs(g[0]) + abs(g[1]) + abs(g[4]) + abs(g[5]), odd = abs(g[2]) + abs(g[3]) + abs(g[6]) + abs(g[7]);

        if (even <= XC_SUM16_MAX && odd <= XC_SUM16_MAX) continue;
        for (int half = 0; half < 4; half += 2) {
            const int64_t at[4] = { k + half, k + half + 1, k + half + 4, k + half + 5 };
            int8_t *quad[4] = { q + at[0], q + at[1], q + at[2], q + at[3] };
            float mag[4];

            if ((half ? odd : even) <= XC_SUM16_MAX) continue;
            for (int i = 0; i < 4; i++) mag[i] = at[i] < n_x ? fabsf(x[at[i]] * factor) : 0.0f;
            lower_quad(quad, mag, half ? odd : even);
            changed++;
        }
    }
    return changed;
}

/* absmax as the kernel takes it; the index of a number that is not finite, or -1. */
static int64_t row_facts(const float *x, int64_t C, float *max)
{
    float m = 0.0f;
    int bad = 0;

    for (int64_t i = 0; i < C; i++) {
        const float a = fabsf(x[i]);

        bad |= !(a <= FLT_MAX);
        m = a > m ? a : m;
    }
    *max = m;
    for (int64_t i = 0; bad && i < C; i++)
        if (!isfinite(x[i])) return i;
    return -1;
}

/* |x| summed over each quad of the pair-sum rule. */
static void quad_sums(float *t, const float *x, int64_t C)
{
    int64_t k = 0;

    for (; k + 8 <= C; k += 8) {
        t[k / 4] = (fabsf(x[k]) + fabsf(x[k + 1])) + (fabsf(x[k + 4]) + fabsf(x[k + 5]));
        t[k / 4 + 1] = (fabsf(x[k + 2]) + fabsf(x[k + 3])) + (fabsf(x[k + 6]) + fabsf(x[k + 7]));
    }
    if (k == C) return;
    t[k / 4] = t[k / 4 + 1] = 0.0f;
    for (int64_t i = k; i < C; i++) t[k / 4 + (i % 4) / 2] += fabsf(x[i]);
}

/* The scale of least error under the pair-sum rule. A row whose quads are clamped would rather have a larger step: with step s rounding
 * costs s^2/12 a number, and a quad of sum t > 254 s costs (t - 254 s)^2 / 4, its excess shared by four. The sum is convex and
 * piecewise quadratic in s, so Newton's steps on the set of quads in excess end after a few. Never below absmax / 127. */
static float pair_scale(const float *t, int64_t C, float max)
{
    const double a = (double)C / 12.0, limit = XC_SUM16_MAX, least = (double)max / 127.0;
    double s = least;

    for (int i = 0; i < 16; i++) {
        double sum = 0, n = 0, next;

        for (int64_t q = 0; q < xc_round_up(C, 8) / 4; q++) {
            const bool excess = (double)t[q] > limit * s;

            sum += excess ? (double)t[q] : 0.0;
            n += excess ? 1.0 : 0.0;
        }
        next = limit / 2 * sum / (2 * a + limit * limit / 2 * n); /* where the derivative is zero while the set stays */
        if (next < least) next = least;
        if (fabs(next - s) <= 1e-4 * s) break;
        s = next;
    }
    return (float)s;
}

/* Four running sums each, added in a fixed order: the same bits with any compiler. */
static void add_sums(struct xc_int8_sums *s, const int8_t *q, const float *x, float scale, int64_t C)
{
    double e[4] = { 0 }, n[4] = { 0 };
    int64_t zeros = 0;

    for (int64_t i = 0; i < C; i++) {
        const double d = (double)x[i] - (double)scale * (double)q[i];

        e[i & 3] += d * d;
        n[i & 3] += (double)x[i] * (double)x[i];
        zeros += q[i] == 0;
    }
    s->error2 += (e[0] + e[1]) + (e[2] + e[3]);
    s->norm2 += (n[0] + n[1]) + (n[2] + n[3]);
    s->zeros += zeros;
}

bool xc_int8_rows(int8_t *q, int64_t ldq, float *scale, struct xc_int8_sums *sums, const float *x, int64_t R, int64_t C, bool sum16, float *quads, const struct xc_kernels *kern, int64_t *bad)
{
    const int64_t C8 = xc_round_up(C, 8);

    *bad = -1;
    for (int64_t r = 0; r < R; r++, x += C, q += ldq) {
        int32_t sum;
        float max, step = 0.0f;
        const int64_t at = row_facts(x, C, &max);

        if (at >= 0) {
            *bad = r * C + at;
            return false;
        }
        if (sum16) {
            quad_sums(quads, x, C);
            step = pair_scale(quads, C, max);
        }
        kern->quantize_rows_s8(q, ldq, &scale[r], &sum, x, C, 1, C, step * 127.0f > max ? step : 0.0f);
        memset(q + C, 0, (size_t)(C8 - C));
        if (sum16 && scale[r] > 0.0f) sums->clamped += xc_int8_clamp_pairs(q, x, 1.0f / scale[r], C8, C);
        add_sums(sums, q, x, scale[r], C);
    }
    return true;
}
