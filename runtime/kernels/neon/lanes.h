/* lanes: sixteen floats or sixteen int32 as four NEON registers. The vocabulary is explained in avx2/lanes.h. */
#ifndef XC_RUNTIME_KERNELS_NEON_LANES_H
#define XC_RUNTIME_KERNELS_NEON_LANES_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANES_INLINE static inline __attribute__((always_inline, unused))

typedef struct { float32x4_t a, b, c, d; } v16f;
typedef struct { int32x4_t a, b, c, d; } v16i;

#define FOUR(f) {f(a), f(b), f(c), f(d)}

LANES_INLINE v16f v_set1(float x) { const float32x4_t v = vdupq_n_f32(x); return (v16f){v, v, v, v}; }
LANES_INLINE v16f v_zero(void) { return v_set1(0.0f); }
LANES_INLINE v16f v_load(const float *p) { return (v16f){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
LANES_INLINE v16f v_load_n(const float *p, int64_t n)
{
    float lane[16] = {0};
    memcpy(lane, p, (size_t)n * sizeof *p);
    return v_load(lane);
}
LANES_INLINE void v_store(float *p, v16f v)
{
    vst1q_f32(p, v.a);
    vst1q_f32(p + 4, v.b);
    vst1q_f32(p + 8, v.c);
    vst1q_f32(p + 12, v.d);
}
LANES_INLINE void v_store_n(float *p, v16f v, int64_t n)
{
    float lane[16];
    v_store(lane, v);
    memcpy(p, lane, (size_t)n * sizeof *p);
}
#define OP(f) vrev64q_f32(x.f)
LANES_INLINE v16f v_swap1(v16f x) { return (v16f)FOUR(OP); }
#undef OP
LANES_INLINE v16f v_swap4(v16f x) { return (v16f){x.b, x.a, x.d, x.c}; }
LANES_INLINE v16f v_swap8(v16f x) { return (v16f){x.c, x.d, x.a, x.b}; }
LANES_INLINE bool v_any_gt(v16f x, v16f y)
{
    return vmaxvq_u32(vorrq_u32(vorrq_u32(vcgtq_f32(x.a, y.a), vcgtq_f32(x.b, y.b)), vorrq_u32(vcgtq_f32(x.c, y.c), vcgtq_f32(x.d, y.d)))) != 0;
}
#define OP(f) vaddq_f32(x.f, y.f)
LANES_INLINE v16f v_add(v16f x, v16f y) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vsubq_f32(x.f, y.f)
LANES_INLINE v16f v_sub(v16f x, v16f y) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vmulq_f32(x.f, y.f)
LANES_INLINE v16f v_mul(v16f x, v16f y) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vdivq_f32(x.f, y.f)
LANES_INLINE v16f v_div(v16f x, v16f y) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vsqrtq_f32(x.f)
LANES_INLINE v16f v_sqrt(v16f x) { return (v16f)FOUR(OP); }
#undef OP
/* by comparison, not vmaxq: that one propagates NaN */
#define OP(f) vbslq_f32(vcgtq_f32(x.f, y.f), x.f, y.f)
LANES_INLINE v16f v_max(v16f x, v16f y) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vbslq_f32(vcltq_f32(x.f, y.f), x.f, y.f)
LANES_INLINE v16f v_min(v16f x, v16f y) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vfmaq_f32(z.f, x.f, y.f)
LANES_INLINE v16f v_fma(v16f x, v16f y, v16f z) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vnegq_f32(x.f)
LANES_INLINE v16f v_neg(v16f x) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vabsq_f32(x.f)
LANES_INLINE v16f v_abs(v16f x) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vbslq_f32(vdupq_n_u32(0x80000000u), sign.f, x.f)
LANES_INLINE v16f v_copysign(v16f x, v16f sign) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vbslq_f32(vcltq_f32(a16.f, b16.f), x.f, y.f)
LANES_INLINE v16f v_lt(v16f a16, v16f b16, v16f x, v16f y) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x.f), vshlq_n_s32(vreinterpretq_s32_f32(magic.f), 23)))
LANES_INLINE v16f v_scale2(v16f x, v16f magic) { return (v16f)FOUR(OP); }
#undef OP
LANES_INLINE uint32x4_t first4(int64_t n)
{
    static const int32_t index[4] = {0, 1, 2, 3};
    return vcltq_s32(vld1q_s32(index), vdupq_n_s32((int32_t)n));
}
LANES_INLINE v16f v_first(v16f x, v16f y, int64_t n)
{
    return (v16f){vbslq_f32(first4(n), x.a, y.a), vbslq_f32(first4(n - 4), x.b, y.b), vbslq_f32(first4(n - 8), x.c, y.c),
                  vbslq_f32(first4(n - 12), x.d, y.d)};
}
LANES_INLINE float v_sum(v16f x)
{
    const float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d)); /* l += l+8, then l += l+4 */
    const float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
LANES_INLINE float v_hmax(v16f x)
{
    float lane[16], max;
    v_store(lane, x);
    max = lane[0];
    for (int l = 1; l < 16; l++) max = lane[l] > max ? lane[l] : max;
    return max;
}

LANES_INLINE v16i i_set1(int32_t x) { const int32x4_t v = vdupq_n_s32(x); return (v16i){v, v, v, v}; }
LANES_INLINE v16i i_zero(void) { return i_set1(0); }
#define OP(f) vaddq_s32(x.f, y.f)
LANES_INLINE v16i i_add(v16i x, v16i y) { return (v16i)FOUR(OP); }
#undef OP
LANES_INLINE v16i i_load(const int32_t *p) { return (v16i){vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}; }
LANES_INLINE void i_store(int32_t *p, v16i v)
{
    vst1q_s32(p, v.a);
    vst1q_s32(p + 4, v.b);
    vst1q_s32(p + 8, v.c);
    vst1q_s32(p + 12, v.d);
}
#define OP(f) vcvtnq_s32_f32(x.f)
LANES_INLINE v16i i_round(v16f x) { return (v16i)FOUR(OP); }
#undef OP
#define OP(f) vcvtq_f32_s32(x.f)
LANES_INLINE v16f v_from_i(v16i x) { return (v16f)FOUR(OP); }
#undef OP
LANES_INLINE int32_t i_sum(v16i x) { return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d))); }
LANES_INLINE void i_store_s8(int8_t *p, v16i x)
{
    const int16x8_t low = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)), high = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}
#define OP(f) vsliq_n_s32(vsliq_n_s32(vandq_s32(x0.f, vdupq_n_s32(255)), vandq_s32(x1.f, vdupq_n_s32(255)), 8), \
                          vsliq_n_s32(vandq_s32(x2.f, vdupq_n_s32(255)), x3.f, 8), 16)
LANES_INLINE void i_store_quads(int8_t *p, v16i x0, v16i x1, v16i x2, v16i x3)
{
    const v16i r = FOUR(OP);
    vst1q_s8(p, vreinterpretq_s8_s32(r.a));
    vst1q_s8(p + 16, vreinterpretq_s8_s32(r.b));
    vst1q_s8(p + 32, vreinterpretq_s8_s32(r.c));
    vst1q_s8(p + 48, vreinterpretq_s8_s32(r.d));
}
#undef OP
LANES_INLINE v16f v_from_s8(const int8_t *p)
{
    const int8x16_t x = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_s8(vget_high_s8(x));
    return v_from_i((v16i){vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)), vmovl_s16(vget_low_s16(high)),
                           vmovl_s16(vget_high_s16(high))});
}
LANES_INLINE float32x4_t four_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
LANES_INLINE v16f v_from_f16(const uint16_t *p) { return (v16f){four_f16(p), four_f16(p + 4), four_f16(p + 8), four_f16(p + 12)}; }
LANES_INLINE float32x4_t four_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
LANES_INLINE v16f v_from_bf16(const uint16_t *p) { return (v16f){four_bf16(p), four_bf16(p + 4), four_bf16(p + 8), four_bf16(p + 12)}; }
#define OP(f) vreinterpretq_f32_u32(vshlq_n_u32(vld1q_u32(p + EVERY_##f), 16))
#define EVERY_a 0
#define EVERY_b 4
#define EVERY_c 8
#define EVERY_d 12
LANES_INLINE v16f v_pair_even(const uint32_t *p) { return (v16f)FOUR(OP); }
#undef OP
#define OP(f) vreinterpretq_f32_u32(vandq_u32(vld1q_u32(p + EVERY_##f), vdupq_n_u32(0xffff0000u)))
LANES_INLINE v16f v_pair_odd(const uint32_t *p) { return (v16f)FOUR(OP); }
#undef OP

#undef FOUR
#endif
