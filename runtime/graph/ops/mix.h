/* mix: weighted sums over the tokens of a sequence: y (k,C) = E[:, :n] x (n,C), E (k, n_max) a tensor. Behind the op mix_rows and Linformer.
 * Blocks of XC_KEY_BLOCK tokens counted from the start of the sequence, in ascending order; int8: E by row and block, x by channel and block. */
#ifndef XC_RUNTIME_GRAPH_OPS_MIX_H
#define XC_RUNTIME_GRAPH_OPS_MIX_H

#include "runtime/graph/op.h"

#define XC_MIX_COLS 64 /* columns at most of one call */

struct xc_mix {
    const struct xc_kernels *kern;
    const float *e;   /* (rows, n_max) */
    int64_t rows, n_max;
    int8_t *q;        /* int8: by block (rows, XC_KEY_BLOCK) */
    float *q_scale;
    int32_t *q_sum;
};
/* longest: tokens of the longest sequence; more than n_max is an error that names the node. */
enum xc_status xc_mix_open(struct xc_mix *m, const struct xc_op_ctx *c, const struct xc_tensor *e, bool quantized, int64_t longest, struct xc_err *err);
/* y (k, ld_y) of rows row0 to row0 + k - 1 of E and C columns of x; scratch of xc_mix_scratch_bytes, aligned. */
void xc_mix_part(const struct xc_mix *m, float *y, int64_t ld_y, const float *x, int64_t ldx, int64_t n, int64_t C, int64_t row0, int64_t k, void *scratch);
size_t xc_mix_scratch_bytes(void);

#endif
