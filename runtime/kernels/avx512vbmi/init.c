/* init: what the avx512vbmi level overlays: products of compact weights, which need any byte of 64, and their steps. */
#include "runtime/kernels/avx512vbmi/isa.h"
#include "runtime/kernels/levels.h"

void xc_kernels_init__avx512vbmi(struct xc_kernels *k)
{
    k->gemm_steps_s8 = xc_gemm_steps_s8__avx512vbmi;
    k->compact_steps = xc_compact_steps__avx512vbmi;
}
