/* int8: see int8.h. */
#include "compress/quantize/int8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Few groups of 16 are bound by a rule at all (about one in a hundred): kernels look which may be, so many groups at a time. */
enum { SCREENED = 64 };

/* Some of the numbers of a row that a rule binds together: places in the group, and how many there are. */
struct bound {
    int at[8], n;
};

static int magnitude_sum(const int8_t *q, const struct bound *b)
{
    int sum = 0;

    for (int i = 0; i < b->n; i++) sum += abs(q[b->at[i]]);
    return sum;
}

static int square_sum(const int8_t *q, const struct bound *b)
{
    int sum = 0;

    for (int i = 0; i < b->n; i++) sum += q[b->at[i]] * q[b->at[i]];
    return sum;
}

/* Lowers magnitudes one by one until the sum fits. A step on number i costs (|x|-(|q|-1))^2 - (|x|-|q|)^2 = 2(|x|-|q|) + 1, which only
 * grows as |q| falls, and brings 1, or 2|q| - 1 for squares: the cheapest step for what it brings each time; for plain sums that
 * gives the least total error. Ties: the first. */
static void lower(int8_t *q, const float *mag, const struct bound *b, int sum, int limit, bool squares)
{
    while (sum > limit) {
        int best = -1;
        float price = 0;

        for (int i = 0; i < b->n; i++) {
            const int m = abs(q[b->at[i]]);
            const float cost = (2 * (mag[b->at[i]] - (float)m) + 1) / (float)(squares ? 2 * m - 1 : 1);

            if (m > 0 && (best < 0 || cost < price)) best = b->at[i], price = cost;
        }
        sum -= squares ? 2 * abs(q[best]) - 1 : 1;
        q[best] = (int8_t)(q[best] < 0 ? q[best] + 1 : q[best] - 1);
    }
}

/* The three rules of w_sum16 (kernels.h) on 16 numbers; each only lowers magnitudes, so what one has mended the next leaves mended.
 * Returns how often one had to. */
static int64_t clamp_group(int8_t q[16], const float mag[16])
{
    int64_t changed = 0;

    for (int k = 0; k < 16; k += 2) {
        const struct bound pair = { { k, k + 1 }, 2 };

        if (abs(q[k] + q[k + 1]) <= XC_PAIR_MAX) continue; /* of different signs they cancel */
        lower(q, mag, &pair, magnitude_sum(q, &pair), XC_PAIR_MAX, false);
        changed++;
    }
    for (int k = 0; k < 16; k += k % 8 ? 6 : 2) { /* 0 2 8 10 */
        const struct bound quad = { { k, k + 1, k + 4, k + 5 }, 4 };
        const int sum = magnitude_sum(q, &quad);

        if (sum <= XC_SUM16_MAX) continue;
        lower(q, mag, &quad, sum, XC_SUM16_MAX, false);
        changed++;
    }
    for (int lane = 0; lane < 4; lane++) { /* half of the inputs, one sign */
        struct bound b = { { 0 }, 0 };

        for (int i = 0; i < 8; i++) {
            const int k = lane / 2 * 2 + i / 2 * 4 + i % 2;

            if (lane % 2 ? q[k] < 0 : q[k] > 0) b.at[b.n++] = k;
        }
        const int sum = square_sum(q, &b);

        if (sum <= XC_LANE_SQUARES) continue;
        lower(q, mag, &b, sum, XC_LANE_SQUARES, true);
        changed++;
    }
    return changed;
}

int64_t xc_int8_clamp(int8_t *q, const float *x, float factor, int64_t C, int64_t n_x, const struct xc_kernels *kern)
{
    uint8_t flag[SCREENED];
    int64_t changed = 0;

    for (int64_t k = 0; k < C; k += 16) {
        const int64_t n = xc_min_i64(16, C - k), g = k / 16 % SCREENED;

        if (!g) kern->screen_s8(flag, q + k, xc_min_i64(SCREENED, (C - k) / 16));
        if (n == 16 && !flag[g]) continue;
        int8_t group[16] = { 0 };
        float mag[16];

        memcpy(group, q + k, (size_t)n);
        for (int64_t i = 0; i < 16; i++) mag[i] = k + i < n_x ? fabsf(x[k + i] * factor) : 0.0f;
        changed += clamp_group(group, mag);
        memcpy(q + k, group, (size_t)n);
    }
    return changed;
}

/* absmax as the kernel takes it; the index of a number that is not finite, or -1. Magnitudes are ordered as their bits are. */
static int64_t row_facts(const float *x, int64_t C, float *max)
{
    int32_t m = 0;

    for (int64_t i = 0; i < C; i++) {
        int32_t bits;

        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        m = bits > m ? bits : m;
    }
    memcpy(max, &m, sizeof m);
    for (int64_t i = 0; m >= 0x7f800000 && i < C; i++)
        if (!isfinite(x[i])) return i;
    return -1;
}

/* Squares of such rows are normal numbers. */
static bool is_tame(float max) { return max > 1e-15f && max < 1e15f; }

/* What the rules bound, in units of x: limit * s holds t, and shortening t to that costs share * (t - limit * s)^2 at least. */
enum { PAIRS, QUADS, LANES, N_RULES };
static const struct { double limit, share; } rules[N_RULES] = { { XC_PAIR_MAX, 0.5 }, { XC_SUM16_MAX, 0.25 }, { 128, 1 } };
_Static_assert(XC_LANE_SQUARES == 128 * 128, "the lanes' limit");

/* A list for each rule of the t that exceed limit * least. */
struct excess {
    float *t[N_RULES];
    int64_t n[N_RULES];
    double above[N_RULES]; /* limit * least */
};

static void add_excess(struct excess *e, int rule, float t)
{
    if ((double)t > e->above[rule]) e->t[rule][e->n[rule]++] = t;
}

/* The pairs, quads and lanes of 16 numbers, or of the n last ones of a row. */
static void group_excess(struct excess *e, const float *from, int64_t n)
{
    float x[16] = { 0 };

    memcpy(x, from, (size_t)n * sizeof *x);
    for (int k = 0; k < 16; k += 2) add_excess(e, PAIRS, fabsf(x[k] + x[k + 1]));
    for (int k = 0; k < 16; k += k % 8 ? 6 : 2) add_excess(e, QUADS, fabsf(x[k]) + fabsf(x[k + 1]) + fabsf(x[k + 4]) + fabsf(x[k + 5]));
    for (int half = 0; half < 4; half += 2) {
        float up = 0, down = 0;

        for (int i = 0; i < 8; i++) {
            const float v = x[half + i / 2 * 4 + i % 2], above = v > 0 ? v : 0.0f, below = v < 0 ? v : 0.0f;

            up += above * above, down += below * below;
        }
        add_excess(e, LANES, sqrtf(up));
        add_excess(e, LANES, sqrtf(down));
    }
}

static void find_excess(struct excess *e, const float *x, int64_t C, float max, const struct xc_kernels *kern)
{
    const float least = max / 127.0f, slack = 0.9999f, side = 128.0f * least * slack; /* float sums differ in their last bits by order */
    uint8_t flag[SCREENED];

    for (int64_t k = 0; k < C; k += 16) {
        const int64_t n = xc_min_i64(16, C - k), g = k / 16 % SCREENED;

        if (!g && is_tame(max)) kern->screen_f32(flag, x + k, xc_min_i64(SCREENED, (C - k) / 16), XC_PAIR_MAX * least * slack, XC_SUM16_MAX * least * slack, side * side);
        if (n < 16 || !is_tame(max) || flag[g]) group_excess(e, x + k, n);
    }
}

/* The scale of least error under the rules. A row of which much would be clamped would rather have a larger step: with step s rounding
 * costs s^2/12 a number, and what is in excess of a rule the shares above. The sum is convex and piecewise quadratic in s, so Newton's
 * steps on the set in excess end after a few. Never below absmax / 127, so only what exceeds a rule there can matter. The sums of t are exact: floats
 * within a factor of four of each other, in double. */
static float bound_scale(float *t, const float *x, int64_t C, float max, const struct xc_kernels *kern)
{
    const double least = (double)max / 127.0;
    struct excess e = { { t, t + xc_div_up(C, 2), t + xc_div_up(C, 2) + 2 * xc_div_up(C, 8) }, { 0 }, { 0 } };
    double s = least;

    for (int rule = 0; rule < N_RULES; rule++) e.above[rule] = rules[rule].limit * least;
    find_excess(&e, x, C, max, kern);
    for (int i = 0; i < 16; i++) {
        double above = 0, below = (double)C / 12.0, next;

        for (int rule = 0; rule < N_RULES; rule++) {
            const double limit = rules[rule].limit;
            double sum = 0, n = 0;

            for (int64_t k = 0; k < e.n[rule]; k++) {
                const bool excess = (double)e.t[rule][k] > limit * s;

                sum += excess ? (double)e.t[rule][k] : 0.0;
                n += excess ? 1.0 : 0.0;
            }
            above += rules[rule].share * limit * sum;
            below += rules[rule].share * limit * limit * n;
        }
        next = above / below; /* where the derivative is zero while the set stays */
        if (next < least) next = least;
        if (fabs(next - s) <= 1e-4 * s) break;
        s = next;
    }
    return (float)s;
}

static void add_sums(struct xc_int8_sums *s, const int8_t *q, const float *x, float scale, int64_t C, float max, const struct xc_kernels *kern)
{
    float sum[3];

    if (is_tame(max) && C < 1 << 24) {
        kern->error_s8(sum, x, q, scale, C);
        s->error2 += (double)sum[0];
        s->norm2 += (double)sum[1];
        s->zeros += (int64_t)sum[2];
        return;
    }
    for (int64_t i = 0; i < C; i++) {
        const double d = (double)x[i] - (double)scale * (double)q[i];

        s->error2 += d * d;
        s->norm2 += (double)x[i] * (double)x[i];
        s->zeros += q[i] == 0;
    }
}

bool xc_int8_rows(int8_t *q, int64_t ldq, float *scale, struct xc_int8_sums *sums, const float *x, int64_t R, int64_t C, bool sum16, float *bounds, const struct xc_kernels *kern, int64_t *bad)
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
        if (sum16) step = bound_scale(bounds, x, C, max, kern);
        kern->quantize_rows_s8(q, ldq, &scale[r], &sum, x, C, NULL, 1, C, step * 127.0f > max ? step : 0.0f);
        memset(q + C, 0, (size_t)(C8 - C));
        if (sum16 && scale[r] > 0.0f) sums->clamped += xc_int8_clamp(q, x, 1.0f / scale[r], C8, C, kern);
        add_sums(sums, q, x, scale[r], C, max, kern);
    }
    return true;
}
