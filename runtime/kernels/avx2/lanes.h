/* lanes: sixteen floats or sixteen int32 as two AVX2 registers. The vocabulary that runtime/kernels/lanes/ is written in:
 *   v_* on sixteen floats, i_* on sixteen int32; ..._n touches the first n (0 < n < 16) in memory and reads the others as zero.
 * v_max(a, b) is a > b ? a : b, v_min(a, b) is a < b ? a : b, as scalar/math.h. */
#ifndef XC_RUNTIME_KERNELS_AVX2_LANES_H
#define XC_RUNTIME_KERNELS_AVX2_LANES_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANES_INLINE static inline __attribute__((always_inline, unused))

typedef struct { __m256 a, b; } v16f;
typedef struct { __m256i a, b; } v16i;

/* A mask of the first n of eight lanes. */
LANES_INLINE __m256i first8(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LANES_INLINE v16f v_zero(void) { return (v16f){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
LANES_INLINE v16f v_set1(float x) { const __m256 v = _mm256_set1_ps(x); return (v16f){v, v}; }
LANES_INLINE v16f v_load(const float *p) { return (v16f){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANES_INLINE v16f v_load_n(const float *p, int64_t n)
{
    return (v16f){_mm256_maskload_ps(p, first8(n)), n > 8 ? _mm256_maskload_ps(p + 8, first8(n - 8)) : _mm256_setzero_ps()};
}
LANES_INLINE void v_store(float *p, v16f v) { _mm256_storeu_ps(p, v.a); _mm256_storeu_ps(p + 8, v.b); }
LANES_INLINE void v_store_n(float *p, v16f v, int64_t n)
{
    _mm256_maskstore_ps(p, first8(n), v.a);
    if (n > 8) _mm256_maskstore_ps(p + 8, first8(n - 8), v.b);
}
LANES_INLINE v16f v_add(v16f x, v16f y) { return (v16f){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
LANES_INLINE v16f v_sub(v16f x, v16f y) { return (v16f){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
LANES_INLINE v16f v_mul(v16f x, v16f y) { return (v16f){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
LANES_INLINE v16f v_div(v16f x, v16f y) { return (v16f){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
LANES_INLINE v16f v_sqrt(v16f x) { return (v16f){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
LANES_INLINE v16f v_max(v16f x, v16f y) { return (v16f){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
LANES_INLINE v16f v_min(v16f x, v16f y) { return (v16f){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
/* x * y + z, one rounding */
LANES_INLINE v16f v_fma(v16f x, v16f y, v16f z) { return (v16f){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
LANES_INLINE v16f v_xor(v16f x, v16f y) { return (v16f){_mm256_xor_ps(x.a, y.a), _mm256_xor_ps(x.b, y.b)}; }
LANES_INLINE v16f v_neg(v16f x) { return v_xor(x, v_set1(-0.0f)); }
LANES_INLINE v16f v_abs(v16f x)
{
    const __m256 s = _mm256_set1_ps(-0.0f);
    return (v16f){_mm256_andnot_ps(s, x.a), _mm256_andnot_ps(s, x.b)};
}
LANES_INLINE v16f v_copysign(v16f x, v16f sign)
{
    const __m256 s = _mm256_set1_ps(-0.0f);
    return (v16f){_mm256_or_ps(_mm256_andnot_ps(s, x.a), _mm256_and_ps(s, sign.a)),
                  _mm256_or_ps(_mm256_andnot_ps(s, x.b), _mm256_and_ps(s, sign.b))};
}
/* a < b ? x : y */
LANES_INLINE v16f v_lt(v16f a, v16f b, v16f x, v16f y)
{
    return (v16f){_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)), _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ))};
}
/* the first n lanes of x, the others of y */
LANES_INLINE v16f v_first(v16f x, v16f y, int64_t n)
{
    return (v16f){_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(first8(n))), _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(first8(n - 8)))};
}
/* x * 2^n, where magic = n + 1.5 * 2^23 holds n in its low bits */
LANES_INLINE v16f v_scale2(v16f x, v16f magic)
{
    return (v16f){_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.a), _mm256_slli_epi32(_mm256_castps_si256(magic.a), 23))),
                  _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.b), _mm256_slli_epi32(_mm256_castps_si256(magic.b), 23)))};
}
/* every lane l's neighbour l ^ 1, l ^ 4, l ^ 8 */
LANES_INLINE v16f v_swap1(v16f x) { return (v16f){_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)}; }
LANES_INLINE v16f v_swap4(v16f x) { return (v16f){_mm256_permute2f128_ps(x.a, x.a, 1), _mm256_permute2f128_ps(x.b, x.b, 1)}; }
LANES_INLINE v16f v_swap8(v16f x) { return (v16f){x.b, x.a}; }
/* is x > y anywhere? */
LANES_INLINE bool v_any_gt(v16f x, v16f y)
{
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ))) != 0;
}
/* lane l += l+8, l += l+4, l += l+2, l += l+1 */
LANES_INLINE float v_sum(v16f x)
{
    const __m256 e = _mm256_add_ps(x.a, x.b);
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
LANES_INLINE float v_hmax(v16f x)
{
    const __m256 e = _mm256_max_ps(x.a, x.b);
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}

LANES_INLINE v16i i_zero(void) { return (v16i){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
LANES_INLINE v16i i_set1(int32_t x) { const __m256i v = _mm256_set1_epi32(x); return (v16i){v, v}; }
LANES_INLINE v16i i_add(v16i x, v16i y) { return (v16i){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
LANES_INLINE v16i i_load(const int32_t *p)
{
    return (v16i){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 8))};
}
LANES_INLINE void i_store(int32_t *p, v16i v) { _mm256_storeu_si256((__m256i *)p, v.a); _mm256_storeu_si256((__m256i *)(p + 8), v.b); }
/* nearest, ties to even */
LANES_INLINE v16i i_round(v16f x) { return (v16i){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
LANES_INLINE v16f v_from_i(v16i x) { return (v16f){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
LANES_INLINE int32_t i_sum(v16i x)
{
    const __m256i e = _mm256_add_epi32(x.a, x.b);
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(e), _mm256_extracti128_si256(e, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}
/* values within int8 */
LANES_INLINE __m128i i_to_s8(v16i x)
{
    const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}
LANES_INLINE void i_store_s8(int8_t *p, v16i x) { _mm_storeu_si128((__m128i *)p, i_to_s8(x)); }
/* byte i of each dword from vector i: four keys of sixteen channels; values within int8 */
LANES_INLINE void i_store_quads(int8_t *p, v16i x0, v16i x1, v16i x2, v16i x3)
{
    const __m256i m = _mm256_set1_epi32(255);
#define QUAD(h) _mm256_or_si256(_mm256_or_si256(_mm256_and_si256(x0.h, m), _mm256_slli_epi32(_mm256_and_si256(x1.h, m), 8)), \
                                _mm256_or_si256(_mm256_slli_epi32(_mm256_and_si256(x2.h, m), 16), _mm256_slli_epi32(x3.h, 24)))
    _mm256_storeu_si256((__m256i *)p, QUAD(a));
    _mm256_storeu_si256((__m256i *)(p + 32), QUAD(b));
#undef QUAD
}
LANES_INLINE v16f v_from_s8(const int8_t *p)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)p);
    return (v16f){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
}
LANES_INLINE v16f v_from_f16(const uint16_t *p)
{
    return (v16f){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
LANES_INLINE v16f v_from_bf16(const uint16_t *p)
{
    return (v16f){_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16)),
                  _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8))), 16))};
}
/* Pairs of bf16, the even one in the low half of a dword: the even ones, the odd ones. */
LANES_INLINE v16f v_pair_even(const uint32_t *p)
{
    return (v16f){_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)p), 16)),
                  _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(p + 8)), 16))};
}
LANES_INLINE v16f v_pair_odd(const uint32_t *p)
{
    const __m256i high = _mm256_set1_epi32(-65536);
    return (v16f){_mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)p), high)),
                  _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)(p + 8)), high))};
}

/* ---- bytes, for the integer GEMMs ---- */
LANES_INLINE __m256i bytes32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* Four bytes, repeated. */
LANES_INLINE __m256i quad4(const int8_t *p)
{
    int32_t x;

    memcpy(&x, p, 4);
    return _mm256_set1_epi32(x);
}

/* 32 bytes of x to xp (64 bytes) as dwords |x|, m alternating, m being the bytes' sign (0 or -1). Returns |x| where x < 0, else 0. */
LANES_INLINE __m256i put_signs32(int8_t *xp, const int8_t *x)
{
    const __m256i v = bytes32(x), m = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v), a = _mm256_abs_epi8(v);
    const __m256i lo = _mm256_unpacklo_epi32(a, m), hi = _mm256_unpackhi_epi32(a, m); /* quads 0 1 4 5 and 2 3 6 7 */

    _mm256_storeu_si256((__m256i *)xp, _mm256_permute2x128_si256(lo, hi, 0x20));
    _mm256_storeu_si256((__m256i *)(xp + 32), _mm256_permute2x128_si256(lo, hi, 0x31));
    return _mm256_and_si256(a, m);
}

/* The same of one quad; returns the sum. */
LANES_INLINE int32_t put_signs4(int8_t *xp, const int8_t *x)
{
    int32_t negative = 0;

    for (int i = 0; i < 4; i++) {
        xp[i] = (int8_t)(x[i] < 0 ? -x[i] : x[i]);
        xp[4 + i] = (int8_t)(x[i] < 0 ? -1 : 0);
        negative += x[i] < 0 ? -x[i] : 0;
    }
    return negative;
}

#endif
