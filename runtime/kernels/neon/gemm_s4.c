/* gemm_s4 with sdot: nibbles become signed bytes by taking 8, bytes by taking 128. 4 rows x 16 outputs. */
#include "runtime/kernels/neon/isa.h"
#include "runtime/kernels/neon/lanes.h"

#define S4_ROWS 4
#define S4_UNSIGNED 0

#define FOUR(f) (v16i){f(a, 0), f(b, 16), f(c, 32), f(d, 48)}
LANES_INLINE int32x4_t s4_signed(uint8x16_t u) { return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_u8(u), vdupq_n_s8(8))); }
#define LOW(f, at) s4_signed(vandq_u8(vld1q_u8(p + at), vdupq_n_u8(15)))
LANES_INLINE v16i s4_low(const uint8_t *p) { return FOUR(LOW); }
#define HIGH(f, at) s4_signed(vshrq_n_u8(vld1q_u8(p + at), 4))
LANES_INLINE v16i s4_high(const uint8_t *p) { return FOUR(HIGH); }
#define BYTES(f, at) vreinterpretq_s32_u8(veorq_u8(vld1q_u8(p + at), vdupq_n_u8(XC_S4_BYTES_ZERO)))
LANES_INLINE v16i s4_bytes(const uint8_t *p) { return FOUR(BYTES); }
#define DOT(f, at) vdotq_s32(acc.f, vreinterpretq_s8_s32(w.f), s)
LANES_INLINE v16i s4_dot(v16i acc, v16i w, int32_t x)
{
    const int8x16_t s = vreinterpretq_s8_s32(vdupq_n_s32(x));

    return FOUR(DOT);
}
#include "runtime/kernels/lanes/gemm_s4.h"

void xc_gemm_s4__neon(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_s4(g, row0, row1, col0, col1);
}
