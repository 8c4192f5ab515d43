/* gemm_s8 and attn_s8 with AVX-512 VNNI. vpdpbusd multiplies unsigned by signed bytes without saturation; its second factor may be a
 * dword broadcast from memory and is the signed one, so the weight becomes unsigned: w xor 0x80 = w + 128. 8 rows x 48 outputs. */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"

#define S8_ROWS 8
#define S8_COLS 3
#define S8_OFFSET 128
#define S8_FUSED /* attn_tile.h has what attention needs */

LANES_INLINE v16i s8_weight(const int8_t *p) { return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128)); }
LANES_INLINE v16i s8_dot(v16i acc, v16i w, int32_t x) { return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)); }

#include "runtime/kernels/lanes/gemm_s8.h"
#include "runtime/kernels/avx512vnni/attn_tile.h"
#include "runtime/kernels/lanes/attn_s8.h"

void xc_gemm_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_s8(g, row0, row1, col0, col1);
}

void xc_attn_s8__avx512vnni(const struct xc_attn_s8 *a, int64_t row0, int64_t row1) { lanes_attn_s8(a, row0, row1); }

#include "runtime/kernels/lanes/attn_runs_s8.h"

void xc_attn_runs_s8__avx512vnni(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1) { lanes_attn_runs_s8(a, row0, row1); }
