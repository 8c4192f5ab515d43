/* scalar: the readable meaning of every kernel; the table starts with these. Contracts are in kernels.h. */
#ifndef XC_RUNTIME_KERNELS_SCALAR_SCALAR_H
#define XC_RUNTIME_KERNELS_SCALAR_SCALAR_H

#include "runtime/kernels/kernels.h"

void xc_gemm_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_nm_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_block_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_steps_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_s4__scalar(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_f32__scalar(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_gemm_bf16__scalar(const struct xc_gemm_bf16 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
void xc_bf16_rows__scalar(uint16_t *y, int64_t ldy, const float *x, int64_t ldx, int64_t R, int64_t C);
void xc_bf16_panel_rows__scalar(uint16_t *w, const float *m, int64_t ldm, int64_t N, int64_t K);
void xc_bf16_panel_cols__scalar(uint16_t *w, const float *m, int64_t ldm, int64_t K, int64_t N);
void xc_attn_s8__scalar(const struct xc_attn_s8 *a, int64_t row0, int64_t row1);
void xc_attn_f32__scalar(const struct xc_attn_f32 *a, int64_t row0, int64_t row1);
void xc_attn_runs_s8__scalar(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1);
void xc_attn_runs_f32__scalar(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1);
void xc_argmax_signs__scalar(int32_t *at, const float *x, int64_t ldx, int64_t R, int64_t n);
void xc_join_rows__scalar(const struct xc_join *j, int64_t n);
void xc_norm_f32__scalar(const struct xc_norm *n, int64_t row0, int64_t row1);
void xc_quantize_rows_s8__scalar(int8_t *q, int64_t ldq, float *scale, int32_t *sum, const float *x, int64_t ldx, const float *gain, int64_t R, int64_t C,
                                 float static_scale);
void xc_quantize_rows_affine__scalar(int8_t *q, int64_t ldq, float *scale, float *mid, int32_t *sum, const float *x, int64_t ldx, const float *gain, int64_t R, int64_t C);
void xc_pack_keys_s8__scalar(int8_t *k, float *k_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D);
void xc_pack_values_s8__scalar(int8_t *v, float *v_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D);
void xc_act_f32__scalar(float *y, const float *x, int64_t n, enum xc_act act);
void xc_act_grad_f32__scalar(float *dx, const float *dy, const float *x, int64_t n, enum xc_act act, bool accumulate);
void xc_adamw_f32__scalar(float *p, float *m, float *v, const float *g, int64_t n, const struct xc_adamw *a);
void xc_row_peak__scalar(float *peak, int32_t *at, const float *x, const float *s, int64_t C);
void xc_step_sums__scalar(float *xq, float *qq, const float *x, const float *weight, int64_t n, const float *inverse, float lo, float hi);
void xc_fit_sums__scalar(float *sums, const float *x, const float *weight, int64_t n, const float *fit, float top);
void xc_screen_f32__scalar(uint8_t *flag, const float *x, int64_t n, float pair, float quad, float lane);
void xc_screen_s8__scalar(uint8_t *flag, const int8_t *q, int64_t n);
void xc_error_s8__scalar(float *sum, const float *x, const int8_t *q, float scale, int64_t C);
void xc_add_f32__scalar(float *y, const float *a, const float *b, int64_t n);
void xc_mul_f32__scalar(float *y, const float *a, const float *b, int64_t n);
void xc_gather_rows__scalar(float *y, int64_t ldy, const struct xc_table *t, const int32_t *ids, int64_t R, bool accumulate);
void xc_softmax_rows__scalar(float *y, const float *x, int64_t R, int64_t C);
void xc_mean_rows__scalar(float *y, const float *x, int64_t ldx, int64_t R, int64_t C);
void xc_max_rows__scalar(float *y, const float *x, int64_t ldx, int64_t R, int64_t C);
void xc_l2_normalize_rows__scalar(float *y, const float *x, int64_t R, int64_t C, float eps);
void xc_f16_to_f32__scalar(float *y, const uint16_t *x, int64_t n);
void xc_bf16_to_f32__scalar(float *y, const uint16_t *x, int64_t n);

/* One element, shared by the files of this folder. */
float xc_act_one__scalar(float x, enum xc_act act);
void xc_finish__scalar(const struct xc_epilogue *ep, float y, int64_t r, int64_t n); /* y has its bias */

/* Fills the whole table. */
void xc_kernels_init__scalar(struct xc_kernels *k);

#endif
