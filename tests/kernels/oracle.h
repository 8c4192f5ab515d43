/* oracle: what the kernels compute, in double precision and without blocks, lanes or tricks. It bounds the error of scalar. */
#ifndef XC_TESTS_KERNELS_ORACLE_H
#define XC_TESTS_KERNELS_ORACLE_H

#include "runtime/kernels/kernels.h"

double oracle_act(double x, enum xc_act act);

/* out (R,N) */
void oracle_gemm_s8(double *out, const struct xc_gemm_s8 *g, int64_t R);
void oracle_gemm_s4(double *out, const struct xc_gemm_s4 *g, int64_t R);
void oracle_gemm_f32(double *out, const struct xc_gemm_f32 *g, int64_t R);

/* out (n_q, D); attn_s8 from its dequantized operands with exact probabilities */
void oracle_attn_s8(double *out, const struct xc_attn_s8 *a);
void oracle_attn_f32(double *out, const struct xc_attn_f32 *a);

/* out (R, C) */
void oracle_norm(double *out, const struct xc_norm *n, int64_t R);

#endif
