/* init: what the avx2 level overlays: everything. Compact weights it runs as dense ones. */
#include "runtime/kernels/avx2/isa.h"
#include "runtime/kernels/levels.h"

void xc_kernels_init__avx2(struct xc_kernels *k)
{
    xc_init_rows__avx2(k);
    xc_init_bf16__avx2(k);
    k->gemm_s8 = xc_gemm_s8__avx2;
    k->gemm_nm_s8 = xc_gemm_nm_s8__avx2;
    k->gemm_block_s8 = xc_gemm_block_s8__avx2;
    k->gemm_steps_s8 = NULL;
    k->gemm_s4 = xc_gemm_s4__avx2;
    k->attn_s8 = xc_attn_s8__avx2;
    k->attn_runs_s8 = xc_attn_runs_s8__avx2;
    k->gemm_f32 = xc_gemm_f32__avx2;
    k->attn_f32 = xc_attn_f32__avx2;
    k->attn_runs_f32 = xc_attn_runs_f32__avx2;
}
