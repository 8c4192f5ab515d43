/* attn_runs_s8 around what attn_s8 is made of (lanes/attn_s8.h): block by block, only the panels of sixteen keys that a group can see. Included after it. */
#ifndef XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_S8_H
#define XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_S8_H

#include "runtime/kernels/lanes/attn_runs.h"
#include "runtime/kernels/scalar/skip.h"

_Static_assert(S8_GROUP == XC_SKIP_ROWS_S8, "rows that skip together are computed together");

struct runs_rows {
    struct s8_rows at;
    float lost[S8_TOGETHER], low[S8_TOGETHER]; /* for skipping */
    struct s8_block two[2], *before;           /* the last is not added yet */
};

/* Which sixteens of keys j0 on are seen by all of a group's rows, i0 on: a bit each. */
LANES_INLINE unsigned runs_whole(const struct xc_attn_runs *a, const struct xc_key_run *see, int64_t i0, int64_t rows, int64_t j0, int64_t keys)
{
    unsigned whole = 0;

    if (see->pos && (a->own || !(see->step > 0.0f))) return 0;
    for (int64_t j = 0; j + 16 <= keys; j += 16) {
        if (see->pos) { /* q_pos ascends */
            const v16f pos = v_load(see->pos + j0 + j);

            if (v_any_gt(v_set1(see->low), v_sub(pos, v_set1(a->q_pos[i0 + rows - 1]))) || v_any_gt(v_sub(pos, v_set1(a->q_pos[i0])), v_set1(see->high))) continue;
        }
        whole |= 1u << j / 16;
    }
    return whole;
}

/* The greatest scores of one row, keys j0 on, by lane. */
LANES_INLINE v16f runs_top(int32_t *s, const struct xc_attn_runs_s8 *a, const struct xc_key_run_s8 *run, float q_scale, int64_t i, int64_t j0, int64_t count, unsigned whole)
{
    v16f top = v_set1(XC_SCORE_FLOOR);

    for (int64_t j = 0; j < count; j += 16) {
        const bool all = whole >> j / 16 & 1;
        v16f t = s8_scaled(s, q_scale, run->k_scale + j0, j);

        if (!all) t = runs_seen(t, &a->a, &run->see, i, j0 + j, count - j, XC_LOG2E);
        top = v_max(t, top);
        s8_keep(s, t, j, !all);
    }
    return top;
}

/* One block: keys j0 to j0 + keys - 1 of a run, j0 a multiple of 16 and all in one block of XC_KEY_BLOCK, for rows r0 on of the tile at i0. */
static void runs_block_s8(const struct xc_attn_runs_s8 *a, const struct xc_key_run_s8 *run, struct runs_rows *rr, const struct s8_memory *m, int64_t i0, int64_t r0,
                          int64_t rows, int64_t j0, int64_t keys)
{
    const struct xc_attn_skip *skip = a->a.skip;
    const int64_t block = j0 / XC_KEY_BLOCK;
    const unsigned whole = runs_whole(&a->a, &run->see, i0 + r0, rows, j0, keys);
    struct s8_rows *at = &rr->at;
    struct s8_block *b = rr->before == &rr->two[0] ? &rr->two[1] : &rr->two[0];
    if (skip && skip->bound &&
        xc_skip_block(skip, rr->lost + r0, rr->low + r0, at->max + r0, skip->bound + (i0 + r0) * skip->ld_bound + (run - a->run), skip->ld_bound, 1.0f,
                      (float)(run->see.n * XC_P_MAX), rows)) {
        xc_skip_count(skip, 1);
        return;
    }
    b->r0 = r0;
    b->rows = rows;
    b->keys = keys;
    b->k = run->k + j0 * m->D4;
    b->k_scale = run->k_scale + j0;
    b->v = run->v + block * m->D16 * XC_KEY_BLOCK + j0 % XC_KEY_BLOCK * 16;
    b->v_scale = run->v_scale + block * m->D16;
    s8_next(m, at, rr->before, b);
    for (int64_t r = 0; r < rows; r++) {
        b->count[r] = keys;
        if (!b->topped || whole != (1u << keys / 16) - 1) b->top[r] = runs_top(b->s + r * XC_KEY_BLOCK, a, run, at->q_scale[r0 + r], i0 + r0 + r, j0, keys, whole);
    }
    s8_maxima(b->max, b->top, rows);
    if (!skip) {
        rr->before = b;
        return;
    }
    const bool little = xc_skip_block(skip, rr->lost + r0, rr->low + r0, at->max + r0, b->max, 1, 1.0f, (float)(run->see.n * XC_P_MAX), rows);

    xc_skip_count(skip, little ? 2 : 0);
    if (little) return;
    s8_next(m, at, b, NULL); /* what is left out next depends on it */
    for (int64_t r = 0; r < rows; r++) {
        rr->lost[r0 + r] *= b->keep[r];
        rr->low[r0 + r] = rr->low[r0 + r] * b->keep[r] + xc_skip_low_s8(b->p_sum[r], run->see.n) * b->add[r];
    }
}

/* A run for the tile at i0: its blocks one after the other, each for the groups that can see of it. */
static void runs_run_s8(const struct xc_attn_runs_s8 *a, const struct xc_key_run_s8 *run, struct runs_rows *at, const struct s8_memory *m, int64_t i0)
{
    int64_t first[S8_TOGETHER / S8_GROUP], end[S8_TOGETHER / S8_GROUP], low = run->see.n, high = 0;
    const int64_t rows = at->at.rows;

    for (int64_t g = 0; g * S8_GROUP < rows; g++) {
        runs_in_sight(&a->a, &run->see, i0 + g * S8_GROUP, xc_min_i64(S8_GROUP, rows - g * S8_GROUP), &first[g], &end[g]);
        if (first[g] >= end[g]) continue;
        low = xc_min_i64(low, first[g]);
        high = xc_max_i64(high, end[g]);
    }
    for (int64_t b0 = low / XC_KEY_BLOCK * XC_KEY_BLOCK; b0 < high; b0 += XC_KEY_BLOCK)
        for (int64_t g = 0; g * S8_GROUP < rows; g++) {
            const int64_t j0 = xc_max_i64(first[g], b0), j1 = xc_min_i64(end[g], b0 + XC_KEY_BLOCK);

            if (j0 < j1) runs_block_s8(a, run, at, m, i0, g * S8_GROUP, xc_min_i64(S8_GROUP, rows - g * S8_GROUP), j0, j1 - j0);
        }
}

static void lanes_attn_runs_s8(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1)
{
    const struct s8_memory m = s8_memory_of(a->a.scratch, a->a.D);

    for (int64_t i0 = row0; i0 < row1; i0 += S8_TOGETHER) {
        struct runs_rows at = { .two = { { .s = m.s }, { .s = m.s + S8_GROUP * XC_KEY_BLOCK } } };

        s8_start(&at.at, &m, a->q + i0 * a->ldq, a->ldq, a->q_scale + i0, a->a.scale, xc_min_i64(S8_TOGETHER, row1 - i0));
        for (int64_t k = 0; k < a->a.n_runs; k++) runs_run_s8(a, &a->run[k], &at, &m, i0);
        if (at.before) s8_next(&m, &at.at, at.before, NULL);
        s8_finish(&m, &at.at, a->a.out + i0 * a->a.ld_out, a->a.ld_out, a->a.D);
        for (int64_t r = 0; r < at.at.rows; r++) {
            if (a->a.stat) a->a.stat[2 * (i0 + r)] = at.at.max[r], a->a.stat[2 * (i0 + r) + 1] = at.at.sum[r];
            if (a->a.skip) xc_skip_report(a->a.skip, i0 + r, at.lost[r], at.low[r]);
        }
    }
}

#endif
