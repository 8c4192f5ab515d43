/* init: what the avx512vnni level overlays: everything but products of bf16 (no faster here than in f32). */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/levels.h"

void xc_kernels_init__avx512vnni(struct xc_kernels *k)
{
    xc_init_rows__avx512vnni(k);
    k->gemm_s8 = xc_gemm_s8__avx512vnni;
    k->gemm_nm_s8 = xc_gemm_nm_s8__avx512vnni;
    k->gemm_block_s8 = xc_gemm_block_s8__avx512vnni;
    k->gemm_s4 = xc_gemm_s4__avx512vnni;
    k->attn_s8 = xc_attn_s8__avx512vnni;
    k->attn_runs_s8 = xc_attn_runs_s8__avx512vnni;
    k->gemm_f32 = xc_gemm_f32__avx512vnni;
    k->attn_f32 = xc_attn_f32__avx512vnni;
    k->attn_runs_f32 = xc_attn_runs_f32__avx512vnni;
}
