/* gemm_nm_s8 and gemm_block_s8 with AVX-512 VNNI. 8 rows x 16 outputs. */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"

#define SP_ROWS 8
#define SP_OFFSET 128

LANES_INLINE v16i i_sub(v16i x, v16i y) { return _mm512_sub_epi32(x, y); }
LANES_INLINE v16i sp_table(const int8_t *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }
LANES_INLINE v16i sp_look(v16i t, v16i i) { return _mm512_shuffle_epi8(t, i); }
LANES_INLINE v16i sp_low(v16i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
LANES_INLINE v16i sp_high(v16i v) { return sp_low(_mm512_srli_epi16(v, 4)); }
LANES_INLINE v16i sp_weigh(v16i acc, v16i w, v16i x) { return _mm512_dpbusd_epi32(acc, w, x); }
LANES_INLINE v16i sp_dot(v16i acc, v16i w, int32_t four) { return _mm512_dpbusd_epi32(acc, _mm512_set1_epi32(four), w); }

#include "runtime/kernels/lanes/gemm_sparse_s8.h"

void xc_gemm_nm_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1) { lanes_gemm_nm_s8(g, row0, row1, col0, col1); }
void xc_gemm_block_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1) { lanes_gemm_block_s8(g, row0, row1, col0, col1); }
