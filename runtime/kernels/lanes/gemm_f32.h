/* gemm_f32: the f32 tile (named accumulators: gcc spills arrays) and the f32 GEMM and attention built on it.
 * Included after <isa>/lanes.h with F32_ROWS (at most 8) and F32_COLS (at most 3, in units of 16 outputs) defined, and F32_TILE, the
 * most accumulators (rows x units) at once: few rows take more columns, so that enough chains are under way.
 * Attention as scalar/attention.c says: Dao 2022, arXiv:2205.14135. */
#ifndef XC_RUNTIME_KERNELS_LANES_GEMM_F32_H
#define XC_RUNTIME_KERNELS_LANES_GEMM_F32_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/epilogue.h"
#include "runtime/kernels/levels.h"

#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

/* c (mr, nv) += x (mr, K) w (K, nv * 16), in ascending k. x's rows are `row` apart, its columns `step`; w's column group v starts at w + v * w_group, its rows are w_step apart;
 * with n < 16 only the first n columns of (the only) group are read. c's rows are ld_c apart. from_zero ignores what c held. */
LANES_INLINE void f32_tile(float *c, int64_t ld_c, const float *x, int64_t row, int64_t step, const float *w, int64_t w_group, int64_t w_step, int64_t K,
                           int mr, int nv, int64_t n, bool from_zero)
{
#define DECLARE(i) v16f a##i = v_zero(), b##i = v_zero(), c##i = v_zero();
#define LOAD(i)                                                             \
    if (mr > i && !from_zero) {                                             \
        a##i = v_load(c + i * ld_c);                                        \
        if (nv > 1) b##i = v_load(c + i * ld_c + 16);                       \
        if (nv > 2) c##i = v_load(c + i * ld_c + 32);                       \
    }
#define STEP(i)                                                             \
    if (mr > i) {                                                           \
        const v16f s = v_set1(x[i * row]);                                    \
        a##i = v_fma(s, wa, a##i);                                          \
        if (nv > 1) b##i = v_fma(s, wb, b##i);                              \
        if (nv > 2) c##i = v_fma(s, wc, c##i);                              \
    }
#define STORE(i)                                                            \
    if (mr > i) {                                                           \
        v_store(c + i * ld_c, a##i);                                        \
        if (nv > 1) v_store(c + i * ld_c + 16, b##i);                       \
        if (nv > 2) v_store(c + i * ld_c + 32, c##i);                       \
    }
    EACH_ROW(DECLARE)
    EACH_ROW(LOAD)
    for (const float *const end = w + K * w_step; w != end; w += w_step, x += step) { /* no counter: addresses take all registers */
        const v16f wa = n < 16 ? v_load_n(w, n) : v_load(w);
        const v16f wb = nv > 1 ? v_load(w + w_group) : v_zero(), wc = nv > 2 ? v_load(w + 2 * w_group) : v_zero();

        EACH_ROW(STEP)
        (void)wb, (void)wc;
    }
    EACH_ROW(STORE)
#undef DECLARE
#undef LOAD
#undef STEP
#undef STORE
}

/* The tile with any number of rows up to F32_ROWS. */
LANES_INLINE void f32_tile_rows(float *c, int64_t ld_c, const float *x, int64_t row, int64_t step, const float *w, int64_t w_group, int64_t w_step,
                                int64_t K, int64_t mr, int nv, int64_t n, bool from_zero)
{
#define CASE(i) case i + 1: if (i < F32_ROWS && (i + 1) * nv <= F32_TILE) f32_tile(c, ld_c, x, row, step, w, w_group, w_step, K, i + 1, nv, n, from_zero); break;
    switch (mr) { EACH_ROW(CASE) default: break; }
#undef CASE
}

/* One instance for each shape of the weight; rows are a switch inside. */
static __attribute__((noinline)) void f32_panels(float *c, const float *x, int64_t row, int64_t step, const float *w, int64_t w_group, int64_t K, int64_t mr, int nv)
{
    if (nv == 1) f32_tile_rows(c, F32_COLS * 16, x, row, step, w, w_group, 16, K, mr, 1, 16, true);
    if (nv == 2 && F32_COLS > 1) f32_tile_rows(c, F32_COLS * 16, x, row, step, w, w_group, 16, K, mr, 2, 16, true);
    if (nv == 3 && F32_COLS > 2) f32_tile_rows(c, F32_COLS * 16, x, row, step, w, w_group, 16, K, mr, 3, 16, true);
}

static void lanes_gemm_f32(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t cols = row1 - row0 <= F32_TILE / F32_COLS ? F32_COLS : F32_TILE / F32_ROWS, row = g->x_step ? 1 : g->ldx, step = g->x_step ? g->x_step : 1;

    for (int64_t c0 = col0; c0 < col1; c0 += cols * 16) {
        const int nv = (int)xc_min_i64(cols, xc_div_up(col1 - c0, 16));

        for (int64_t r0 = row0, mr; r0 < row1; r0 += mr) {
            const float *x = g->x_step ? g->x + r0 / 16 * g->ldx + r0 % 16 : g->x + r0 * row;
            float tile[F32_ROWS * F32_COLS * 16];

            mr = xc_min_i64(F32_ROWS, row1 - r0);
            if (g->x_step) mr = xc_min_i64(mr, 16 - r0 % 16);
            for (int64_t i = 0; i < mr; i++) /* they are wanted when the tile is done */
                for (int64_t v = 0; v < nv; v++) __builtin_prefetch(g->ep.out + (r0 + i) * g->ep.ld_out + c0 + v * 16, 1);
            f32_panels(tile, x, row, step, g->w + c0 * g->K, 16 * g->K, g->K, mr, nv);
            for (int64_t i = 0; i < mr; i++) {
                for (int64_t v = 0; v < nv; v++)
                    ep_store_f32(&g->ep, v_load(tile + (i * F32_COLS + v) * 16), r0 + i, c0 + v * 16, xc_min_i64(16, col1 - c0 - v * 16));
                ep_finish(&g->ep, r0 + i, c0, xc_min_i64(nv * 16, col1 - c0));
            }
        }
    }
}

/* Sixteen keys (n of them real) to [D][16]; the others become zero. */
static void transpose_keys(float *kt, const float *k, int64_t ldk, int64_t n, int64_t D)
{
    int64_t d = 0;

#ifdef LANES_TRANSPOSE8
    if (n == 16)
        for (; d + 8 <= D; d += 8) {
            transpose8(kt + d * 16, k + d, ldk);
            transpose8(kt + d * 16 + 8, k + 8 * ldk + d, ldk);
        }
#endif
    for (; d < D; d++)
        for (int64_t j = 0; j < 16; j++) kt[d * 16 + j] = j < n ? k[j * ldk + d] : 0.0f;
}

static __attribute__((noinline)) void f32_scores(float *s, const float *q, int64_t ldq, const float *kt, int64_t D, int64_t mr)
{
    f32_tile_rows(s, XC_KEY_BLOCK, q, ldq, 1, kt, 0, 16, D, mr, 1, 16, true);
}

static __attribute__((noinline)) void f32_values(float *o, int64_t ld_o, const float *p, const float *v, int64_t ldv, int64_t keys, int64_t mr,
                                                 int64_t n)
{
    if (n >= 16)
        f32_tile_rows(o, ld_o, p, XC_KEY_BLOCK, 1, v, 0, ldv, keys, mr, 1, 16, false);
    else
        f32_tile_rows(o, ld_o, p, XC_KEY_BLOCK, 1, v, 0, ldv, keys, mr, 1, n, false);
}

/* Scores s (128) of one query to probabilities, with the running maximum and sum; returns the factor of what was summed before. */
LANES_INLINE float f32_probabilities(float *s, const struct xc_attn_f32 *a, int64_t i, int64_t j0, int64_t count, float *max, float *sum)
{
    const float *bias = a->bias ? a->bias + i * a->ld_bias + j0 : NULL;
    v16f top = v_set1(*max), total = v_zero();

    for (int64_t j = 0; j < count; j += 16) {
        const int64_t n = xc_min_i64(16, count - j);
        v16f v = v_mul(v_load(s + j), v_set1(a->scale));

        if (bias) v = v_add(v, n == 16 ? v_load(bias + j) : v_load_n(bias + j, n));
        if (n < 16) v = v_first(v, v_set1(-INFINITY), n);
        top = v_max(v, top);
        v_store(s + j, v);
    }

    const float new_max = v_hmax(top), keep = xc_exp_f32(*max - new_max);

    for (int64_t j = 0; j < count; j += 16) {
        const v16f p = v_exp(v_sub(v_load(s + j), v_set1(new_max)));

        total = v_add(total, p);
        v_store(s + j, p);
    }
    *sum = fmaf(*sum, keep, v_sum(total));
    *max = new_max;
    return keep;
}

static void lanes_attn_f32(const struct xc_attn_f32 *a, int64_t row0, int64_t row1)
{
    const int64_t D = a->D, D16 = xc_round_up(D, 16);
    float *s = a->scratch, *o = s + XC_ATTN_ROWS * XC_KEY_BLOCK, *kt = o + XC_ATTN_ROWS * D16;
    float max[XC_ATTN_ROWS], sum[XC_ATTN_ROWS];

    for (int64_t i0 = row0; i0 < row1; i0 += XC_ATTN_ROWS) {
        const int64_t rows = xc_min_i64(XC_ATTN_ROWS, row1 - i0);
        int64_t seen[XC_ATTN_ROWS], most = 0;

        for (int64_t r = 0; r < rows; r++) {
            seen[r] = a->causal ? xc_max_i64(0, xc_min_i64(a->n_k, i0 + r + a->n_k - a->n_q + 1)) : a->n_k;
            most = xc_max_i64(most, seen[r]);
            max[r] = -1e30f;
            sum[r] = 0.0f;
        }
        memset(o, 0, (size_t)(rows * D16) * sizeof *o);
        for (int64_t j0 = 0; j0 < most; j0 += XC_KEY_BLOCK) {
            const int64_t keys = xc_min_i64(XC_KEY_BLOCK, most - j0);

            for (int64_t j = 0; j < keys; j += 16) {
                transpose_keys(kt, a->k + (j0 + j) * a->ldk, a->ldk, xc_min_i64(16, keys - j), D);
                for (int64_t r = 0; r < rows; r += F32_ROWS)
                    f32_scores(s + r * XC_KEY_BLOCK + j, a->q + (i0 + r) * a->ldq, a->ldq, kt, D, xc_min_i64(F32_ROWS, rows - r));
            }
            for (int64_t r = 0; r < rows; r++) {
                const int64_t count = xc_min_i64(XC_KEY_BLOCK, seen[r] - j0);
                float *row = s + r * XC_KEY_BLOCK;

                if (count <= 0) {
                    memset(row, 0, (size_t)keys * sizeof *row);
                    continue;
                }
                const float keep = f32_probabilities(row, a, i0 + r, j0, count, &max[r], &sum[r]);

                for (int64_t j = count; j < keys; j++) row[j] = 0.0f;
                for (int64_t d = 0; d < D16; d += 16) v_store(o + r * D16 + d, v_mul(v_load(o + r * D16 + d), v_set1(keep)));
            }
            for (int64_t d = 0; d < D; d += 16)
                for (int64_t r = 0; r < rows; r += F32_ROWS)
                    f32_values(o + r * D16 + d, D16, s + r * XC_KEY_BLOCK, a->v + j0 * a->ldv + d, a->ldv, keys, xc_min_i64(F32_ROWS, rows - r), D - d);
        }
        for (int64_t r = 0; r < rows; r++) {
            const float inv = sum[r] > 0.0f ? 1.0f / sum[r] : 0.0f;

            for (int64_t d = 0; d < D; d += 16) {
                const v16f y = v_mul(v_load(o + r * D16 + d), v_set1(inv));

                if (D - d >= 16)
                    v_store(a->out + (i0 + r) * a->ld_out + d, y);
                else
                    v_store_n(a->out + (i0 + r) * a->ld_out + d, y, D - d);
            }
        }
    }
}

#endif
