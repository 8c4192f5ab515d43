/* gemm_f32: 6 rows x 16 outputs (2 x 48 for few rows): 24 accumulators and 4 weights of the 32 registers. */
#include "runtime/kernels/neon/isa.h"
#include "runtime/kernels/neon/lanes.h"

#define F32_ROWS 6
#define F32_COLS 3
#define F32_TILE 6
#include "runtime/kernels/lanes/gemm_f32.h"

void xc_gemm_f32__neon(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_f32(g, row0, row1, col0, col1);
}

void xc_attn_f32__neon(const struct xc_attn_f32 *a, int64_t row0, int64_t row1) { lanes_attn_f32(a, row0, row1); }

#include "runtime/kernels/lanes/attn_runs_f32.h"

void xc_attn_runs_f32__neon(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1) { lanes_attn_runs_f32(a, row0, row1); }
