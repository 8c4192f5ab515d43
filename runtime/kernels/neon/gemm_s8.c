/* gemm_s8 and attn_s8 with sdot (Armv8.2 dot product), signed by signed: no offset. 6 rows x 16 outputs. */
#include "runtime/kernels/neon/isa.h"
#include "runtime/kernels/neon/lanes.h"

#define S8_ROWS 6
#define S8_COLS 1
#define S8_OFFSET 0

LANES_INLINE v16i s8_weight(const int8_t *p) { return i_load((const int32_t *)(const void *)p); }
LANES_INLINE v16i s8_dot(v16i acc, v16i w, int32_t x)
{
    const int8x16_t s = vreinterpretq_s8_s32(vdupq_n_s32(x));

    return (v16i){vdotq_s32(acc.a, vreinterpretq_s8_s32(w.a), s), vdotq_s32(acc.b, vreinterpretq_s8_s32(w.b), s),
                  vdotq_s32(acc.c, vreinterpretq_s8_s32(w.c), s), vdotq_s32(acc.d, vreinterpretq_s8_s32(w.d), s)};
}

#include "runtime/kernels/lanes/gemm_s8.h"
#include "runtime/kernels/lanes/attn_s8.h"

void xc_gemm_s8__neon(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_s8(g, row0, row1, col0, col1);
}

void xc_attn_s8__neon(const struct xc_attn_s8 *a, int64_t row0, int64_t row1) { lanes_attn_s8(a, row0, row1); }

#include "runtime/kernels/lanes/attn_runs_s8.h"

void xc_attn_runs_s8__neon(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1) { lanes_attn_runs_s8(a, row0, row1); }
