/* gemm_f32: 8 rows x 48 outputs: 24 accumulators and 3 weights of the 32 registers. */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"

#define F32_ROWS 8
#define F32_COLS 3
#define F32_TILE 24
#define LANES_TRANSPOSE8
#include "runtime/kernels/avx2/transpose8.h"
#include "runtime/kernels/lanes/gemm_f32.h"

void xc_gemm_f32__avx512vnni(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_f32(g, row0, row1, col0, col1);
}

void xc_attn_f32__avx512vnni(const struct xc_attn_f32 *a, int64_t row0, int64_t row1) { lanes_attn_f32(a, row0, row1); }

#include "runtime/kernels/lanes/attn_runs_f32.h"

void xc_attn_runs_f32__avx512vnni(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1) { lanes_attn_runs_f32(a, row0, row1); }
