/* isa: the entry points of this folder's files; init.c puts them into the table. */
#ifndef XC_RUNTIME_KERNELS_AVX512VNNI_ISA_H
#define XC_RUNTIME_KERNELS_AVX512VNNI_ISA_H

#include "runtime/kernels/kernels.h"

void xc_init_rows__avx512vnni(struct xc_kernels *k);
void xc_gemm_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_nm_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_block_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_s4__avx512vnni(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_attn_s8__avx512vnni(const struct xc_attn_s8 *a, int64_t row0, int64_t row1);
void xc_attn_runs_s8__avx512vnni(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1);
void xc_gemm_f32__avx512vnni(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_attn_f32__avx512vnni(const struct xc_attn_f32 *a, int64_t row0, int64_t row1);
void xc_attn_runs_f32__avx512vnni(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1);

#endif
