/* gemm: the product behind linear and conv1d, unfused: packs and quantizes into the node's scratch as the weight's encoding asks. */
#ifndef XC_RUNTIME_GRAPH_OPS_GEMM_H
#define XC_RUNTIME_GRAPH_OPS_GEMM_H

#include "runtime/graph/op.h"

#define XC_GEMM_S8_MAX_K 131072 /* 127 * 127 * K fits an int32 accumulator */

/* y (R,N) = x (R,K) w (N,K)^T + b; b may be NULL. */
enum xc_status xc_gemm_run(const struct xc_op_ctx *c, float *y, const float *x, int64_t R, const struct xc_tensor *w, const struct xc_tensor *b,
                           const struct xc_range *range, struct xc_err *err);

/* The product alone, tiles of rows and outputs shared out over the pool: g's pointers are whole. */
void xc_gemm_tiles_f32(const struct xc_op_ctx *c, const struct xc_gemm_f32 *g, int64_t R);

/* The same in bf16 (kernels.h, struct xc_gemm_bf16). Operands in the node's scratch: x (R,K) in rows; panels whose outputs are the N rows of m (N,K), or
 * with cols the N columns of m (K,N). */
void xc_gemm_tiles_bf16(const struct xc_op_ctx *c, const struct xc_gemm_bf16 *g, int64_t R);
enum xc_status xc_bf16_rows(const struct xc_op_ctx *c, uint16_t **out, int64_t *ld, const float *x, int64_t ldx, int64_t R, int64_t K, struct xc_err *err);
enum xc_status xc_bf16_panels(const struct xc_op_ctx *c, uint16_t **out, const float *m, int64_t ldm, int64_t N, int64_t K, bool cols, struct xc_err *err);
/* ep (R,N) of x (R,K) w (N,K)^T, both f32 in rows. */
enum xc_status xc_gemm_bf16_run(const struct xc_op_ctx *c, const struct xc_epilogue *ep, const float *x, int64_t R, const float *w, int64_t N, int64_t K, struct xc_err *err);

/* An int8 weight in panels: the kernel of its structure, and the sums of its outputs (N padded to 16). w: its data, packed. */
xc_gemm_s8_fn *xc_gemm_s8_kernel(const struct xc_kernels *k, const struct xc_tensor *t);
void xc_gemm_s8_sums(int32_t *sum, const int8_t *w, const struct xc_kernels *k, const struct xc_tensor *t);

/* A compact one is laid out for its kernel first: as steps, where the level has a kernel for them and few enough numbers are held; else as dense
 * panels, which have no lists. */
#define XC_STEPS_MOST 0.40 /* of the numbers: with more, steps are no faster (bench/sparse) */
bool xc_gemm_is_compact(const struct xc_tensor *t);
void xc_gemm_compact_bytes(size_t *w, size_t *lists, const struct xc_kernels *k, const struct xc_tensor *t);
void xc_gemm_compact_lay(void *w, void *lists, const struct xc_kernels *k, const struct xc_tensor *t);

#endif
