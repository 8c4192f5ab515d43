/* attn_runs: one head over keys in several runs, seen by position (kernels.h): windows, global keys, buckets, chosen blocks. Block by block
 * with a running maximum, in the order of the runs; blocks as in attention.c. Rows go in groups, because a block is left out for a whole
 * group (skip.h). */
#include "runtime/base/base.h"
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"
#include "runtime/kernels/scalar/skip.h"

#define FLOOR (-1e30f)

/* The score s of key j, at distance pos[j] - q_pos of the query; unit is what own_score is multiplied by. */
static float seen(float s, const struct xc_attn_runs *a, const struct xc_key_run *see, int64_t i, int64_t j, float unit)
{
    float distance;

    if (!see->pos) return s;
    distance = see->pos[j] - a->q_pos[i];
    if (distance < see->low || see->high < distance) s = -INFINITY;
    if (a->own && fabsf(distance) < 0.5f) s = a->own_score * unit;
    return s;
}

static int32_t dot4(const int8_t *x, const int8_t *w, int64_t n)
{
    int32_t dot = 0;

    for (int64_t k = 0; k < n; k += 4, w += 64)
        for (int64_t i = 0; i < 4; i++) dot += x[k + i] * w[i];
    return dot;
}

/* p (count) = rint(127 * 2^(s - max s)) of one block; scores are in units of log2. Returns the block's maximum. */
static float block_probabilities(int8_t *p, const struct xc_attn_runs_s8 *a, const struct xc_key_run_s8 *run, int64_t i, int64_t j0, int64_t count)
{
    const int64_t D4 = xc_round_up(a->a.D, 4);
    const float q_scale = a->q_scale[i] * a->a.scale * XC_LOG2E;
    float s[XC_KEY_BLOCK], max = FLOOR;

    for (int64_t j = 0; j < count; j++) {
        const int64_t at = j0 + j;

        s[j] = (float)dot4(a->q + i * a->ldq, run->k + at / 16 * 16 * D4 + at % 16 * 4, D4) * q_scale * run->k_scale[at];
        s[j] = seen(s[j], &a->a, &run->see, i, at, XC_LOG2E);
        max = xc_max_f32(s[j], max);
    }
    for (int64_t j = 0; j < count; j++) p[j] = (int8_t)xc_p7(s[j] - max);
    return max;
}

struct rows_s8 { /* of XC_SKIP_ROWS_S8 queries from i0 on */
    int64_t i0, n;
    float max[XC_SKIP_ROWS_S8], sum[XC_SKIP_ROWS_S8], lost[XC_SKIP_ROWS_S8], low[XC_SKIP_ROWS_S8];
    float *acc; /* (n, D) */
};

/* Run r, or one block of it, for those rows. */
static void block_s8(const struct xc_attn_runs_s8 *a, struct rows_s8 *at, int64_t r, int64_t j0)
{
    const struct xc_attn_skip *skip = a->a.skip;
    const struct xc_key_run_s8 *run = &a->run[r];
    const int64_t D = a->a.D, D16 = xc_round_up(D, 16), block = j0 / XC_KEY_BLOCK, count = xc_min_i64(XC_KEY_BLOCK, run->see.n - j0);
    const int8_t *v = run->v + block * D16 * XC_KEY_BLOCK; /* [D/16][keys/4][16][4] */
    const float whole = (float)(run->see.n * XC_P_MAX);
    int8_t p[XC_SKIP_ROWS_S8][XC_KEY_BLOCK] = { 0 };
    float top[XC_SKIP_ROWS_S8];

    if (skip && skip->bound &&
        xc_skip_block(skip, at->lost, at->low, at->max, skip->bound + at->i0 * skip->ld_bound + r, skip->ld_bound, 1.0f, whole, at->n)) {
        xc_skip_count(skip, 1);
        return;
    }
    for (int64_t i = 0; i < at->n; i++) top[i] = block_probabilities(p[i], a, run, at->i0 + i, j0, count);
    if (skip) {
        const bool little = xc_skip_block(skip, at->lost, at->low, at->max, top, 1, 1.0f, whole, at->n);

        xc_skip_count(skip, little ? 2 : 0);
        if (little) return;
    }
    for (int64_t i = 0; i < at->n; i++) {
        const float new_max = xc_max_f32(top[i], at->max[i]);
        const float keep = xc_exp2_f32(at->max[i] - new_max), add = xc_exp2_f32(top[i] - new_max);
        float *acc = at->acc + i * D;
        int32_t p_sum = 0;

        for (int64_t j = 0; j < count; j++) p_sum += p[i][j];
        at->sum[i] = fmaf(at->sum[i], keep, (float)p_sum * add);
        for (int64_t d = 0; d < D; d++) {
            const int32_t dot = dot4(p[i], v + d / 16 * 16 * XC_KEY_BLOCK + d % 16 * 4, xc_round_up(count, 4)); /* beyond count both are zero */

            acc[d] = fmaf(acc[d], keep, (float)dot * (run->v_scale[block * D16 + d] * add));
        }
        at->max[i] = new_max;
        if (skip) at->lost[i] *= keep, at->low[i] = at->low[i] * keep + xc_skip_low_s8(p_sum, run->see.n) * add;
    }
}

void xc_attn_runs_s8__scalar(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1)
{
    const int64_t D = a->a.D;

    for (int64_t i0 = row0; i0 < row1; i0 += XC_SKIP_ROWS_S8) {
        struct rows_s8 at = { .i0 = i0, .n = xc_min_i64(XC_SKIP_ROWS_S8, row1 - i0), .acc = a->a.scratch };

        for (int64_t i = 0; i < at.n; i++) at.max[i] = FLOOR;
        for (int64_t d = 0; d < at.n * D; d++) at.acc[d] = 0.0f;
        for (int64_t r = 0; r < a->a.n_runs; r++)
            for (int64_t j0 = 0; j0 < a->run[r].see.n; j0 += XC_KEY_BLOCK) block_s8(a, &at, r, j0);
        for (int64_t i = 0; i < at.n; i++) {
            const float inv = at.sum[i] > 0.0f ? 1.0f / at.sum[i] : 0.0f;

            for (int64_t d = 0; d < D; d++) a->a.out[(i0 + i) * a->a.ld_out + d] = at.acc[i * D + d] * inv;
            if (a->a.stat) a->a.stat[2 * (i0 + i)] = at.max[i], a->a.stat[2 * (i0 + i) + 1] = at.sum[i];
            if (a->a.skip) xc_skip_report(a->a.skip, i0 + i, at.lost[i], at.low[i]);
        }
    }
}

struct rows_f32 { /* of XC_SKIP_ROWS_F32 queries from i0 on */
    int64_t i0, n;
    float max[XC_SKIP_ROWS_F32], sum[XC_SKIP_ROWS_F32], lost[XC_SKIP_ROWS_F32];
    float *acc, *p; /* (n, D) (n, XC_KEY_BLOCK) */
};

static void block_f32(const struct xc_attn_runs_f32 *a, struct rows_f32 *at, int64_t r, int64_t j0)
{
    const struct xc_attn_skip *skip = a->a.skip;
    const struct xc_key_run_f32 *run = &a->run[r];
    const int64_t D = a->a.D, count = xc_min_i64(XC_KEY_BLOCK, run->see.n - j0);
    const float whole = (float)run->see.n;
    float top[XC_SKIP_ROWS_F32];

    if (skip && skip->bound &&
        xc_skip_block(skip, at->lost, at->sum, at->max, skip->bound + at->i0 * skip->ld_bound + r, skip->ld_bound, XC_LOG2E, whole, at->n)) {
        xc_skip_count(skip, 1);
        return;
    }
    for (int64_t i = 0; i < at->n; i++) {
        const float *q = a->q + (at->i0 + i) * a->ldq;

        top[i] = FLOOR;
        for (int64_t j = 0; j < count; j++) {
            const float *k = run->k + (j0 + j) * run->ldk;
            float dot = 0.0f;

            for (int64_t d = 0; d < D; d++) dot = fmaf(q[d], k[d], dot);
            at->p[i * XC_KEY_BLOCK + j] = seen(dot * a->a.scale, &a->a, &run->see, at->i0 + i, j0 + j, 1.0f);
            top[i] = xc_max_f32(at->p[i * XC_KEY_BLOCK + j], top[i]);
        }
    }
    if (skip) {
        const bool little = xc_skip_block(skip, at->lost, at->sum, at->max, top, 1, XC_LOG2E, whole, at->n);

        xc_skip_count(skip, little ? 2 : 0);
        if (little) return;
    }
    for (int64_t i = 0; i < at->n; i++) {
        const float new_max = xc_max_f32(top[i], at->max[i]), keep = xc_exp_f32(at->max[i] - new_max);
        float *p = at->p + i * XC_KEY_BLOCK;

        for (int64_t j = 0; j < count; j++) p[j] = xc_exp_f32(p[j] - new_max);
        at->sum[i] = fmaf(at->sum[i], keep, xc_sum16(p, count));
        for (int64_t d = 0; d < D; d++) {
            float o = at->acc[i * D + d] * keep;

            for (int64_t j = 0; j < count; j++) o = fmaf(p[j], run->v[(j0 + j) * run->ldv + d], o);
            at->acc[i * D + d] = o;
        }
        at->max[i] = new_max;
        if (skip) at->lost[i] *= keep;
    }
}

void xc_attn_runs_f32__scalar(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1)
{
    const int64_t D = a->a.D;
    float *acc = a->a.scratch;

    for (int64_t i0 = row0; i0 < row1; i0 += XC_SKIP_ROWS_F32) {
        struct rows_f32 at = { .i0 = i0, .n = xc_min_i64(XC_SKIP_ROWS_F32, row1 - i0), .acc = acc, .p = acc + XC_SKIP_ROWS_F32 * D };

        for (int64_t i = 0; i < at.n; i++) at.max[i] = FLOOR;
        for (int64_t d = 0; d < at.n * D; d++) at.acc[d] = 0.0f;
        for (int64_t r = 0; r < a->a.n_runs; r++)
            for (int64_t j0 = 0; j0 < a->run[r].see.n; j0 += XC_KEY_BLOCK) block_f32(a, &at, r, j0);
        for (int64_t i = 0; i < at.n; i++) {
            const float inv = at.sum[i] > 0.0f ? 1.0f / at.sum[i] : 0.0f;

            for (int64_t d = 0; d < D; d++) a->a.out[(i0 + i) * a->a.ld_out + d] = at.acc[i * D + d] * inv;
            if (a->a.stat) a->a.stat[2 * (i0 + i)] = at.max[i], a->a.stat[2 * (i0 + i) + 1] = at.sum[i];
            if (a->a.skip) xc_skip_report(a->a.skip, i0 + i, at.lost[i], at.sum[i]);
        }
    }
}

void xc_argmax_signs__scalar(int32_t *at, const float *x, int64_t ldx, int64_t R, int64_t n)
{
    for (int64_t r = 0; r < R; r++, x += ldx) {
        float best = x[0];

        at[r] = 0;
        for (int64_t i = 1; i < n; i++)
            if (x[i] > best) best = x[i], at[r] = (int32_t)i;
        for (int64_t i = 0; i < n; i++)
            if (-x[i] > best) best = -x[i], at[r] = (int32_t)(n + i);
    }
}

static __attribute__((noinline)) float power(float x, bool log2) { return log2 ? xc_exp2_f32(x) : xc_exp_f32(x); }

void xc_join_rows__scalar(const struct xc_join *j, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float *y = j->y + j->row[i] * j->ldy, *all = j->all + 2 * j->row[i];
        const float *o = j->o + i * j->D, max = j->stat[2 * i], sum = j->stat[2 * i + 1];

        if (j->first) {
            memcpy(y, o, (size_t)j->D * sizeof *y);
            all[0] = max, all[1] = sum;
            continue;
        }
        const float top = xc_max_f32(max, all[0]);
        const float a = all[1] * power(all[0] - top, j->log2), b = sum * power(max - top, j->log2);
        const float inv = a + b > 0.0f ? 1.0f / (a + b) : 0.0f;

        for (int64_t d = 0; d < j->D; d++) y[d] = y[d] * (a * inv) + o[d] * (b * inv);
        all[0] = top, all[1] = a + b;
    }
}
