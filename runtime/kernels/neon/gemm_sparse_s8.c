/* gemm_nm_s8 and gemm_block_s8 with tbl and sdot (Armv8.2 dot product). 4 rows x 16 outputs. */
#include "runtime/kernels/neon/isa.h"
#include "runtime/kernels/neon/lanes.h"

#define SP_ROWS 4
#define SP_OFFSET 0

LANES_INLINE int8x16_t bytes(int32x4_t v) { return vreinterpretq_s8_s32(v); }
LANES_INLINE uint8x16_t ubytes(int32x4_t v) { return vreinterpretq_u8_s32(v); }
LANES_INLINE int32x4_t dwords(uint8x16_t v) { return vreinterpretq_s32_u8(v); }

LANES_INLINE v16i i_sub(v16i x, v16i y) { return (v16i){vsubq_s32(x.a, y.a), vsubq_s32(x.b, y.b), vsubq_s32(x.c, y.c), vsubq_s32(x.d, y.d)}; }
LANES_INLINE v16i sp_table(const int8_t *p)
{
    const int32x4_t t = vreinterpretq_s32_s8(vld1q_s8(p));

    return (v16i){t, t, t, t};
}
LANES_INLINE int32x4_t look(int32x4_t t, int32x4_t i) { return vreinterpretq_s32_s8(vqtbl1q_s8(bytes(t), ubytes(i))); }
LANES_INLINE v16i sp_look(v16i t, v16i i) { return (v16i){look(t.a, i.a), look(t.b, i.b), look(t.c, i.c), look(t.d, i.d)}; }
LANES_INLINE v16i sp_low(v16i v)
{
    const uint8x16_t m = vdupq_n_u8(15);

    return (v16i){dwords(vandq_u8(ubytes(v.a), m)), dwords(vandq_u8(ubytes(v.b), m)), dwords(vandq_u8(ubytes(v.c), m)), dwords(vandq_u8(ubytes(v.d), m))};
}
LANES_INLINE v16i sp_high(v16i v)
{
    return (v16i){dwords(vshrq_n_u8(ubytes(v.a), 4)), dwords(vshrq_n_u8(ubytes(v.b), 4)), dwords(vshrq_n_u8(ubytes(v.c), 4)), dwords(vshrq_n_u8(ubytes(v.d), 4))};
}
LANES_INLINE v16i sp_weigh(v16i acc, v16i w, v16i x)
{
    return (v16i){vdotq_s32(acc.a, bytes(w.a), bytes(x.a)), vdotq_s32(acc.b, bytes(w.b), bytes(x.b)), vdotq_s32(acc.c, bytes(w.c), bytes(x.c)), vdotq_s32(acc.d, bytes(w.d), bytes(x.d))};
}
LANES_INLINE v16i sp_dot(v16i acc, v16i w, int32_t four)
{
    const int32x4_t x = vdupq_n_s32(four);

    return sp_weigh(acc, w, (v16i){x, x, x, x});
}

#include "runtime/kernels/lanes/gemm_sparse_s8.h"

void xc_gemm_nm_s8__neon(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1) { lanes_gemm_nm_s8(g, row0, row1, col0, col1); }
void xc_gemm_block_s8__neon(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1) { lanes_gemm_block_s8(g, row0, row1, col0, col1); }
