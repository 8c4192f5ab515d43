/* init: what the neon level overlays: everything. Compact weights it runs as dense ones. */
#include "runtime/kernels/neon/isa.h"
#include "runtime/kernels/levels.h"

void xc_kernels_init__neon(struct xc_kernels *k)
{
    xc_init_rows__neon(k);
    xc_init_bf16__neon(k);
    k->gemm_s8 = xc_gemm_s8__neon;
    k->gemm_nm_s8 = xc_gemm_nm_s8__neon;
    k->gemm_block_s8 = xc_gemm_block_s8__neon;
    k->gemm_steps_s8 = NULL;
    k->gemm_s4 = xc_gemm_s4__neon;
    k->attn_s8 = xc_attn_s8__neon;
    k->attn_runs_s8 = xc_attn_runs_s8__neon;
    k->gemm_f32 = xc_gemm_f32__neon;
    k->attn_f32 = xc_attn_f32__neon;
    k->attn_runs_f32 = xc_attn_runs_f32__neon;
}
