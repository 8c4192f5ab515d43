/* gemm_nm_s8 and gemm_block_s8 with AVX-VNNI, the 256-bit VEX form of vpdpbusd. 4 rows x 16 outputs. */
#include "runtime/kernels/avx2/lanes.h"
#include "runtime/kernels/avxvnni/isa.h"

#define SP_ROWS 4
#define SP_OFFSET 128

LANES_INLINE v16i i_sub(v16i x, v16i y) { return (v16i){_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
LANES_INLINE v16i sp_table(const int8_t *p)
{
    const __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));

    return (v16i){t, t};
}
LANES_INLINE v16i sp_look(v16i t, v16i i) { return (v16i){_mm256_shuffle_epi8(t.a, i.a), _mm256_shuffle_epi8(t.b, i.b)}; }
LANES_INLINE v16i sp_low(v16i v)
{
    const __m256i m = _mm256_set1_epi8(15);

    return (v16i){_mm256_and_si256(v.a, m), _mm256_and_si256(v.b, m)};
}
LANES_INLINE v16i sp_high(v16i v) { return sp_low((v16i){_mm256_srli_epi16(v.a, 4), _mm256_srli_epi16(v.b, 4)}); }
LANES_INLINE v16i sp_weigh(v16i acc, v16i w, v16i x) { return (v16i){_mm256_dpbusd_avx_epi32(acc.a, w.a, x.a), _mm256_dpbusd_avx_epi32(acc.b, w.b, x.b)}; }
LANES_INLINE v16i sp_dot(v16i acc, v16i w, int32_t four)
{
    const __m256i x = _mm256_set1_epi32(four);

    return (v16i){_mm256_dpbusd_avx_epi32(acc.a, x, w.a), _mm256_dpbusd_avx_epi32(acc.b, x, w.b)};
}
#include "runtime/kernels/lanes/gemm_sparse_s8.h"

void xc_gemm_nm_s8__avxvnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1) { lanes_gemm_nm_s8(g, row0, row1, col0, col1); }
void xc_gemm_block_s8__avxvnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1) { lanes_gemm_block_s8(g, row0, row1, col0, col1); }
