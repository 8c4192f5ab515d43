/* isa: the entry points of this folder's files; init.c puts them into the table. */
#ifndef XC_RUNTIME_KERNELS_AVX512BF16_ISA_H
#define XC_RUNTIME_KERNELS_AVX512BF16_ISA_H

#include "runtime/kernels/kernels.h"

void xc_init_bf16__avx512bf16(struct xc_kernels *k);

#endif
