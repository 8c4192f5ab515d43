/* attention: one head, block by block over the keys with a running maximum, so that no N x N buffer exists.
 * Rabe and Staats 2021, arXiv:2112.05682; Dao 2022, arXiv:2205.14135; the int8 form is ours: probabilities are integers relative to
 * the maximum of their own block of XC_KEY_BLOCK keys, and blocks are combined in f32, in ascending order.
 *
 * Maxima start from a finite floor, so a row whose every key is masked (-inf bias) gives zeros and no NaN. */
#include "runtime/base/base.h"
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

#define FLOOR (-1e30f)

/* How many keys query i may see. */
static int64_t visible(int64_t i, int64_t n_q, int64_t n_k, bool causal)
{
    if (!causal) return n_k;
    return xc_max_i64(0, xc_min_i64(n_k, i + n_k - n_q + 1));
}

/* dot[l] = x . w_l for the 16 rows of a panel [n/4][16][4]. */
static void dot_panel(int32_t dot[16], const int8_t *x, const int8_t *w, int64_t n)
{
    for (int64_t l = 0; l < 16; l++) dot[l] = 0;
    for (int64_t k = 0; k < n; k += 4, w += 64)
        for (int64_t l = 0; l < 16; l++)
            for (int64_t i = 0; i < 4; i++) dot[l] += x[k + i] * w[l * 4 + i];
}

/* p (count) = rint(127 * 2^(s - max s)) of one block; scores are in units of log2. Returns the block's maximum. */
static float block_probabilities(int8_t *p, const struct xc_attn_s8 *a, int64_t i, int64_t j0, int64_t count)
{
    const int64_t D4 = xc_round_up(a->D, 4);
    const int8_t *q = a->q + i * a->ldq;
    const float q_scale = a->q_scale[i] * a->scale * XC_LOG2E;
    float s[XC_KEY_BLOCK], max = FLOOR;
    int32_t dot[16];

    for (int64_t j = 0; j < count; j++) {
        if (j % 16 == 0) dot_panel(dot, q, a->k + (j0 + j) * D4, D4);
        s[j] = (float)dot[j % 16] * q_scale * a->k_scale[j0 + j];
        if (a->bias) s[j] = fmaf(a->bias[i * a->ld_bias + j0 + j], XC_LOG2E, s[j]);
        max = xc_max_f32(s[j], max);
    }
    for (int64_t j = 0; j < count; j++) p[j] = (int8_t)xc_p7(s[j] - max);
    return max;
}

void xc_attn_s8__scalar(const struct xc_attn_s8 *a, int64_t row0, int64_t row1)
{
    const int64_t D16 = xc_round_up(a->D, 16);
    float *acc = a->scratch; /* (D) */

    for (int64_t i = row0; i < row1; i++) {
        const int64_t n = visible(i, a->n_q, a->n_k, a->causal);
        float max = FLOOR, sum = 0.0f;

        for (int64_t d = 0; d < a->D; d++) acc[d] = 0.0f;
        for (int64_t j0 = 0; j0 < n; j0 += XC_KEY_BLOCK) {
            const int64_t block = j0 / XC_KEY_BLOCK, count = xc_min_i64(XC_KEY_BLOCK, n - j0);
            const int8_t *v = a->v + block * D16 * XC_KEY_BLOCK; /* [D/16][keys/4][16][4] */
            int8_t p[XC_KEY_BLOCK] = { 0 };
            int32_t dot[16], p_sum = 0;
            const float block_max = block_probabilities(p, a, i, j0, count);
            const float new_max = xc_max_f32(block_max, max);
            const float keep = xc_exp2_f32(max - new_max), add = xc_exp2_f32(block_max - new_max);

            for (int64_t j = 0; j < count; j++) p_sum += p[j];
            sum = fmaf(sum, keep, (float)p_sum * add);
            for (int64_t d = 0; d < a->D; d++) {
                if (d % 16 == 0) dot_panel(dot, p, v + d * XC_KEY_BLOCK, xc_round_up(count, 4)); /* beyond count both are zero */
                acc[d] = fmaf(acc[d], keep, (float)dot[d % 16] * (a->v_scale[block * D16 + d] * add));
            }
            max = new_max;
        }
        const float inv = sum > 0.0f ? 1.0f / sum : 0.0f;

        for (int64_t d = 0; d < a->D; d++) a->out[i * a->ld_out + d] = acc[d] * inv;
    }
}

void xc_attn_f32__scalar(const struct xc_attn_f32 *a, int64_t row0, int64_t row1)
{
    float *acc = a->scratch; /* (D) */

    for (int64_t i = row0; i < row1; i++) {
        const int64_t n = visible(i, a->n_q, a->n_k, a->causal);
        const float *q = a->q + i * a->ldq;
        float max = FLOOR, sum = 0.0f;

        for (int64_t d = 0; d < a->D; d++) acc[d] = 0.0f;
        for (int64_t j0 = 0; j0 < n; j0 += XC_KEY_BLOCK) {
            const int64_t count = xc_min_i64(XC_KEY_BLOCK, n - j0);
            float p[XC_KEY_BLOCK], new_max = max;

            for (int64_t j = 0; j < count; j++) {
                const float *k = a->k + (j0 + j) * a->ldk;
                float dot = 0.0f;

                for (int64_t d = 0; d < a->D; d++) dot = fmaf(q[d], k[d], dot);
                p[j] = dot * a->scale;
                if (a->bias) p[j] += a->bias[i * a->ld_bias + j0 + j];
                new_max = xc_max_f32(p[j], new_max);
            }
            for (int64_t j = 0; j < count; j++) p[j] = xc_exp_f32(p[j] - new_max);

            const float keep = xc_exp_f32(max - new_max);

            sum = fmaf(sum, keep, xc_sum16(p, count));
            for (int64_t d = 0; d < a->D; d++) {
                float o = acc[d] * keep;

                for (int64_t j = 0; j < count; j++) o = fmaf(p[j], a->v[(j0 + j) * a->ldv + d], o);
                acc[d] = o;
            }
            max = new_max;
        }
        const float inv = sum > 0.0f ? 1.0f / sum : 0.0f;

        for (int64_t d = 0; d < a->D; d++) a->out[i * a->ld_out + d] = acc[d] * inv;
    }
}
