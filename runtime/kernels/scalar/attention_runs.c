/* attn_runs: one head over keys in several runs, seen by position (kernels.h): windows, global keys, buckets, chosen blocks. Block by block
 * with a running maximum, in the order of the runs; blocks as in attention.c. */
#include "runtime/base/base.h"
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

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

void xc_attn_runs_s8__scalar(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1)
{
    const int64_t D = a->a.D, D16 = xc_round_up(D, 16);
    float *acc = a->a.scratch; /* (D) */

    for (int64_t i = row0; i < row1; i++) {
        float max = FLOOR, sum = 0.0f;

        for (int64_t d = 0; d < D; d++) acc[d] = 0.0f;
        for (int64_t r = 0; r < a->a.n_runs; r++)
            for (int64_t j0 = 0; j0 < a->run[r].see.n; j0 += XC_KEY_BLOCK) {
                const struct xc_key_run_s8 *run = &a->run[r];
                const int64_t block = j0 / XC_KEY_BLOCK, count = xc_min_i64(XC_KEY_BLOCK, run->see.n - j0);
                const int8_t *v = run->v + block * D16 * XC_KEY_BLOCK; /* [D/16][keys/4][16][4] */
                int8_t p[XC_KEY_BLOCK] = { 0 };
                int32_t p_sum = 0;
                const float block_max = block_probabilities(p, a, run, i, j0, count);
                const float new_max = xc_max_f32(block_max, max);
                const float keep = xc_exp2_f32(max - new_max), add = xc_exp2_f32(block_max - new_max);

                for (int64_t j = 0; j < count; j++) p_sum += p[j];
                sum = fmaf(sum, keep, (float)p_sum * add);
                for (int64_t d = 0; d < D; d++) {
                    const int32_t dot = dot4(p, v + d / 16 * 16 * XC_KEY_BLOCK + d % 16 * 4, xc_round_up(count, 4)); /* beyond count both are zero */

                    acc[d] = fmaf(acc[d], keep, (float)dot * (run->v_scale[block * D16 + d] * add));
                }
                max = new_max;
            }
        const float inv = sum > 0.0f ? 1.0f / sum : 0.0f;

        for (int64_t d = 0; d < D; d++) a->a.out[i * a->a.ld_out + d] = acc[d] * inv;
        if (a->a.stat) a->a.stat[2 * i] = max, a->a.stat[2 * i + 1] = sum;
    }
}

void xc_attn_runs_f32__scalar(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1)
{
    const int64_t D = a->a.D;
    float *acc = a->a.scratch; /* (D) */

    for (int64_t i = row0; i < row1; i++) {
        const float *q = a->q + i * a->ldq;
        float max = FLOOR, sum = 0.0f;

        for (int64_t d = 0; d < D; d++) acc[d] = 0.0f;
        for (int64_t r = 0; r < a->a.n_runs; r++)
            for (int64_t j0 = 0; j0 < a->run[r].see.n; j0 += XC_KEY_BLOCK) {
                const struct xc_key_run_f32 *run = &a->run[r];
                const int64_t count = xc_min_i64(XC_KEY_BLOCK, run->see.n - j0);
                float p[XC_KEY_BLOCK], new_max = max;

                for (int64_t j = 0; j < count; j++) {
                    const float *k = run->k + (j0 + j) * run->ldk;
                    float dot = 0.0f;

                    for (int64_t d = 0; d < D; d++) dot = fmaf(q[d], k[d], dot);
                    p[j] = seen(dot * a->a.scale, &a->a, &run->see, i, j0 + j, 1.0f);
                    new_max = xc_max_f32(p[j], new_max);
                }
                for (int64_t j = 0; j < count; j++) p[j] = xc_exp_f32(p[j] - new_max);

                const float keep = xc_exp_f32(max - new_max);

                sum = fmaf(sum, keep, xc_sum16(p, count));
                for (int64_t d = 0; d < D; d++) {
                    float o = acc[d] * keep;

                    for (int64_t j = 0; j < count; j++) o = fmaf(p[j], run->v[(j0 + j) * run->ldv + d], o);
                    acc[d] = o;
                }
                max = new_max;
            }
        const float inv = sum > 0.0f ? 1.0f / sum : 0.0f;

        for (int64_t d = 0; d < D; d++) a->a.out[i * a->a.ld_out + d] = acc[d] * inv;
        if (a->a.stat) a->a.stat[2 * i] = max, a->a.stat[2 * i + 1] = sum;
    }
}
