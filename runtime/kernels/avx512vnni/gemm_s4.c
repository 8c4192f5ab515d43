/* gemm_s4 with AVX-512 VNNI: a nibble is the unsigned operand of vpdpbusd as it is. 8 rows x 16 outputs. */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"

#define S4_ROWS 8
#define S4_OFFSET 8

LANES_INLINE v16i s4_low(const uint8_t *p) { return _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(15)); }
LANES_INLINE v16i s4_high(const uint8_t *p) { return _mm512_and_si512(_mm512_srli_epi16(_mm512_loadu_si512(p), 4), _mm512_set1_epi8(15)); }
LANES_INLINE v16i s4_dot(v16i acc, v16i w, int32_t x) { return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)); }
#include "runtime/kernels/lanes/gemm_s4.h"

void xc_gemm_s4__avx512vnni(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_s4(g, row0, row1, col0, col1);
}
