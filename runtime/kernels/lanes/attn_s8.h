/* attn_s8: int8 attention (scalar/attention.c is the meaning) around three integer functions that <isa>/ supplies before the include:
 *   s8_prepare(xp, init, q, ldq, rows, D4)             queries as this ISA's products want them, 2 * D4 bytes a row, and what to add
 *   s8_scores(s, xp, init, k, D4, panels, rows)        s (rows, 128) = q k^T for `panels` groups of 16 keys
 *   s8_values(o, D16, p, p_sum, v, quads, rows)        o (rows, D16) = p v over 4 * quads keys; p (rows, 128) in [0, 127]
 * Groups of S8_GROUP rows; K and V of a head are read from L1 or L2 once for each. */
#ifndef XC_RUNTIME_KERNELS_LANES_ATTN_S8_H
#define XC_RUNTIME_KERNELS_LANES_ATTN_S8_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/math.h"

/* One row of a block: integer scores s (count) become f32 in place, in units of log2; returns their maximum. Lanes beyond count in the
 * last sixteen become -inf. */
LANES_INLINE float s8_scale(int32_t *s, const struct xc_attn_s8 *a, int64_t i, int64_t j0, int64_t count)
{
    const v16f q_scale = v_set1(a->q_scale[i] * a->scale * XC_LOG2E);
    const float *bias = a->bias ? a->bias + i * a->ld_bias + j0 : NULL;
    float *f = (float *)(void *)s;
    v16f top = v_set1(-1e30f);

    for (int64_t j = 0; j < count; j += 16) {
        const int64_t n = xc_min_i64(16, count - j);
        v16f t = v_mul(v_mul(v_from_i(i_load(s + j)), q_scale), v_load(a->k_scale + j0 + j));

        if (bias) t = v_fma(n == 16 ? v_load(bias + j) : v_load_n(bias + j, n), v_set1(XC_LOG2E), t);
        if (n < 16) t = v_first(t, v_set1(-INFINITY), n);
        top = v_max(t, top);
        v_store(f + j, t);
    }
    return v_hmax(top);
}

/* Those scores to probabilities p (keys, zero beyond count); returns their sum. */
LANES_INLINE int32_t s8_probabilities(uint8_t *p, const int32_t *s, float max, int64_t count, int64_t keys)
{
    const float *f = (const float *)(const void *)s;
    const v16f max16 = v_set1(max);
    v16i sum = i_zero();
    int64_t j = 0;

    for (; j < count; j += 16) {
        const v16i e = v_p7(v_sub(v_load(f + j), max16));

        sum = i_add(sum, e);
        i_store_s8((int8_t *)p + j, e);
    }
    if (j < keys) memset(p + j, 0, (size_t)(keys - j));
    return i_sum(sum);
}

static void lanes_attn_s8(const struct xc_attn_s8 *a, int64_t row0, int64_t row1)
{
    const int64_t D4 = xc_round_up(a->D, 4), D16 = xc_round_up(a->D, 16);
    int32_t *s = a->scratch, *o = s + S8_GROUP * XC_KEY_BLOCK;
    float *acc = (float *)(void *)(o + S8_GROUP * D16);
    uint8_t *p = (uint8_t *)(acc + S8_GROUP * D16);
    int8_t *xp = (int8_t *)p + S8_GROUP * XC_KEY_BLOCK;

    for (int64_t i0 = row0; i0 < row1; i0 += S8_GROUP) {
        const int64_t rows = xc_min_i64(S8_GROUP, row1 - i0);
        int64_t seen[S8_GROUP], most = 0;
        float max[S8_GROUP], sum[S8_GROUP];
        int32_t init[S8_GROUP];

        for (int64_t r = 0; r < rows; r++) {
            seen[r] = a->causal ? xc_max_i64(0, xc_min_i64(a->n_k, i0 + r + a->n_k - a->n_q + 1)) : a->n_k;
            most = xc_max_i64(most, seen[r]);
            max[r] = -1e30f;
            sum[r] = 0.0f;
        }
        memset(acc, 0, (size_t)(rows * D16) * sizeof *acc);
        s8_prepare(xp, init, a->q + i0 * a->ldq, a->ldq, rows, D4);
        for (int64_t j0 = 0; j0 < most; j0 += XC_KEY_BLOCK) {
            const int64_t block = j0 / XC_KEY_BLOCK, keys = xc_min_i64(XC_KEY_BLOCK, most - j0), quads = xc_div_up(keys, 4);
            const float *v_scale = a->v_scale + block * D16;
            int32_t p_sum[S8_GROUP];
            float block_max[S8_GROUP], keep[S8_GROUP], add[S8_GROUP];

            s8_scores(s, xp, init, a->k + j0 * D4, D4, xc_div_up(keys, 16), rows);
            /* Row by row twice: the horizontal maximum of one row hides behind the work on the next. */
            for (int64_t r = 0; r < rows; r++)
                block_max[r] = s8_scale(s + r * XC_KEY_BLOCK, a, i0 + r, j0, xc_min_i64(XC_KEY_BLOCK, seen[r] - j0));
            for (int64_t r = 0; r < rows; r++)
                p_sum[r] = s8_probabilities(p + r * XC_KEY_BLOCK, s + r * XC_KEY_BLOCK, block_max[r], xc_min_i64(XC_KEY_BLOCK, seen[r] - j0), quads * 4);
            for (int64_t r = 0; r < rows; r++) {
                if (seen[r] <= j0) continue;
                const float new_max = xc_max_f32(block_max[r], max[r]);

                keep[r] = xc_exp2_f32(max[r] - new_max);
                add[r] = xc_exp2_f32(block_max[r] - new_max);
                sum[r] = fmaf(sum[r], keep[r], (float)p_sum[r] * add[r]);
                max[r] = new_max;
            }
            s8_values(o, D16, p, p_sum, a->v + block * D16 * XC_KEY_BLOCK, quads, rows);
            for (int64_t r = 0; r < rows; r++) {
                if (seen[r] <= j0) continue;
                for (int64_t d = 0; d < D16; d += 16) {
                    const v16f vs = v_mul(v_load(v_scale + d), v_set1(add[r])), dot = v_from_i(i_load(o + r * D16 + d));
                    float *y = acc + r * D16 + d;

                    v_store(y, v_fma(v_load(y), v_set1(keep[r]), v_mul(dot, vs)));
                }
            }
        }
        for (int64_t r = 0; r < rows; r++) {
            const float inv = sum[r] > 0.0f ? 1.0f / sum[r] : 0.0f;

            for (int64_t d = 0; d < a->D; d += 16) {
                const v16f y = v_mul(v_load(acc + r * D16 + d), v_set1(inv));

                if (a->D - d >= 16)
                    v_store(a->out + (i0 + r) * a->ld_out + d, y);
                else
                    v_store_n(a->out + (i0 + r) * a->ld_out + d, y, a->D - d);
            }
        }
    }
}

#endif
