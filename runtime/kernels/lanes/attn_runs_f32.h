/* attn_runs_f32 on the pieces of attn_f32 (lanes/gemm_f32.h). Included after it. */
#ifndef XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_F32_H
#define XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_F32_H

#include "runtime/kernels/lanes/attn_runs.h"
#include "runtime/kernels/scalar/skip.h"

_Static_assert(XC_ATTN_ROWS == XC_SKIP_ROWS_F32, "rows that skip together are computed together");

/* Products s (count, zeros to a multiple of 16 after) of one query to scores; returns the largest, at least `least`. */
LANES_INLINE float runs_f32_scores(float *s, const struct xc_attn_runs_f32 *a, const struct xc_key_run *see, int64_t i, int64_t j0, int64_t count, float least)
{
    v16f top = v_set1(least);

    for (int64_t j = 0; j < count; j += 16) {
        const v16f v = runs_seen(v_mul(v_load(s + j), v_set1(a->a.scale)), &a->a, see, i, j0 + j, count - j, 1.0f);

        top = v_max(v, top);
        v_store(s + j, v);
    }

    return v_hmax(top);
}

/* Those to probabilities; returns the factor of what was summed before. */
LANES_INLINE float runs_f32_probabilities(float *s, int64_t count, float new_max, float *max, float *sum)
{
    const float keep = xc_exp_f32(*max - new_max);
    v16f total = v_zero();

    for (int64_t j = 0; j < count; j += 16) {
        const v16f p = v_exp(v_sub(v_load(s + j), v_set1(new_max)));

        total = v_add(total, p);
        v_store(s + j, p);
    }
    *sum = fmaf(*sum, keep, v_sum(total));
    *max = new_max;
    return keep;
}

struct runs_f32_rows {
    float max[XC_ATTN_ROWS], sum[XC_ATTN_ROWS], lost[XC_ATTN_ROWS]; /* lost: for skipping */
};

/* One block: keys j0 to j0 + keys - 1 of a run, j0 a multiple of 16 and all in one block of XC_KEY_BLOCK. */
static void runs_block_f32(const struct xc_attn_runs_f32 *a, const struct xc_key_run_f32 *run, struct runs_f32_rows *at, int64_t i0, int64_t rows, int64_t j0, int64_t keys, float *s,
                           float *o, float *kt)
{
    const int64_t D = a->a.D, D16 = xc_round_up(D, 16);
    const struct xc_attn_skip *skip = a->a.skip;
    float top[XC_ATTN_ROWS];

    if (skip && skip->bound &&
        xc_skip_block(skip, at->lost, at->sum, at->max, skip->bound + i0 * skip->ld_bound + (run - a->run), skip->ld_bound, XC_LOG2E, (float)keys, rows)) {
        xc_skip_count(skip, 1);
        return;
    }

    for (int64_t j = 0; j < keys; j += 16) {
        transpose_keys(kt, run->k + (j0 + j) * run->ldk, run->ldk, xc_min_i64(16, keys - j), D);
        for (int64_t r = 0; r < rows; r += F32_ROWS)
            f32_scores(s + r * XC_KEY_BLOCK + j, a->q + (i0 + r) * a->ldq, a->ldq, kt, D, xc_min_i64(F32_ROWS, rows - r));
    }
    for (int64_t r = 0; r < rows; r++) top[r] = runs_f32_scores(s + r * XC_KEY_BLOCK, a, &run->see, i0 + r, j0, keys, skip ? -1e30f : at->max[r]);
    if (skip) {
        const bool little = xc_skip_block(skip, at->lost, at->sum, at->max, top, 1, XC_LOG2E, (float)keys, rows);

        xc_skip_count(skip, little ? 2 : 0);
        if (little) return;
    }
    for (int64_t r = 0; r < rows; r++) {
        const float keep = runs_f32_probabilities(s + r * XC_KEY_BLOCK, keys, xc_max_f32(top[r], at->max[r]), &at->max[r], &at->sum[r]);

        if (skip) at->lost[r] *= keep;
        for (int64_t d = 0; d < D16; d += 16) v_store(o + r * D16 + d, v_mul(v_load(o + r * D16 + d), v_set1(keep)));
    }
    for (int64_t d = 0; d < D; d += 16)
        for (int64_t r = 0; r < rows; r += F32_ROWS)
            f32_values(o + r * D16 + d, D16, s + r * XC_KEY_BLOCK, run->v + j0 * run->ldv + d, run->ldv, keys, xc_min_i64(F32_ROWS, rows - r), D - d);
}

static void lanes_attn_runs_f32(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1)
{
    const int64_t D = a->a.D, D16 = xc_round_up(D, 16);
    float *s = a->a.scratch, *o = s + XC_ATTN_ROWS * XC_KEY_BLOCK, *kt = o + XC_ATTN_ROWS * D16;
    struct runs_f32_rows at;

    for (int64_t i0 = row0; i0 < row1; i0 += XC_ATTN_ROWS) {
        const int64_t rows = xc_min_i64(XC_ATTN_ROWS, row1 - i0);

        for (int64_t r = 0; r < rows; r++) at.max[r] = -1e30f, at.sum[r] = at.lost[r] = 0.0f;
        memset(o, 0, (size_t)(rows * D16) * sizeof *o);
        for (int64_t k = 0; k < a->a.n_runs; k++) {
            int64_t j0, end;

            runs_in_sight(&a->a, &a->run[k].see, i0, rows, &j0, &end);
            while (j0 < end) {
                const int64_t next = xc_min_i64((j0 / XC_KEY_BLOCK + 1) * XC_KEY_BLOCK, end);

                runs_block_f32(a, &a->run[k], &at, i0, rows, j0, next - j0, s, o, kt);
                j0 = next;
            }
        }
        for (int64_t r = 0; r < rows; r++) {
            const float inv = at.sum[r] > 0.0f ? 1.0f / at.sum[r] : 0.0f;

            for (int64_t d = 0; d < D; d += 16) {
                const v16f y = v_mul(v_load(o + r * D16 + d), v_set1(inv));

                if (D - d >= 16) v_store(a->a.out + (i0 + r) * a->a.ld_out + d, y);
                else v_store_n(a->a.out + (i0 + r) * a->a.ld_out + d, y, D - d);
            }
            if (a->a.stat) a->a.stat[2 * (i0 + r)] = at.max[r], a->a.stat[2 * (i0 + r) + 1] = at.sum[r];
            if (a->a.skip) xc_skip_report(a->a.skip, i0 + r, at.lost[r], at.sum[r]);
        }
    }
}

#endif
