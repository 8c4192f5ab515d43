/* init: what the avxvnni level overlays on avx2: the integer products. */
#include "runtime/kernels/avxvnni/isa.h"
#include "runtime/kernels/levels.h"

void xc_kernels_init__avxvnni(struct xc_kernels *k)
{
    k->gemm_s8 = xc_gemm_s8__avxvnni;
    k->gemm_nm_s8 = xc_gemm_nm_s8__avxvnni;
    k->gemm_block_s8 = xc_gemm_block_s8__avxvnni;
    k->gemm_s4 = xc_gemm_s4__avxvnni;
    k->attn_s8 = xc_attn_s8__avxvnni;
    k->attn_runs_s8 = xc_attn_runs_s8__avxvnni;
}
