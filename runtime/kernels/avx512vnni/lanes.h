/* lanes: sixteen floats or sixteen int32 as one AVX-512 register. The vocabulary is explained in avx2/lanes.h. */
#ifndef XC_RUNTIME_KERNELS_AVX512VNNI_LANES_H
#define XC_RUNTIME_KERNELS_AVX512VNNI_LANES_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANES_REGISTERS_32
#define LANES_INLINE static inline __attribute__((always_inline, unused))

typedef __m512 v16f;
typedef __m512i v16i;

LANES_INLINE __mmask16 first16(int64_t n) { return (__mmask16)(n <= 0 ? 0 : n >= 16 ? 0xffff : (1u << n) - 1u); }

LANES_INLINE v16f v_zero(void) { return _mm512_setzero_ps(); }
LANES_INLINE v16f v_set1(float x) { return _mm512_set1_ps(x); }
LANES_INLINE v16f v_load(const float *p) { return _mm512_loadu_ps(p); }
LANES_INLINE v16f v_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(first16(n), p); }
LANES_INLINE void v_store(float *p, v16f v) { _mm512_storeu_ps(p, v); }
LANES_INLINE void v_store_n(float *p, v16f v, int64_t n) { _mm512_mask_storeu_ps(p, first16(n), v); }
LANES_INLINE v16f v_add(v16f x, v16f y) { return _mm512_add_ps(x, y); }
LANES_INLINE v16f v_sub(v16f x, v16f y) { return _mm512_sub_ps(x, y); }
LANES_INLINE v16f v_mul(v16f x, v16f y) { return _mm512_mul_ps(x, y); }
LANES_INLINE v16f v_div(v16f x, v16f y) { return _mm512_div_ps(x, y); }
LANES_INLINE v16f v_sqrt(v16f x) { return _mm512_sqrt_ps(x); }
LANES_INLINE v16f v_max(v16f x, v16f y) { return _mm512_max_ps(x, y); }
LANES_INLINE v16f v_min(v16f x, v16f y) { return _mm512_min_ps(x, y); }
LANES_INLINE v16f v_fma(v16f x, v16f y, v16f z) { return _mm512_fmadd_ps(x, y, z); }
LANES_INLINE v16f v_bits(__m512i x) { return _mm512_castsi512_ps(x); }
LANES_INLINE __m512i v_as_i(v16f x) { return _mm512_castps_si512(x); }
LANES_INLINE v16f v_neg(v16f x) { return v_bits(_mm512_xor_si512(v_as_i(x), _mm512_set1_epi32(INT32_MIN))); }
LANES_INLINE v16f v_abs(v16f x) { return v_bits(_mm512_and_si512(v_as_i(x), _mm512_set1_epi32(INT32_MAX))); }
LANES_INLINE v16f v_copysign(v16f x, v16f sign)
{
    return v_bits(_mm512_or_si512(v_as_i(v_abs(x)), _mm512_and_si512(v_as_i(sign), _mm512_set1_epi32(INT32_MIN))));
}
LANES_INLINE v16f v_lt(v16f a, v16f b, v16f x, v16f y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
LANES_INLINE v16f v_first(v16f x, v16f y, int64_t n) { return _mm512_mask_blend_ps(first16(n), y, x); }
LANES_INLINE v16f v_scale2(v16f x, v16f magic) { return v_bits(_mm512_add_epi32(v_as_i(x), _mm512_slli_epi32(v_as_i(magic), 23))); }
LANES_INLINE v16f v_swap1(v16f x) { return _mm512_permutexvar_ps(_mm512_set_epi32(14, 15, 12, 13, 10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1), x); }
LANES_INLINE v16f v_swap4(v16f x) { return _mm512_permutexvar_ps(_mm512_set_epi32(11, 10, 9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5, 4), x); }
LANES_INLINE v16f v_swap8(v16f x) { return _mm512_permutexvar_ps(_mm512_set_epi32(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8), x); }
LANES_INLINE bool v_any_gt(v16f x, v16f y) { return _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ) != 0; }
LANES_INLINE __m256 v_high(v16f x) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)); }
LANES_INLINE float v_sum(v16f x)
{
    const __m256 e = _mm256_add_ps(_mm512_castps512_ps256(x), v_high(x));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
LANES_INLINE float v_hmax(v16f x)
{
    const __m256 e = _mm256_max_ps(_mm512_castps512_ps256(x), v_high(x));
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}

LANES_INLINE v16i i_zero(void) { return _mm512_setzero_si512(); }
LANES_INLINE v16i i_set1(int32_t x) { return _mm512_set1_epi32(x); }
LANES_INLINE v16i i_add(v16i x, v16i y) { return _mm512_add_epi32(x, y); }
LANES_INLINE v16i i_load(const int32_t *p) { return _mm512_loadu_si512(p); }
LANES_INLINE void i_store(int32_t *p, v16i v) { _mm512_storeu_si512(p, v); }
LANES_INLINE v16i i_round(v16f x) { return _mm512_cvtps_epi32(x); }
LANES_INLINE v16f v_from_i(v16i x) { return _mm512_cvtepi32_ps(x); }
LANES_INLINE int32_t i_sum(v16i x)
{
    const __m256i e = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(e), _mm256_extracti128_si256(e, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}
LANES_INLINE void i_store_s8(int8_t *p, v16i x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(x)); }
LANES_INLINE void i_store_quads(int8_t *p, v16i x0, v16i x1, v16i x2, v16i x3)
{
    const __m512i m = _mm512_set1_epi32(255);
    const __m512i low = _mm512_or_si512(_mm512_and_si512(x0, m), _mm512_slli_epi32(_mm512_and_si512(x1, m), 8));
    const __m512i high = _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(x2, m), 16), _mm512_slli_epi32(x3, 24));
    _mm512_storeu_si512(p, _mm512_or_si512(low, high));
}
/* The bytes of four registers of numbers 0 to 127; returns sum and, over its lanes, all of theirs. */
LANES_INLINE v16i i_store_u8x64(uint8_t *p, v16i sum, v16i x0, v16i x1, v16i x2, v16i x3)
{
#ifdef __AVX512VNNI__
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512i x = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(_mm512_packs_epi32(x0, x1), _mm512_packs_epi32(x2, x3)));

    _mm512_storeu_si512(p, x);
    return _mm512_dpbusd_epi32(sum, x, _mm512_set1_epi8(1));
#else /* emulated */
    i_store_s8((int8_t *)p, x0), i_store_s8((int8_t *)p + 16, x1), i_store_s8((int8_t *)p + 32, x2), i_store_s8((int8_t *)p + 48, x3);
    return i_add(i_add(sum, i_add(x0, x1)), i_add(x2, x3));
#endif
}
/* Eight registers, each folded over its lanes to lane 0 to 7 of one: the greatest numbers, and the sums. */
#ifdef __AVX512VNNI__
#define FOLD8(OP, out, in)                                                                                                                             \
    {                                                                                                                                                  \
        v16f half[4], quarter[2];                                                                                                                      \
                                                                                                                                                       \
        for (int i = 0; i < 4; i++) half[i] = OP(_mm512_shuffle_f32x4(in(2 * i), in(2 * i + 1), 0x44), _mm512_shuffle_f32x4(in(2 * i), in(2 * i + 1), 0xee)); \
        for (int i = 0; i < 2; i++)                                                                                                                    \
            quarter[i] = OP(_mm512_shuffle_f32x4(half[2 * i], half[2 * i + 1], 0x88), _mm512_shuffle_f32x4(half[2 * i], half[2 * i + 1], 0xdd));        \
        const v16f two = OP(_mm512_unpacklo_ps(quarter[0], quarter[1]), _mm512_unpackhi_ps(quarter[0], quarter[1]));                                   \
                                                                                                                                                       \
        out = _mm512_permutexvar_ps(_mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 13, 9, 5, 1, 12, 8, 4, 0), OP(two, _mm512_permute_ps(two, 0x4e)));         \
    }
#define ADD_BITS(x, y) v_bits(i_add(v_as_i(x), v_as_i(y)))
#define IN_FLOATS(i) x[i]
#define IN_NUMBERS(i) v_bits(x[i])
LANES_INLINE v16f v_hmax8(const v16f *x)
{
    v16f y;

    FOLD8(v_max, y, IN_FLOATS)
    return y;
}
LANES_INLINE v16i i_sum8(const v16i *x)
{
    v16f y;

    FOLD8(ADD_BITS, y, IN_NUMBERS)
    return v_as_i(y);
}
#undef FOLD8
#undef ADD_BITS
#undef IN_FLOATS
#undef IN_NUMBERS
#else /* emulated */
LANES_INLINE v16f v_hmax8(const v16f *x)
{
    float max[16] = {0};

    for (int r = 0; r < 8; r++) max[r] = v_hmax(x[r]);
    return v_load(max);
}
LANES_INLINE v16i i_sum8(const v16i *x)
{
    int32_t sum[16] = {0};

    for (int r = 0; r < 8; r++) sum[r] = i_sum(x[r]);
    return i_load(sum);
}
#endif
LANES_INLINE v16f v_from_s8(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p))); }
LANES_INLINE v16f v_from_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
LANES_INLINE v16f v_from_bf16(const uint16_t *p)
{
    return v_bits(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
LANES_INLINE v16f v_pair_even(const uint32_t *p) { return v_bits(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
LANES_INLINE v16f v_pair_odd(const uint32_t *p) { return v_bits(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(-65536))); }

#endif
