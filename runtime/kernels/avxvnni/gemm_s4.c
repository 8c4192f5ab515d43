/* gemm_s4 with AVX-VNNI: a nibble, or a byte, is the unsigned operand of vpdpbusd as it is. 4 rows x 16 outputs. */
#include "runtime/kernels/avx2/lanes.h"
#include "runtime/kernels/avxvnni/isa.h"

#define S4_ROWS 4
#define S4_UNSIGNED 1

LANES_INLINE v16i s4_low(const uint8_t *p)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    const v16i w = i_load((const int32_t *)(const void *)p);

    return (v16i){_mm256_and_si256(w.a, nibble), _mm256_and_si256(w.b, nibble)};
}
LANES_INLINE v16i s4_high(const uint8_t *p)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    const v16i w = i_load((const int32_t *)(const void *)p);

    return (v16i){_mm256_and_si256(_mm256_srli_epi16(w.a, 4), nibble), _mm256_and_si256(_mm256_srli_epi16(w.b, 4), nibble)};
}
LANES_INLINE v16i s4_bytes(const uint8_t *p) { return i_load((const int32_t *)(const void *)p); }
LANES_INLINE v16i s4_dot(v16i acc, v16i w, int32_t x)
{
    const __m256i s = _mm256_set1_epi32(x);

    return (v16i){_mm256_dpbusd_avx_epi32(acc.a, w.a, s), _mm256_dpbusd_avx_epi32(acc.b, w.b, s)};
}
#include "runtime/kernels/lanes/gemm_s4.h"

void xc_gemm_s4__avxvnni(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_s4(g, row0, row1, col0, col1);
}
