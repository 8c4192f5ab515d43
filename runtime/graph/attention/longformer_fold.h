/* longformer_fold: the rows of a few global tokens without projecting every token for them. See longformer.c.
 *
 *   q_t = Wq x_t + bq,  u = Wk_h^T q_th,  s_j = scale u . x_j,  z = sum_j softmax(s)_j x_j,  y_th = Wv_h z + bv_h
 *
 * is the attention of token t over keys Wk x + bk and values Wv x + bv: a key's bias adds the same to every score of a query, which no softmax sees, and
 * the weights of a softmax sum to one. So two products of all tokens with a d x d weight become, for each head and global token, two passes over x. */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_LONGFORMER_FOLD_H
#define XC_RUNTIME_GRAPH_ATTENTION_LONGFORMER_FOLD_H

#include "runtime/graph/attention/keys.h"

/* Inputs: x, Wk and Wv in place of qg, kg and vg; then, behind flags and spans, Wq and the biases (optional). */
enum { XC_FOLD_X = 3, XC_FOLD_K, XC_FOLD_V, XC_FOLD_Q = 8, XC_FOLD_BQ, XC_FOLD_BV };

static inline bool xc_is_folded(const struct xc_node *node) { return node->n_in > XC_FOLD_K && node->in[XC_FOLD_K].kind == XC_REF_TENSOR; }

enum xc_status xc_fold_infer(const struct xc_infer *c, struct xc_err *err);
size_t xc_fold_bytes(const struct xc_model *m, const struct xc_node *node);
enum xc_status xc_fold_prepare(void *to, const struct xc_model *m, const struct xc_node *node, const struct xc_kernels *kern, struct xc_err *err);

/* Writes the rows of the global tokens: glob (positions), start (n_seq + 1) of each sequence's. */
enum xc_status xc_fold_forward(const struct xc_op_ctx *c, const int32_t *glob, const int64_t *start, struct xc_err *err);

#endif
