/* attn_runs_s8 around the three integer functions of attn_s8 (lanes/attn_s8.h says what they are): groups of S8_GROUP rows, block by block,
 * only the panels of sixteen keys that the group can see. RUNS_ROWS rows go over the keys together, so that a block is fetched once for all of
 * their groups. Included after them. */
#ifndef XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_S8_H
#define XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_S8_H

#include "runtime/kernels/lanes/attn_runs.h"
#include "runtime/kernels/scalar/skip.h"

enum { RUNS_ROWS = 4 * S8_GROUP };
_Static_assert(S8_GROUP == XC_SKIP_ROWS_S8, "rows that skip together are computed together");

struct runs_rows {
    float max[RUNS_ROWS], sum[RUNS_ROWS], lost[RUNS_ROWS], low[RUNS_ROWS]; /* the last two for skipping */
    int32_t init[RUNS_ROWS];
    int64_t rows;
};

struct runs_memory {
    int32_t *s, *o; /* (S8_GROUP, XC_KEY_BLOCK) (S8_GROUP, D16) */
    float *acc;     /* (RUNS_ROWS, D16) */
    uint8_t *p;     /* (S8_GROUP, XC_KEY_BLOCK) */
    int8_t *xp;     /* (RUNS_ROWS, 2 * D4) */
};

/* Integer scores s (count) of one row, keys j0 on, become f32 in place, in units of log2; returns their maximum. */
LANES_INLINE float runs_scale(int32_t *s, const struct xc_attn_runs_s8 *a, const struct xc_key_run_s8 *run, int64_t i, int64_t j0, int64_t count)
{
    const v16f q_scale = v_set1(a->q_scale[i] * a->a.scale * XC_LOG2E);
    float *f = (float *)(void *)s;
    v16f top = v_set1(-1e30f);

    for (int64_t j = 0; j < count; j += 16) {
        v16f t = v_mul(v_mul(v_from_i(i_load(s + j)), q_scale), v_load(run->k_scale + j0 + j));

        t = runs_seen(t, &a->a, &run->see, i, j0 + j, count - j, XC_LOG2E);
        top = v_max(t, top);
        v_store(f + j, t);
    }
    return v_hmax(top);
}

/* One block: keys j0 to j0 + keys - 1 of a run, j0 a multiple of 16 and all in one block of XC_KEY_BLOCK, for rows r0 on of the tile at i0. */
static void runs_block_s8(const struct xc_attn_runs_s8 *a, const struct xc_key_run_s8 *run, struct runs_rows *at, const struct runs_memory *m, int64_t i0, int64_t r0,
                          int64_t rows, int64_t j0, int64_t keys)
{
    const struct xc_attn_skip *skip = a->a.skip;
    const int64_t D4 = xc_round_up(a->a.D, 4), D16 = xc_round_up(a->a.D, 16), block = j0 / XC_KEY_BLOCK, quads = xc_div_up(keys, 4);
    const float *v_scale = run->v_scale + block * D16;
    float *max = at->max + r0, *sum = at->sum + r0, block_max[S8_GROUP], keep[S8_GROUP], add[S8_GROUP];
    int32_t p_sum[S8_GROUP];

    if (skip && skip->bound &&
        xc_skip_block(skip, at->lost + r0, at->low + r0, max, skip->bound + (i0 + r0) * skip->ld_bound + (run - a->run), skip->ld_bound, 1.0f, (float)(run->see.n * XC_P_MAX), rows)) {
        xc_skip_count(skip, 1);
        return;
    }
    s8_scores(m->s, m->xp + r0 * 2 * D4, at->init + r0, run->k + j0 * D4, D4, xc_div_up(keys, 16), rows);
    for (int64_t r = 0; r < rows; r++) block_max[r] = runs_scale(m->s + r * XC_KEY_BLOCK, a, run, i0 + r0 + r, j0, keys);
    if (skip) {
        const bool little = xc_skip_block(skip, at->lost + r0, at->low + r0, max, block_max, 1, 1.0f, (float)(run->see.n * XC_P_MAX), rows);

        xc_skip_count(skip, little ? 2 : 0);
        if (little) return;
    }
    for (int64_t r = 0; r < rows; r++) p_sum[r] = s8_probabilities(m->p + r * XC_KEY_BLOCK, m->s + r * XC_KEY_BLOCK, block_max[r], keys, quads * 4);
    for (int64_t r = 0; r < rows; r++) {
        const float new_max = xc_max_f32(block_max[r], max[r]);

        keep[r] = xc_exp2_f32(max[r] - new_max);
        add[r] = xc_exp2_f32(block_max[r] - new_max);
        sum[r] = fmaf(sum[r], keep[r], (float)p_sum[r] * add[r]);
        max[r] = new_max;
        if (skip) at->lost[r0 + r] *= keep[r], at->low[r0 + r] = at->low[r0 + r] * keep[r] + xc_skip_low_s8(p_sum[r], run->see.n) * add[r];
    }
    s8_values(m->o, D16, m->p, p_sum, run->v + block * D16 * XC_KEY_BLOCK + j0 % XC_KEY_BLOCK * 16, quads, rows);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t d = 0; d < D16; d += 16) {
            const v16f vs = v_mul(v_load(v_scale + d), v_set1(add[r])), dot = v_from_i(i_load(m->o + r * D16 + d));
            float *y = m->acc + (r0 + r) * D16 + d;

            v_store(y, v_fma(v_load(y), v_set1(keep[r]), v_mul(dot, vs)));
        }
}

/* A run for the tile at i0: its blocks one after the other, each for the groups that can see of it. */
static void runs_run_s8(const struct xc_attn_runs_s8 *a, const struct xc_key_run_s8 *run, struct runs_rows *at, const struct runs_memory *m, int64_t i0)
{
    int64_t first[RUNS_ROWS / S8_GROUP], end[RUNS_ROWS / S8_GROUP], low = run->see.n, high = 0;

    for (int64_t g = 0; g * S8_GROUP < at->rows; g++) {
        runs_in_sight(&a->a, &run->see, i0 + g * S8_GROUP, xc_min_i64(S8_GROUP, at->rows - g * S8_GROUP), &first[g], &end[g]);
        if (first[g] >= end[g]) continue;
        low = xc_min_i64(low, first[g]);
        high = xc_max_i64(high, end[g]);
    }
    for (int64_t b0 = low / XC_KEY_BLOCK * XC_KEY_BLOCK; b0 < high; b0 += XC_KEY_BLOCK)
        for (int64_t g = 0; g * S8_GROUP < at->rows; g++) {
            const int64_t j0 = xc_max_i64(first[g], b0), j1 = xc_min_i64(end[g], b0 + XC_KEY_BLOCK);

            if (j0 < j1) runs_block_s8(a, run, at, m, i0, g * S8_GROUP, xc_min_i64(S8_GROUP, at->rows - g * S8_GROUP), j0, j1 - j0);
        }
}

static void lanes_attn_runs_s8(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1)
{
    const int64_t D = a->a.D, D4 = xc_round_up(D, 4), D16 = xc_round_up(D, 16);
    struct runs_memory m = { .s = a->a.scratch };

    m.o = m.s + S8_GROUP * XC_KEY_BLOCK;
    m.acc = (float *)(void *)(m.o + S8_GROUP * D16);
    m.p = (uint8_t *)(m.acc + RUNS_ROWS * D16);
    m.xp = (int8_t *)m.p + S8_GROUP * XC_KEY_BLOCK;
    for (int64_t i0 = row0; i0 < row1; i0 += RUNS_ROWS) {
        struct runs_rows at = { .rows = xc_min_i64(RUNS_ROWS, row1 - i0) };

        for (int64_t r = 0; r < at.rows; r++) at.max[r] = -1e30f, at.sum[r] = at.lost[r] = at.low[r] = 0.0f;
        memset(m.acc, 0, (size_t)(at.rows * D16) * sizeof *m.acc);
        s8_prepare(m.xp, at.init, a->q + i0 * a->ldq, a->ldq, at.rows, D4);
        for (int64_t k = 0; k < a->a.n_runs; k++) runs_run_s8(a, &a->run[k], &at, &m, i0);
        for (int64_t r = 0; r < at.rows; r++) {
            const float inv = at.sum[r] > 0.0f ? 1.0f / at.sum[r] : 0.0f;

            for (int64_t d = 0; d < D; d += 16) {
                const v16f y = v_mul(v_load(m.acc + r * D16 + d), v_set1(inv));

                if (D - d >= 16) v_store(a->a.out + (i0 + r) * a->a.ld_out + d, y);
                else v_store_n(a->a.out + (i0 + r) * a->a.ld_out + d, y, D - d);
            }
            if (a->a.stat) a->a.stat[2 * (i0 + r)] = at.max[r], a->a.stat[2 * (i0 + r) + 1] = at.sum[r];
            if (a->a.skip) xc_skip_report(a->a.skip, i0 + r, at.lost[r], at.low[r]);
        }
    }
}

#endif
