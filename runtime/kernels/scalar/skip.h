/* skip: the rule by which attn_runs leaves out blocks (kernels.h, xc_attn_skip); one code for all levels, so that all decide alike. */
#ifndef XC_RUNTIME_KERNELS_SCALAR_SKIP_H
#define XC_RUNTIME_KERNELS_SCALAR_SKIP_H

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/scalar/math.h"

#define XC_SKIP_MARGIN 1.001f /* covers the rounding of what is compared */
#define XC_SKIP_FAR 64.0f     /* 2^64 times any block is never little */

/* May a block be left out for rows 0 to rows - 1? Then its mass goes to lost. top: the bound of row r at [r * step], in units of 1/unit log2; whole: the
 * block's mass if all its scores were max. */
static __attribute__((noinline, unused)) bool xc_skip_block(const struct xc_attn_skip *s, float *lost, const float *low, const float *max, const float *top, int64_t step, float unit, float whole,
                                 int64_t rows)
{
    float add[XC_SKIP_ROWS_F32];

    for (int64_t r = 0; r < rows; r++) {
        const float d = (top[r * step] - max[r]) * unit;

        add[r] = whole * xc_exp2_f32(d < XC_SKIP_FAR ? d : XC_SKIP_FAR);
        if (!((lost[r] + add[r]) * XC_SKIP_MARGIN <= s->eps * low[r])) return false;
    }
    for (int64_t r = 0; r < rows; r++) lost[r] += add[r];
    return true;
}

/* At least how much 127 * 2^(score - max) a block's integers stand for: each is off by half a unit, and one that is not zero by half itself. */
static inline float xc_skip_low_s8(int32_t p_sum, int64_t count)
{
    return 0.999f * xc_max_f32((float)p_sum - 0.5f * (float)count, 0.5f * (float)p_sum);
}

static inline void xc_skip_count(const struct xc_attn_skip *s, int what)
{
    if (s->count) s->count[what]++;
}

static inline void xc_skip_report(const struct xc_attn_skip *s, int64_t i, float lost, float low)
{
    if (s->lost) s->lost[i] = low > 0.0f ? lost / low : 0.0f;
}

#endif
