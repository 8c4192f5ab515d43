/* isa: the entry points of this folder's files; init.c puts them into the table. */
#ifndef XC_RUNTIME_KERNELS_AVX512VBMI_ISA_H
#define XC_RUNTIME_KERNELS_AVX512VBMI_ISA_H

#include "runtime/kernels/kernels.h"

void xc_gemm_steps_s8__avx512vbmi(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_compact_steps__avx512vbmi(int8_t *w, void *lists, const int8_t *data, const void *index, int64_t N, int64_t K);

#endif
