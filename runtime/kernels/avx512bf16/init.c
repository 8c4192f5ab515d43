/* init: what the avx512bf16 level overlays: the products of training. */
#include "runtime/kernels/avx512bf16/isa.h"
#include "runtime/kernels/levels.h"

void xc_kernels_init__avx512bf16(struct xc_kernels *k) { xc_init_bf16__avx512bf16(k); }
