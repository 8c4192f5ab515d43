/* gemm_s8 and attn_s8 with AVX-VNNI, the 256-bit VEX form of vpdpbusd (see avx512vnni/gemm_s8.c). 6 rows x 16 outputs. */
#include "runtime/kernels/avx2/lanes.h"
#include "runtime/kernels/avxvnni/isa.h"

#define S8_ROWS 6
#define S8_COLS 1
#define S8_OFFSET 128

LANES_INLINE v16i s8_weight(const int8_t *p)
{
    const __m256i flip = _mm256_set1_epi8(-128);
    const v16i w = i_load((const int32_t *)(const void *)p);

    return (v16i){_mm256_xor_si256(w.a, flip), _mm256_xor_si256(w.b, flip)};
}
LANES_INLINE v16i s8_dot(v16i acc, v16i w, int32_t x)
{
    const __m256i s = _mm256_set1_epi32(x);

    return (v16i){_mm256_dpbusd_avx_epi32(acc.a, w.a, s), _mm256_dpbusd_avx_epi32(acc.b, w.b, s)};
}
#include "runtime/kernels/lanes/gemm_s8.h"
#include "runtime/kernels/lanes/attn_s8.h"

void xc_gemm_s8__avxvnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_s8(g, row0, row1, col0, col1);
}

void xc_attn_s8__avxvnni(const struct xc_attn_s8 *a, int64_t row0, int64_t row1) { lanes_attn_s8(a, row0, row1); }

#include "runtime/kernels/lanes/attn_runs_s8.h"

void xc_attn_runs_s8__avxvnni(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1) { lanes_attn_runs_s8(a, row0, row1); }
